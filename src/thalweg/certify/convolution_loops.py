"""A Taylor model of a convolution put together from its products, in one loop for the CPU."""

from __future__ import annotations

from typing import Any

from thalweg.certify.loops import compiled


@compiled()
def by_ends(
    right: Any, left: Any, second: Any, absolute: Any, patches: Any, shares: Any, bias: Any,
    error: Any, charges: Any, value: Any, slope: Any, remainder: Any,
) -> None:  # fmt: skip
    """Value, slope and remainder `[n, m, places]` of a layer `W + s D` that sees `x + s x' ± r`.

    Args:
        right: `(W + D) (x + x')`, float32 as what follows, of the shape of the results.
        left: `(W - D) (x - x')`.
        second: `D x'`.
        absolute: `(|W| + |D|) r`.
        patches: `[2, n, places]`, sums of squares over what a kernel sees of x' and of x.
        shares: `[2, m]`, of the roots of these that are charged.
        bias: `[2, m]`, its value and slope.
        error: `[n, m]`, what else is unsure.
        charges: factor of `absolute` and what is added to it; what makes up for the rounding of a
            remainder, and for underflow.
        value: float64, as what follows.
        slope: see there.
        remainder: see there.
    """
    factor, least, grow, tiny = charges
    n, m, places = value.shape
    for i in range(n):
        for j in range(m):
            by_slope, by_value = shares[0, j], shares[1, j]
            shift, tilt, more = bias[0, j], bias[1, j], error[i, j] + least
            for p in range(places):
                a, b = float(right[i, j, p]), float(left[i, j, p])
                half = 0.5 * second[i, j, p]
                value[i, j, p] = 0.5 * (a + b) - half + shift
                slope[i, j, p] = 0.5 * (a - b) + tilt
                rounded = patches[0, i, p] ** 0.5 * by_slope + patches[1, i, p] ** 0.5 * by_value
                unsure = absolute[i, j, p] * factor + rounded + abs(half) + more
                remainder[i, j, p] = unsure * grow + tiny
