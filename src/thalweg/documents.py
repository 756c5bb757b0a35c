"""Numbers of JSON documents."""

from __future__ import annotations

import math


def finite(value: float) -> float | None:
    """A number for JSON, which knows no NaN and no inf.

    Args:
        value: any number.

    Example:
        >>> finite(1.5), finite(float("inf"))
        (1.5, None)
    """
    return value if math.isfinite(value) else None
