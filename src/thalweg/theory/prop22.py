"""Proposition 2.2 without ridge: level sets of deep linear networks, and the way down in them.

Freeman & Bruna 2017, Proposition 2.2 and Appendix B.2. Let `r = min(n_0, n_K)` and let every hidden
width be at least `r`. The paper claims that all level sets are connected. What is true:

    The lowest height of a path between two networks is the larger of their losses, unless their
    *signs* differ at a *bottleneck*, a hidden layer of width exactly `r`; then it is the larger of
    these losses and of `λ0`, the least loss of a product of rank less than `r`.

So level sets are connected at every level if no hidden layer is a bottleneck, and from `λ0` on
if one is; below `λ0` they have a component for each choice of signs. The smallest example is
`F = (w2 w1 - 1)²` with all widths one, whose level sets below 1 are two pieces of a hyperbola's
neighbourhood. Every network has a path to the global minimum all the same, along which the loss is
first constant and then strictly decreasing.

**The sign.** Let `n_0 = r` (otherwise read the network backwards). At a bottleneck `j`,
`A_j = W_j ... W_1` is `r x r`. If the product has rank `r`, so has `A_j`, and the sign of its
determinant cannot change along a path without the product's losing rank, which costs `λ0`.

**The path.** With `A_0 = I`, layer by layer from the input, by pieces of constant product
(:mod:`thalweg.theory.linear_normal_form`):

1. `W_j` becomes `M A_{j-1}'` with `M = W_j A_{j-1}`: straight, since `A_{j-1}` has orthonormal
   columns by now, and `W_j` matters on their span alone.
2. If `M` has rank less than `r`: `W_{j+1}` is projected onto the columns of `M`, straight; then it
   is blind to all others, and `M` gets the missing rank there, straight. There is room for it since
   `n_j >= r`.
3. The singular values of `M` become one, `σ^(1-t)`, and `W_{j+1}` takes them over, `σ^t`.
4. `M` is rotated to `[I; 0]`, or at a bottleneck with negative determinant to
   `diag(1, ..., 1, -1)`, and `W_{j+1}` turned back.

Then `W_K = P A_{K-1}'` alone carries the product and moves on a straight line to another one: the
loss is convex. Where signs differ, it moves to a product `P0` of rank less than `r`, whose kernel
has a unit vector `v`; there, `A_j (I - 2 t v v')` is straight, flips the sign at `j` and leaves the
product as it is.

**What the paper's proof misses.** (i) It sets `W_{k-1}(t)` to a pseudoinverse of `W_k(t)` times the
product. At the ends this is not `W_{k-1}` but differs by what `W_k` does not see, and where `W_k`
is rank deficient it is not even continuous; steps 1 and 2 join these ends. (ii) The random `V` that
is to keep `W_k(t)` at full rank does so only if `W_k` is not square: singular square matrices are a
wall that separates the two signs. (iii) "Strictly decreasing" holds from step 4 on; before it the
loss is constant. That no local minimum is poor, not even a flat one, needs another proof (Laurent &
von Brecht 2018).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from thalweg.errors import InputError
from thalweg.theory.linear import (
    Layers,
    Matrix,
    Path,
    Regression,
    backwards,
    draw_layers,
    gap,
    highest,
    loss_polynomial,
    parse_widths,
    product,
    profile,
    segment,
    transpose,
)
from thalweg.theory.linear_normal_form import (
    bottlenecks,
    flip,
    normal_form,
    normalise,
    signs,
    wide_input,
)
from thalweg.theory.statement import Chart, Finding, Series, Statement

_ROUNDING = 1e-9
"""Of a loss, relative to the largest on the path: what rounding may add to it."""


@dataclass(frozen=True, eq=False)
class Connection:
    """A path between two networks, as low as any.

    Attributes:
        path: its pieces.
        height: the loss that it does not exceed, and that every path reaches.
        opposed: bottlenecks where the signs of the ends differ.
    """

    path: Path
    height: float
    opposed: list[int]


def join(problem: Regression, a: Layers, b: Layers) -> Connection:
    """A path of least height between two deep linear networks.

    Args:
        problem: without ridge.
        a: one network.
        b: another one of the same widths.

    Returns:
        The path.

    Raises:
        InputError: if a hidden width is less than those of both ends of the network.

    Example:
        >>> one = Regression(np.ones((1, 1)), np.ones((1, 1)))
        >>> found = join(one, (np.array([[2.0]]), np.array([[0.5]])),
        ...              (np.array([[-1.0]]), np.array([[-1.0]])))
        >>> found.height, found.opposed  # both have loss 0: the level set of 0 is a hyperbola
        (1.0, [0])
    """
    _check_widths(a)
    if wide_input(a):
        mirrored = _join(problem, transpose(a), transpose(b), problem.best_deficient.T)
        return Connection([each.transposed() for each in mirrored.path], mirrored.height,
                          [len(a) - 2 - j for j in reversed(mirrored.opposed)])  # fmt: skip
    return _join(problem, a, b, problem.best_deficient)


def _join(problem: Regression, a: Layers, b: Layers, deficient: Matrix) -> Connection:
    (start, at_a), (end, at_b) = normalise(a), normalise(b)
    sa, sb = signs(at_a), signs(at_b)
    opposed = [j for j, s, t in zip(bottlenecks(a), sa, sb, strict=True) if s != t]
    ways = [_product_loss(problem, p) for p in (product(a), product(b))]
    if not opposed:
        middle = [segment(at_a, at_b, "straight line of products")]
    else:
        via_a, via_b = (normal_form(deficient, a, s) for s in (sa, sb))
        middle = [
            segment(at_a, via_a, "straight line of products"),
            *flip(via_a, sb),
            segment(via_b, at_b, "straight line of products"),
        ]
        ways.append(_product_loss(problem, deficient))
    return Connection([*start, *middle, *backwards(end)], max(ways), opposed)


def _product_loss(problem: Regression, p: Matrix) -> float:
    """The loss of a product, or of its transpose."""
    fits = p.shape == (problem.y.shape[0], problem.x.shape[0])
    return problem.of_product(p if fits else p.T)


def descend(problem: Regression, layers: Layers) -> Path:
    """A path to the global minimum: constant loss, and then a last piece of decreasing loss.

    Args:
        problem: without ridge.
        layers: any network.

    Returns:
        Its pieces. On the last one the loss is `c + d (1 - t)²`, with `d > 0` unless the network
        is a global minimum already.

    Raises:
        InputError: if a hidden width is less than those of both ends of the network.
    """
    _check_widths(layers)
    wide = wide_input(layers)
    path, end = normalise(transpose(layers) if wide else layers)
    best = problem.best.T if wide else problem.best
    path.append(segment(end, normal_form(best, end, signs(end)), "down to the minimum"))
    return [piece.transposed() for piece in path] if wide else path


def _check_widths(layers: Layers) -> None:
    widths = [layers[0].shape[1], *(layer.shape[0] for layer in layers)]
    narrow = min(widths[0], widths[-1])
    if min(widths) < narrow:
        raise InputError(
            f"expected hidden widths of at least {narrow}, the narrower end of the network, got "
            f"widths {widths}: widen them"
        )


def lowered(problem: Regression, layers: Layers, share: float) -> Layers:
    """A network with one layer changed, so that its product moves towards the best one.

    Args:
        problem: without ridge.
        layers: any network; where its other layers are singular, only what they let through moves.
        share: how far, from 0 to 1.

    Returns:
        The network.
    """
    if wide_input(layers):
        rest = product(layers[1:])
        change = np.linalg.pinv(rest, rcond=1e-10) @ (problem.best - product(layers))
        return (layers[0] + share * change, *layers[1:])
    rest = product(layers[:-1])
    change = (problem.best - product(layers)) @ np.linalg.pinv(rest, rcond=1e-10)
    return (*layers[:-1], layers[-1] + share * change)


def check(
    widths: Annotated[str, "Widths of all layers, from the input to the output."] = "3,3,4,3",
    examples: Annotated[int, "Examples of the regression."] = 20,
    rank: Annotated[int, "Largest rank of the layers drawn; 0: full rank."] = 0,
    share: Annotated[float, "How far both networks are moved to the best product first."] = 0.99,
    seed: Annotated[int, "Of data and networks."] = 2,
) -> Finding:
    """Join two random deep linear networks, and lead the first one down to the global minimum.

    Args:
        widths: `n_0,...,n_K`.
        examples: of the regression.
        rank: of the layers drawn.
        share: see :func:`lowered`.
        seed: of data and networks.

    Returns:
        Whether the path does not exceed the height that every path has, and the way down is
        constant and then strictly decreasing.

    Raises:
        InputError: if the widths are no widths, or a number is out of range.

    Example:
        >>> check("2,4,4,4,3").values["printed_claim_holds"]
        True
    """
    sizes = parse_widths(widths)
    if sizes is None or len(sizes) < 3:
        raise InputError(
            f"expected at least three widths from 1 to 64 between commas, such as 3,3,4,3, got "
            f"{widths!r}"
        )
    if examples < 1 or rank < 0 or not 0 <= share <= 1:
        raise InputError(
            f"expected examples >= 1, a rank >= 0 and a share from 0 to 1, got {examples}, {rank} "
            f"and {share}"
        )
    rng = np.random.default_rng(seed)
    x, y = (rng.normal(size=(n, examples)) for n in (sizes[0], sizes[-1]))
    problem = Regression(x, 0.3 * y + rng.normal(size=(sizes[-1], sizes[0])) @ x)
    a, b = (lowered(problem, draw_layers(sizes, rng, rank or None), share) for _ in range(2))
    found = join(problem, a, b)
    ends = problem(a), problem(b)
    maximum = max(highest(problem, piece) for piece in found.path)
    jump = gap(found.path)
    down = descend(problem, a)
    drift = max(abs(highest(problem, piece) - ends[0]) for piece in down[:-1])
    fall = loss_polynomial(problem, down[-1].at(0.0), down[-1].at(1.0))
    slope = fall[1] + 2 * fall[2]  # at t = 1, where the minimum is
    tolerance = _ROUNDING * max(1.0, *ends, found.height)
    holds = (
        maximum <= found.height + tolerance
        and jump <= _ROUNDING * max(1.0, *(float(np.abs(w).max()) for w in (*a, *b)))
        and drift <= tolerance
        and abs(slope) <= tolerance
        and fall[2] >= -tolerance
    )
    printed = found.height <= max(ends)
    narrow = bottlenecks(a)
    abscissae, losses = profile(problem, found.path)
    level = found.height
    return Finding(
        holds=holds,
        sentence=f"Widths {widths}: a path of {len(found.path)} pieces stays at or below "
        f"{maximum:.6g}; "
        + (
            f"the ends have losses {ends[0]:.6g} and {ends[1]:.6g}. "
            if printed
            else f"the ends have losses {ends[0]:.6g} and {ends[1]:.6g} and opposite signs at a "
            f"layer as narrow as the network, so that every path reaches {level:.6g}: the claim "
            "as printed fails here. "
        )
        + f"From the first one a path leads down to {problem.least:.6g}, constant and then "
        "strictly decreasing.",
        values={
            "widths": list(sizes),
            "bottlenecks": [j + 1 for j in narrow],
            "signs_differ_at": [j + 1 for j in found.opposed],
            "loss_a": ends[0],
            "loss_b": ends[1],
            "critical_level": problem.least_deficient if narrow else None,
            "least_loss": problem.least,
            "path_height": found.height,
            "path_maximum": maximum,
            "path_pieces": len(found.path),
            "largest_jump": jump,
            "descent_constant_to": drift,
            "descent_falls_by": float(fall[0] - fall[:3].sum()),
            "printed_claim_holds": printed,
        },
        charts=(
            Chart(
                title=f"Deep linear networks of widths {widths}",
                x_label="piece of the path",
                y_label="mean squared error",
                series=(
                    Series(
                        label="along the path",
                        x=tuple(t * len(found.path) for t in abscissae),
                        y=tuple(losses),
                    ),
                    Series(
                        label="height that every path reaches",
                        x=(0.0, float(len(found.path))),
                        y=(level, level),
                    ),
                ),
            ),
        ),
    )


PROP_22 = Statement(
    name="prop-2.2",
    source="Freeman & Bruna 2017, Proposition 2.2",
    claim="Two deep linear networks with hidden widths of at least the narrower end are joined by "
    "a path no higher than the larger loss, or, where signs differ at a layer of exactly that "
    "width, than the least loss of lower rank; from any network a path leads down to the minimum.",
    check=check,
)
