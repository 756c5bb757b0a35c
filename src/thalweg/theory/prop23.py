"""Proposition 2.3: products of two relu units against those of two linear ones.

Freeman & Bruna 2017, Eq. 7. Let `[w1, w2]_Z = E z(w1) z(w2)` with `z(w) = relu(<w, X>)`, for unit
vectors at an angle α with unit bisector `w_m`, and `Σ = E X X'`. The paper claims

    (1 + cos α)/2 |w_m|²_Z - 2 |Σ| ((1 - cos α)/2 + sin² α) <= [w1, w2]_Z
                                                            <= (1 + cos α)/2 |w_m|²_Z.

Both hold. The lower one is loose, and its proof can be shortened to a line. With `d = (w2 - w1)/2`,
`|d|² = (1 - cos α)/2` and `<x, w1><x, w2> = (1 + cos α)/2 <x, w_m>² - <x, d>²`. The half-space `C`
where `<x, w_m> >= 0` holds all x with both factors positive, and on the rest of it their product is
not positive. So

    [w1, w2]_Z >= E 1_C <x, w1><x, w2> = (1 + cos α)/2 |w_m|²_Z - E 1_C <x, d>²
               >= (1 + cos α)/2 |w_m|²_Z - (1 - cos α)/2 |Σ|,

without the factor 2 and without `sin² α`: for small angles a tenth of what is printed. It cannot be
improved: two atoms on the border of where both units are active attain it up to a right angle
(:meth:`Sample.extremal`).

The text after the proposition goes on to `[w1, w2]_Z <= <w1, w2> |w_m|²_Z`. That is an
approximation and no bound: the factor proved is `(1 + cos α)/2`, which is larger by `α²/4`, and an
atom on the bisector attains it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Protocol

import numpy as np
from numpy.typing import NDArray

from thalweg.errors import InputError
from thalweg.theory.statement import Chart, Finding, Series, Statement

Matrix = NDArray[np.floating]

_TOLERANCE = 1e-12
_CLIMBS = 12


class Measure(Protocol):
    """A distribution of inputs."""

    @property
    def norm(self) -> float:
        """The largest eigenvalue of E X X'."""
        ...

    @property
    def dimension(self) -> int:
        """Of the inputs."""
        ...

    def product(self, v: Matrix, w: Matrix) -> Matrix:
        """`[v, w]_Z` for rows `[k, n]` of both, `[k]`."""
        ...


@dataclass(frozen=True, eq=False)
class Gaussian:
    """A centred normal distribution.

    Attributes:
        covariance: `[n, n]`.

    Example:
        >>> e = np.eye(2)
        >>> Gaussian(e).product(e[:1], e[1:]) * 2 * np.pi  # independent: (1 / sqrt(2 π))²
        array([1.])
    """

    covariance: Matrix

    @property
    def norm(self) -> float:
        """See :class:`Measure`."""
        return float(np.linalg.norm(self.covariance, 2))

    @property
    def dimension(self) -> int:
        """See :class:`Measure`."""
        return len(self.covariance)

    def product(self, v: Matrix, w: Matrix) -> Matrix:
        """In closed form: `|v| |w| (sin θ + (π - θ) cos θ) / (2 π)` (Cho & Saul 2009).

        Norms and angle θ are those of `<v, Σ w>`.
        """
        sv, sw = v @ self.covariance, w @ self.covariance
        sizes = np.sqrt((sv * v).sum(axis=1) * (sw * w).sum(axis=1))
        dot = (sv * w).sum(axis=1)
        # |v|² |w|² - <v, w>² without cancellation: half the sum of squares of the 2 x 2 minors.
        root = np.linalg.cholesky(self.covariance)
        a, b = v @ root, w @ root
        minors = a[:, :, None] * b[:, None, :] - a[:, None, :] * b[:, :, None]
        sine = np.sqrt((minors**2).sum(axis=(1, 2)) / 2)
        return (sine + (np.pi - np.arctan2(sine, dot)) * dot) / (2 * np.pi) * (sizes > 0)


@dataclass(frozen=True, eq=False)
class Sample:
    """Atoms: an empirical distribution, for which the bounds hold exactly.

    Attributes:
        points: `[N, n]`.
        weights: `[N]`, of sum one.
    """

    points: Matrix
    weights: Matrix

    @classmethod
    def of(cls, points: Matrix) -> Sample:
        """Atoms of equal weight."""
        return cls(points, np.full(len(points), 1 / len(points)))

    @classmethod
    def extremal(cls, alpha: float) -> Sample:
        """The plane's measure of unit Σ for which the lower bound at this angle is attained.

        Args:
            alpha: the angle of the units, which lie at ±α/2 from the first axis.

        Returns:
            Two atoms at which one of the units is just switched off.
        """
        edge = np.array([np.sin(alpha / 2), np.cos(alpha / 2)])
        return cls.of(np.array([edge, edge * [1, -1]]))

    @property
    def norm(self) -> float:
        """See :class:`Measure`."""
        weighted = self.points * np.sqrt(self.weights)[:, None]
        return float(np.linalg.norm(weighted, 2)) ** 2

    @property
    def dimension(self) -> int:
        """See :class:`Measure`."""
        return self.points.shape[1]

    def product(self, v: Matrix, w: Matrix) -> Matrix:
        """See :class:`Measure`."""
        a, b = (np.maximum(self.points @ each.T, 0) for each in (v, w))
        return self.weights @ (a * b)


@dataclass(frozen=True, eq=False)
class Gaps:
    """Both sides of Eq. 7 at pairs of units of one angle.

    Attributes:
        gap: `(1 + cos α)/2 |w_m|²_Z - [w1, w2]_Z`, `[k]`: the upper bound says that it is not
            negative, the lower one how large it may be.
        over_linear: `[w1, w2]_Z - cos α |w_m|²_Z`, `[k]`: not positive, says the text.
    """

    gap: Matrix
    over_linear: Matrix

    @classmethod
    def of(cls, measure: Measure, first: Matrix, second: Matrix, alpha: float) -> Gaps:
        """Evaluate pairs.

        Args:
            measure: of the inputs.
            first: `[k, n]`, unit rows.
            second: `[k, n]`, unit rows orthogonal to those of `first`.
            alpha: the units are `cos(α/2) first ± sin(α/2) second`.
        """
        c, s = np.cos(alpha / 2), np.sin(alpha / 2)
        middle = measure.product(first, first)
        both = measure.product(c * first - s * second, c * first + s * second)
        return cls(c * c * middle - both, both - np.cos(alpha) * middle)


def allowed(alpha: float) -> float:
    """What the gap may be, over |Σ|: proved above, and sharp."""
    return float(np.sin(alpha / 2) ** 2)


def printed(alpha: float) -> float:
    """What the gap may be, over |Σ|, as printed in Eq. 7."""
    return float(2 * (np.sin(alpha / 2) ** 2 + np.sin(alpha) ** 2))


def search(
    measure: Measure, alpha: float, pairs: int, rng: np.random.Generator
) -> tuple[float, float, float]:
    """Look for pairs of units at an angle that violate a bound.

    Args:
        measure: of the inputs.
        alpha: the angle.
        pairs: drawn at first, and again around the worst one, ever nearer to it.
        rng: source of randomness.

    Returns:
        The least gap, the largest gap and the largest excess over the linear product, over |Σ|.
    """
    n = measure.dimension
    goals: list[Callable[[Gaps], Matrix]] = [
        lambda gaps: -gaps.gap, lambda gaps: gaps.gap, lambda gaps: gaps.over_linear,
    ]  # fmt: skip
    found = []
    for goal in goals:
        best, at = -np.inf, (np.zeros(n), np.zeros(n))
        for climb in range(_CLIMBS):
            spread = 0.5**climb
            first, second = (
                (at[k] if climb else 0) + spread * rng.normal(size=(pairs, n)) for k in (0, 1)
            )
            first /= np.linalg.norm(first, axis=1, keepdims=True)
            second -= (second * first).sum(axis=1, keepdims=True) * first
            second /= np.linalg.norm(second, axis=1, keepdims=True)
            values = goal(Gaps.of(measure, first, second, alpha))
            place = int(values.argmax())
            if values[place] > best:
                best, at = float(values[place]), (first[place], second[place])
        found.append(best / measure.norm)
    return -found[0], found[1], found[2]


def _measure(name: str, dimension: int, samples: int, rng: np.random.Generator) -> Measure:
    if name == "gaussian":
        mixing = rng.normal(size=(dimension, dimension))
        return Gaussian(mixing @ mixing.T / dimension + 0.1 * np.eye(dimension))
    if name == "uniform":
        return Sample.of(rng.uniform(-1, 1, (samples, dimension)))
    if name == "digits":
        from sklearn.datasets import load_digits  # heavy, and for this measure alone

        images = np.asarray(load_digits(return_X_y=True)[0]) / 16
        return Sample.of(images[rng.permutation(len(images))[:samples]])
    raise InputError(f"expected a distribution ({', '.join(DISTRIBUTIONS)}), got {name!r}")


DISTRIBUTIONS = ("gaussian", "uniform", "digits", "extremal")


def check(
    distribution: Annotated[str, f"Of the inputs: {', '.join(DISTRIBUTIONS)}."] = "gaussian",
    dimension: Annotated[int, "Of the inputs, for gaussian and uniform."] = 3,
    samples: Annotated[int, "Atoms drawn, for uniform and digits."] = 500,
    angles: Annotated[int, "Angles between 1e-3 and π."] = 24,
    pairs: Annotated[int, "Pairs of units tried at a time."] = 60,
    seed: Annotated[int, "Of distribution and search."] = 0,
) -> Finding:
    """Search for units that violate a bound of Eq. 7.

    Args:
        distribution: one of ``DISTRIBUTIONS``; extremal is the one that attains the sharp bound.
        dimension: of the inputs.
        samples: atoms drawn.
        angles: on a logarithmic scale.
        pairs: see :func:`search`.
        seed: of distribution and search.

    Returns:
        Whether both bounds and the sharper lower one held everywhere.

    Raises:
        InputError: if there is no such distribution or a number is too small.

    Example:
        >>> check("extremal", angles=8).values["largest_share_of_sharp_allowance"]
        1.0
    """
    if dimension < 2 or min(samples, angles, pairs) < 1:
        raise InputError(
            "expected a dimension of at least 2 and at least one sample, angle and pair, got "
            f"{dimension}, {samples}, {angles} and {pairs}"
        )
    rng = np.random.default_rng(seed)
    fixed = distribution != "extremal"
    measure = _measure(distribution, dimension, samples, rng) if fixed else Sample.extremal(0.0)
    # Beyond a right angle the extremal measure is longer along the bisector than across.
    alphas = np.geomspace(1e-3, np.pi * 0.999 if fixed else np.pi / 2, angles)
    rows = []
    for alpha in map(float, alphas):
        if fixed:
            rows.append(search(measure, alpha, pairs, rng))
        else:
            worst = Sample.extremal(alpha)
            gaps = Gaps.of(worst, np.eye(2)[:1], np.eye(2)[1:], alpha)
            gap, over = (float(values[0]) / worst.norm for values in (gaps.gap, gaps.over_linear))
            rows.append((gap, gap, over))
    low, high, over = (np.array(column) for column in zip(*rows, strict=True))
    sharp, loose = (np.array([rule(float(a)) for a in alphas]) for rule in (allowed, printed))
    upper_holds = bool((low >= -_TOLERANCE).all())
    lower_holds = bool((high <= loose + _TOLERANCE).all())
    sharper_holds = bool((high <= sharp + _TOLERANCE).all())
    sizable = sharp > 1e-9  # below, rounding is a part of the gap
    share, of_printed = (float((high / rule)[sizable].max(initial=0)) for rule in (sharp, loose))
    small = alphas < 1
    linear = float((over / alphas**2)[small & sizable].max(initial=0))
    return Finding(
        holds=upper_holds and lower_holds and sharper_holds,
        sentence=f"{distribution}: at {angles} angles the gap of Eq. 7 stayed between "
        f"{max(0.0, float((low / sharp)[sizable].min(initial=np.inf))):.3g} and {share:.3g} times "
        "(1 - cos α)/2 |Σ|; the allowance as printed is at least "
        f"{1 / max(of_printed, 1e-300):.3g} times what was needed.",
        values={
            "distribution": distribution,
            "upper_bound_holds": upper_holds,
            "lower_bound_as_printed_holds": lower_holds,
            "sharp_lower_bound_holds": sharper_holds,
            "largest_share_of_sharp_allowance": round(share, 12),
            "largest_share_of_printed_allowance": of_printed,
            "product_exceeds_linear_by_alpha_squared_times": max(0.0, linear),
        },
        charts=(
            Chart(
                title=f"Gap of Eq. 7, {distribution} inputs",
                x_label="angle α of the two units",
                y_label="(1 + cos α)/2 |w_m|² − [w1, w2], over |Σ|",
                log_x=True,
                log_y=True,
                series=(
                    _series("largest found", alphas, high),
                    _series("(1 − cos α)/2: sharp", alphas, sharp),
                    _series("as printed", alphas, loose),
                ),
            ),
        ),
    )


def _series(label: str, x: Matrix, y: Matrix) -> Series:
    return Series(label=label, x=tuple(map(float, x)), y=tuple(map(float, y)))


PROP_23 = Statement(
    name="prop-2.3",
    source="Freeman & Bruna 2017, Proposition 2.3, Eq. 7",
    claim="The mean product of two relu units is below (1 + cos α)/2 times the bisector's square "
    "by at most what Eq. 7 allows, and in fact by at most (1 - cos α)/2 times the largest "
    "eigenvalue of the inputs' second moments.",
    check=check,
)
