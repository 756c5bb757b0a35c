"""How a search ends: a value, never a bare exception."""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """The named ends of a search for a path."""

    CONNECTED = "connected"
    """The whole path is at or below the threshold, by its certificates."""
    IDENTICAL = "identical endpoints"
    """The endpoints are equal and at or below the threshold: a path of length 0."""
    CONNECTED_UP_TO_SYMMETRY = "connected up to symmetry"
    """As above, between one endpoint and the other moved by the symmetries of the network."""
    ABOVE_THRESHOLD = "above threshold"
    """The one path that the method has to offer was not accepted: it rises above the threshold."""
    BUDGET_EXHAUSTED = "budget exhausted"
    """Beads, depth, steps or seconds ran out; the message says which."""
    BEAD_STALLED = "bead stalled"
    """A bead stopped improving above its target."""
    PATH_STALLED = "path stalled"
    """A path that moves as a whole stopped improving above the threshold."""
    BARRIER_PERSISTS = "barrier persists"
    """The highest point stays while all else falls: a sign of a disconnection, not a proof."""
    DIVERGED = "diverged"
    """A loss, gradient or parameters became NaN or inf."""

    @property
    def connected(self) -> bool:
        """Whether there is a path at or below the threshold."""
        return self in _CONNECTED


_CONNECTED = {Outcome.CONNECTED, Outcome.IDENTICAL, Outcome.CONNECTED_UP_TO_SYMMETRY}
