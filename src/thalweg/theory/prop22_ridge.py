"""Proposition 2.2 with ridge: two linear layers, and the path through the nuclear norm.

Freeman & Bruna 2017, Proposition 2.2 for `K = 2`, `κ > 0`, Appendix B.2, Eq. 12. With
`F(W1, W2) = E|Y - W2 W1 X|² + κ (|W1|² + |W2|²)` and `|P|_*` the sum of singular values,

    F(W1, W2) >= G(W2 W1),    G(P) = E|Y - P X|² + 2 κ |P|_*,

with equality where the layers are *balanced*, `W1 W1' = W2' W2`. `G` is convex. So: balance both
ends without raising F, and move the product on a straight line through balanced layers.

**Balancing.** `W2` is projected onto the columns of `W1`, then `W1` onto the rows of `W2`; both are
straight, keep the product and shrink a layer. What is left has full rank on a subspace; there
`(G W1, W2 G^-1)` with `G'G = exp(s H)` has the norm `tr(exp(s H) A) + tr(exp(-s H) B)`, with
`A = W1 W1'` and `B = W2' W2`, which is convex in s, and smallest where `exp(H)` is the geometric
mean of `A^-1` and `B`. So it decreases all the way to balance.

**A continuous choice.** The paper takes "the" minimising factors of `W(t)`. There are many, and
those from a singular value decomposition jump where singular values cross. Roots do not: with
`|P| = (P'P)^(1/2)`, `n_0 <= n_2` and `J = [I; 0]`, the factors `J |P|^(1/2)` and
`P |P|^(-1/2) J'` are balanced and continuous in `P`, singular `P` included. The balanced end is a
rotation away, along which F is constant.

**What the paper misses.** The rotation exists unless the hidden layer is as narrow as the narrower
end, `n_1 = r`, and the determinants of the two ends have opposite signs; then every path passes a
product of rank less than `r`, and reaches `λ0`, the least `G` of these. With all widths one,
`F = (w2 w1 - 1)² + κ (w1² + w2²)` has for `κ < 1` two isolated minima at `±(√(1-κ), √(1-κ))`. The
claim as printed needs `n_1 > r`. `λ0` is bounded from above by a product found, and from below
through `|P|_* >= <P, Z>` for a `Z` of spectral norm one: what is left is quadratic, and its least
value at lower rank a truncated singular value decomposition.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np

from thalweg.errors import InputError
from thalweg.theory.balanced_factors import balance, numerical_rank, straight, turn_over
from thalweg.theory.linear import (
    Layers,
    Path,
    Regression,
    backwards,
    draw_layers,
    gap,
    highest,
    parse_widths,
    product,
    profile,
    transpose,
)
from thalweg.theory.nuclear_norm import least_deficient, least_nuclear
from thalweg.theory.statement import Chart, Finding, Series, Statement

_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class RidgeConnection:
    """A path between two networks of two layers.

    Attributes:
        path: its pieces.
        height: the loss that it does not exceed.
        every_path: a loss that every path reaches; the same unless signs differ.
        opposed: whether they do.
    """

    path: Path
    height: float
    every_path: float
    opposed: bool


def join(problem: Regression, a: Layers, b: Layers, seed: int = 0) -> RidgeConnection:
    """A path between two networks of two linear layers, with ridge.

    Args:
        problem: with ridge.
        a: one network.
        b: another one of the same widths.
        seed: of the search for a product of lower rank, where signs differ.

    Returns:
        The path.

    Raises:
        InputError: if there are not two layers, or the hidden one is narrower than both ends.

    Example:
        >>> one = Regression(np.ones((1, 1)), np.ones((1, 1)), ridge=0.5)
        >>> w = np.array([[0.5**0.5]])
        >>> found = join(one, (w, w), (-w, -w))
        >>> round(found.every_path, 9), found.opposed, round(one((w, w)), 9)
        (1.0, True, 0.75)
    """
    _check(a)
    if a[0].shape[1] > a[1].shape[0]:
        found = _join(problem, a, b, seed, turned=True)
        return replace(found, path=[piece.transposed() for piece in found.path])
    return _join(problem, a, b, seed, turned=False)


def _join(problem: Regression, a: Layers, b: Layers, seed: int, *, turned: bool) -> RidgeConnection:
    ends = [problem(a), problem(b)]
    if turned:
        a, b = transpose(a), transpose(b)
    units, narrow = len(a[0]), a[0].shape[1]
    wanted = [_sign(each) for each in (a, b)]
    start, sa = balance(a, wanted[0] or wanted[1] or 1)
    end, sb = balance(b, wanted[1] or sa)
    p, q = product(a), product(b)
    if sa == sb or units > narrow:
        path = [*start, straight(p, q, units, sa), *backwards(end)]
        return RidgeConnection(path, max(ends), max(ends), opposed=False)
    through, upper, lower = least_deficient(problem, seed)
    through = through.T if turned else through
    path = [
        *start,
        straight(p, through, units, sa),
        turn_over(through, units, sa),
        straight(through, q, units, sb),
        *backwards(end),
    ]
    return RidgeConnection(path, max(*ends, upper), max(*ends, lower), opposed=True)


def descend(problem: Regression, layers: Layers) -> tuple[Path, float]:
    """A path to the global minimum along which the loss never rises.

    Args:
        problem: with ridge.
        layers: two.

    Returns:
        Its pieces, and a proved lower bound of the loss of any network.

    Raises:
        InputError: if there are not two layers, or the hidden one is narrower than both ends.
    """
    _check(layers)
    best, lower = least_nuclear(problem)
    if layers[0].shape[1] > layers[1].shape[0]:
        layers = transpose(layers)
        path, sign = balance(layers, _sign(layers) or 1)
        path.append(straight(product(layers), best.T, len(layers[0]), sign))
        return [piece.transposed() for piece in path], lower
    path, sign = balance(layers, _sign(layers) or 1)
    path.append(straight(product(layers), best, len(layers[0]), sign))
    return path, lower


def _sign(layers: Layers) -> int:
    """Sign of the first layer's determinant where it is square and the product has full rank."""
    w1 = layers[0]
    if w1.shape[0] != w1.shape[1]:
        return 0
    p = product(layers)
    if numerical_rank(np.linalg.svd(p, compute_uv=False), p) < w1.shape[1]:
        return 0
    return int(np.sign(np.linalg.det(w1)))


def _check(layers: Layers) -> None:
    widths = [layers[0].shape[1], *(layer.shape[0] for layer in layers)]
    if len(layers) != 2 or min(widths) < min(widths[0], widths[-1]):
        raise InputError(
            f"expected two layers, the hidden width at least the smaller of the others, got widths "
            f"{widths}: widen it"
        )


def check(
    widths: Annotated[str, "Widths: inputs, hidden units, outputs."] = "3,3,3",
    examples: Annotated[int, "Examples of the regression."] = 20,
    ridge: Annotated[float, "κ of Eq. 1."] = 0.1,
    rank: Annotated[int, "Largest rank of the layers drawn; 0: full rank."] = 0,
    share: Annotated[float, "How far both networks are led down first."] = 0.99,
    seed: Annotated[int, "Of data and networks."] = 4,
) -> Finding:
    """Join two networks of two linear layers with ridge, and lead the first one down.

    Args:
        widths: `n_0,n_1,n_2`.
        examples: of the regression.
        ridge: κ.
        rank: of the layers drawn.
        share: how far both are led along the straight part of their ways down.
        seed: of data and networks.

    Returns:
        Whether the loss along the path stays at or below what is claimed, and the way down falls.

    Raises:
        InputError: if the widths are no widths, or a number is out of range.

    Example:
        >>> check("2,3,2").values["printed_claim_holds"]
        True
    """
    sizes = parse_widths(widths)
    if sizes is None or len(sizes) != 3:
        raise InputError(
            f"expected three widths from 1 to 64 between commas, such as 3,4,3, got {widths!r}"
        )
    if not (examples >= 1 and rank >= 0 and 0 < ridge < np.inf and 0 <= share <= 1):
        raise InputError(
            "expected examples >= 1, a ridge > 0, a rank >= 0 and a share from 0 to 1, got "
            f"{examples}, {ridge}, {rank} and {share}"
        )
    rng = np.random.default_rng(seed)
    x, y = (rng.normal(size=(n, examples)) for n in (sizes[0], sizes[-1]))
    problem = Regression(x, 0.3 * y + rng.normal(size=(sizes[-1], sizes[0])) @ x, ridge)
    a, b = (_led_down(problem, draw_layers(sizes, rng, rank or None), share) for _ in range(2))
    found = join(problem, a, b, seed)
    ends = problem(a), problem(b)
    maximum = max(highest(problem, piece) for piece in found.path)
    down, lower = descend(problem, a)
    _, losses = profile(problem, down)
    tolerance = _ROUNDING * max(1.0, *ends, found.height)
    rises = max(0.0, float(np.diff(losses).max()))
    jump = max(gap(found.path), gap(down))
    holds = (
        maximum <= found.height + tolerance
        and rises <= tolerance
        and losses[-1] - lower <= 1e-6 * max(1.0, losses[-1])
        and jump <= 1e-6 * max(1.0, *(float(np.abs(w).max()) for w in (*a, *b)))
    )
    printed = found.every_path <= max(ends)
    abscissae, along = profile(problem, found.path)
    pieces = float(len(found.path))
    return Finding(
        holds=holds,
        sentence=f"Widths {widths}, ridge {ridge:g}: a path of {len(found.path)} pieces stays "
        f"at or below {maximum:.6g}; the ends have losses {ends[0]:.6g} and {ends[1]:.6g}"
        + (
            ". "
            if printed
            else f" and determinants of opposite signs, so that every path reaches "
            f"{found.every_path:.6g}: the claim as printed fails here. "
        )
        + f"From the first one a path leads down to {losses[-1]:.6g} (at least {lower:.6g} by "
        "duality) and never rises.",
        values={
            "widths": list(sizes),
            "ridge": ridge,
            "signs_differ": found.opposed,
            "loss_a": ends[0],
            "loss_b": ends[1],
            "every_path_reaches": found.every_path,
            "path_height": found.height,
            "path_maximum": maximum,
            "path_pieces": len(found.path),
            "largest_jump": jump,
            "descent_ends_at": losses[-1],
            "descent_lower_bound": lower,
            "descent_largest_rise": rises,
            "printed_claim_holds": printed,
        },
        charts=(
            Chart(
                title=f"Two linear layers of widths {widths}, ridge {ridge:g}",
                x_label="piece of the path",
                y_label="loss",
                series=(
                    Series(
                        label="along the path",
                        x=tuple(t * pieces for t in abscissae),
                        y=tuple(along),
                    ),
                    Series(
                        label="every path reaches",
                        x=(0.0, pieces),
                        y=(found.every_path, found.every_path),
                    ),
                ),
            ),
        ),
    )


def _led_down(problem: Regression, layers: Layers, share: float) -> Layers:
    """A point of the way down, turned and unbalanced again so that it is no special one."""
    path, _ = descend(problem, layers)
    w1, w2 = path[-1].at(share)
    scale = np.linspace(0.97, 1.03, len(w1))
    return w1 * scale[:, None], w2 / scale


PROP_22_RIDGE = Statement(
    name="prop-2.2-ridge",
    source="Freeman & Bruna 2017, Proposition 2.2 and Eq. 12",
    claim="Two networks of two linear layers with ridge are joined by a path no higher than the "
    "larger loss, or, where determinants differ in sign at a hidden layer as narrow as the "
    "network, than a product of lower rank; from any network a path leads down to the minimum.",
    check=check,
)
