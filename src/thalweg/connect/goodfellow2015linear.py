"""Linear interpolation (Goodfellow, Vinyals & Saxe 2015): the straight segment, or nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from thalweg.connect.driver import Search
from thalweg.connect.outcome import Outcome


@dataclass(frozen=True)
class Linear:
    """Prove or refuse the straight segment between two models.

    Goodfellow, Vinyals & Saxe 2015, *Qualitatively characterizing neural network optimization
    problems*, Section 3: the criterion at `(1 − t) θA + t θB`, here for all t and not on a grid.
    """

    name: str = "linear"

    def settings(self) -> dict[str, Any]:
        """It has no options."""
        return {}

    def init(self, search: Search) -> None:
        """The direct segments are open."""

    def step(self, search: Search, state: None) -> None:
        """Certify the segments; every string that was looked at has its outcome."""
        for string in search.certify_straight():
            certificate = string.pieces[0].certificate
            if certificate is not None:  # else the time is up, which is the loop's to say
                seen = f"{certificate.seen:.6g}, threshold {string.threshold:g}"
                why = f"the straight segment rises to at least {seen}"
                if certificate.seen <= string.threshold:
                    why = f"the straight segment was not certified; its highest value is {seen}"
                search.end(string, Outcome.ABOVE_THRESHOLD, why)
