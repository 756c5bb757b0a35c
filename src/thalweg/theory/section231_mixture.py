"""A mixture of two teachers: poor local minima of a relu network, proved.

Freeman & Bruna 2017, Section 2.3.1. With `Z ~ Bernoulli(π)` the target is the output of one
teacher, θ, or of another one, θ'. The paper conjectures that changing π makes the losses near θ and
near θ' differ while both stay local minima. The loss `E|Φ(X) - Y|²` is that against the mean
`π Φ_θ + (1 - π) Φ_θ'` and a constant, `π (1 - π) E|Φ_θ - Φ_θ'|²`.

**By hand.** One unit, normal inputs, `w' = -w`, `|w| = 1`. In the coordinate `u = β v` (a unit `v`
and its positive output weight; others are rescalings) the loss is, up to a constant,

    R(u) = |u|²/2 - 2 |u| (π k(φ) + (1 - π) k(π - φ)),    k(φ) = (sin φ + (π - φ) cos φ) / (2 π),

with φ the angle between `u` and `w`. Its gradient vanishes at `u = π w` and at `u = (1 - π) w'`,
and at both its Hessian is the identity, for every π between 0 and 1: two strict local minima, with
values `-π²/2` and `-(1 - π)²/2`. Unless π = 1/2 one of them is poor. Here the conjecture is true,
if "near" is meant: θ' itself is no critical point, its multiple by `1 - π` is.

**On a sample, for any number of units.** With output weights fixed at ±1, which rescaling allows as
long as none vanishes, the network is linear in its first layer `U` as long as no input changes the
side of a unit: `Φ = A u` with `A = [s_i 1(<u_i, x> > 0) x]`. There the loss is a convex quadratic:
if `A'A` is positive definite and its least-squares solution has every input strictly on the side
that was assumed, it is a strict local minimum among these, and one up to rescaling among all
networks. Its distance from the computed solution is at most `|gradient| / λ_min`, which is held
against the margin. Minima are found by solving for the solution, reading off the sides, and again.

Otherwise the conjecture fails in general. As π moves away from its teacher, the branch of minima
ends where an input crosses the edge of a unit or a unit is no longer determined, or runs into the
other branch; two teachers of one unit each that are not mirrored often share one minimum. The check
follows both branches and counts the weights at which there are two different minima.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from thalweg.errors import InputError
from thalweg.theory.linear import Matrix
from thalweg.theory.statement import Chart, Finding, Series, Statement

_ROUNDS = 500
_WEIGHTS = 39
_SAME = 1e-6
_JUMP = 0.25  # of the teacher's largest weight


@dataclass(frozen=True, eq=False)
class Minimum:
    """A local minimum of the loss, with what proves it.

    Attributes:
        u: first layer, `[units, inputs]`; the output weights are `signs`.
        loss: mean squared error against the mean target.
        gradient: norm of the gradient by `u`.
        curvature: least eigenvalue of the Hessian.
        margin: least `|<u_i, x>| / |x|` over inputs and units.
    """

    u: Matrix
    loss: float
    gradient: float
    curvature: float
    margin: float

    @property
    def proved(self) -> bool:
        """Whether the true minimum is so near that no input is on another side of a unit there.

        The gradient carries its own rounding; the factor of a thousand is far more than that.
        """
        distance = (self.gradient + 1e-15) / self.curvature if self.curvature > 0 else np.inf
        return 1e3 * distance < self.margin


def outputs(x: Matrix, u: Matrix, signs: Matrix) -> Matrix:
    """The network's outputs, `[N]`."""
    return np.maximum(x @ u.T, 0) @ signs


def local_minimum(x: Matrix, y: Matrix, u: Matrix, signs: Matrix) -> Minimum | None:
    """The local minimum that alternation between sides and least squares leads to.

    Args:
        x: inputs, `[N, inputs]`.
        y: targets, `[N]`.
        u: where to begin, `[units, inputs]`.
        signs: output weights, ±1.

    Returns:
        The minimum, or None if the alternation does not settle or leaves a unit undetermined.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(40, 2))
        >>> y = np.maximum(x @ [1.0, 2.0], 0)
        >>> found = local_minimum(x, y, np.array([[0.8, 2.2]]), np.ones(1))
        >>> found.proved, [round(float(w), 9) for w in found.u[0]]
        (True, [1.0, 2.0])
    """
    for _ in range(_ROUNDS):
        active = x @ u.T > 0
        design = (active * signs)[:, :, None] * x[:, None, :]
        a = design.reshape(len(x), -1)
        values = np.linalg.eigvalsh(a.T @ a)
        if values[0] <= 1e-12 * values[-1]:
            return None
        solved = np.linalg.lstsq(a, y, rcond=None)[0].reshape(u.shape)
        if ((x @ solved.T > 0) == active).all():
            residual = outputs(x, solved, signs) - y
            return Minimum(
                u=solved,
                loss=float((residual**2).mean()),
                gradient=float(np.linalg.norm(2 * a.T @ residual / len(x))),
                curvature=float(2 * values[0] / len(x)),
                margin=float((np.abs(x @ solved.T) / np.linalg.norm(x, axis=1)[:, None]).min()),
            )
        u = _lower(x, y, u, solved, signs)
    return None


def _lower(x: Matrix, y: Matrix, u: Matrix, solved: Matrix, signs: Matrix) -> Matrix:
    """The first of ever shorter steps towards the solution that lowers the loss."""
    before = float(((outputs(x, u, signs) - y) ** 2).mean())
    step = 1.0
    while step > 1e-9:
        tried = u + step * (solved - u)
        if float(((outputs(x, tried, signs) - y) ** 2).mean()) < before:
            return tried
        step /= 2
    return solved


def mirrored_hessian(weight: float, n: int) -> tuple[Matrix, Matrix]:
    """Gradient and Hessian of the loss by hand, at `u = (1 - π) w'`, by differences of `R`.

    Args:
        weight: π.
        n: dimension of the inputs.

    Returns:
        Gradient `[n]` and Hessian `[n, n]`.
    """
    # The third derivative jumps where the angle is π, the more so the larger π / (1 - π).
    h = 1e-4 * (1 - weight) * min(1.0, (1 - weight) / weight)

    def risk(u: Matrix) -> float:
        size = float(np.linalg.norm(u))
        across = float(np.linalg.norm(u[1:]))
        angle = float(np.arctan2(across, u[0]))
        k = [(np.sin(t) + (np.pi - t) * np.cos(t)) / (2 * np.pi) for t in (angle, np.pi - angle)]
        return size**2 / 2 - 2 * size * (weight * k[0] + (1 - weight) * k[1])

    at = np.zeros(n)
    at[0] = -(1 - weight)
    e = h * np.eye(n)
    gradient = np.array([(risk(at + d) - risk(at - d)) / (2 * h) for d in e])
    hessian = np.array([
        [(risk(at + c + d) - risk(at + c - d) - risk(at - c + d) + risk(at - c - d)) / (4 * h * h)
         for d in e] for c in e
    ])  # fmt: skip
    return gradient, hessian


def check(
    units: Annotated[int, "Hidden units of teachers and student."] = 1,
    inputs: Annotated[int, "Dimension of the inputs."] = 3,
    examples: Annotated[int, "Normal inputs drawn."] = 300,
    weight: Annotated[float, "π, the weight of the first teacher."] = 0.6,
    mirrored: Annotated[bool, "Whether the second teacher is the first one at -x."] = True,
    seed: Annotated[int, "Of inputs and teachers."] = 0,
) -> Finding:
    """Find a poor local minimum of the mixture, prove it, and follow both branches over π.

    Args:
        units: of teachers and student.
        inputs: their dimension.
        examples: drawn.
        weight: of the first teacher.
        mirrored: whether the second teacher's units are those of the first in the opposite
            direction, or drawn independently.
        seed: of all that is drawn.

    Returns:
        Whether two local minima of different loss were found and proved.

    Raises:
        InputError: if a number is out of range.

    Example:
        >>> check(units=1, inputs=2, examples=100).holds
        True
    """
    if units < 1 or inputs < 2 or examples < 2 * units * inputs or not 0 < weight < 1:
        raise InputError(
            "expected at least 1 unit, 2 inputs, 2 × units × inputs examples and a weight between "
            f"0 and 1, got {units}, {inputs}, {examples} and {weight}"
        )
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(examples, inputs))
    signs = np.ones(units)
    first, other = rng.normal(size=(2, units, inputs))
    second = -first if mirrored else other
    y = [outputs(x, u, signs) for u in (first, second)]
    apart = float(((y[0] - y[1]) ** 2).mean())
    grid = np.linspace(0, 1, _WEIGHTS + 2)[1:-1]
    branches = [
        _branch(x, y, first, signs, grid[::-1])[::-1],
        _branch(x, y, second, signs, grid),
    ]
    found = [
        local_minimum(x, weight * y[0] + (1 - weight) * y[1], share * u, signs)
        for share, u in ((weight, first), (1 - weight, second))
    ]
    noise = weight * (1 - weight) * apart
    kept = [each for each in found if each is not None and each.proved]
    losses = sorted(each.loss + noise for each in kept)
    poor = max(kept, key=lambda each: each.loss, default=None)
    holds = len(kept) == 2 and losses[1] - losses[0] > 1e-9 * losses[1]
    gradient, hessian = mirrored_hessian(weight, inputs)
    least = float(np.linalg.eigvalsh(hessian)[0])
    by_hand = float(np.abs(gradient).max()) < 1e-6 and least > 0.99
    spans = [[float(w) for w, m in zip(grid, branch, strict=True) if m is not None and m.proved]
             for branch in branches]  # fmt: skip
    both = [
        float(w)
        for w, m, n in zip(grid, *branches, strict=True)
        if m is not None and n is not None and m.proved and n.proved
        and np.abs(m.u - n.u).max() > _SAME * np.abs(m.u).max()
    ]  # fmt: skip
    return Finding(
        holds=bool(holds and by_hand),
        sentence=(
            f"Two local minima of losses {losses[0]:.6g} and {losses[1]:.6g}, each proved: the "
            "second one is poor. "
            if holds and poor is not None
            else "Not two different local minima near both teachers at this weight. "
        )
        + f"The branches are two different local minima at {len(both)} of {_WEIGHTS} weights.",
        values={
            "weight": weight,
            "losses": losses,
            "poor_gradient": None if poor is None else poor.gradient,
            "poor_least_curvature": None if poor is None else poor.curvature,
            "poor_margin": None if poor is None else poor.margin,
            "loss_at_the_other_teacher": float(
                ((y[1] - weight * y[0] - (1 - weight) * y[1]) ** 2).mean()
            ) + noise,
            "first_branch_from": spans[0][0] if spans[0] else None,
            "second_branch_up_to": spans[1][-1] if spans[1] else None,
            "weights_with_two_minima": len(both),
            "by_hand_largest_gradient": float(np.abs(gradient).max()),
            "by_hand_least_curvature": least,
        },
        charts=(
            Chart(
                title=f"Local minima near two teachers, {units} hidden unit{'s' * (units > 1)}",
                x_label="weight π of the first teacher",
                y_label="loss",
                series=tuple(
                    Series(
                        label=f"near the {name} teacher",
                        x=tuple(float(w) for w, m in pairs),
                        y=tuple(m.loss + float(w * (1 - w)) * apart for w, m in pairs),
                        points=True,
                    )
                    for name, branch in zip(("first", "second"), branches, strict=True)
                    if (pairs := [(w, m) for w, m in zip(grid, branch, strict=True)
                                  if m is not None and m.proved])
                ),
            ),
        ),
    )  # fmt: skip


def _branch(
    x: Matrix, y: list[Matrix], start: Matrix, signs: Matrix, grid: Matrix
) -> list[Minimum | None]:
    """Minima over π, followed from the weight where their teacher is alone; None past the end."""
    u, branch = start, []
    for weight in map(float, grid):
        found = local_minimum(x, weight * y[0] + (1 - weight) * y[1], u, signs)
        # A jump is the end of the branch: what was found is another minimum.
        if found is None or np.abs(found.u - u).max() > _JUMP * np.abs(start).max():
            break
        u = found.u
        branch.append(found)
    return branch + [None] * (len(grid) - len(branch))


MIXTURE = Statement(
    name="mixture-of-teachers",
    source="Freeman & Bruna 2017, Section 2.3.1",
    claim="Where the target comes from either of two relu teachers, one the mirror image of the "
    "other, there are local minima near both, of different losses: one of them is poor. (For other "
    "teachers the two may be one.)",
    check=check,
)
