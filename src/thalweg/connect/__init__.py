"""Find paths below a threshold: the methods, one a file, on one driver loop."""

from thalweg.connect.api import METHODS, check_threshold, connect, connect_pairs, versions
from thalweg.connect.connection import (
    Connection,
    Counts,
    Endpoint,
    Profile,
    Segment,
    check_output,
    load_connection,
)
from thalweg.connect.driver import Budget, Method, Progress, Search
from thalweg.connect.freeman2017greedy import Greedy
from thalweg.connect.outcome import Outcome
from thalweg.connect.profile import profile, replaced_segments
from thalweg.connect.training import Trained, TrainingError, train
from thalweg.connect.verify import Verification, verify

__all__ = [
    "METHODS",
    "Budget",
    "Connection",
    "Counts",
    "Endpoint",
    "Greedy",
    "Method",
    "Outcome",
    "Profile",
    "Progress",
    "Search",
    "Segment",
    "Trained",
    "TrainingError",
    "Verification",
    "check_output",
    "check_threshold",
    "connect",
    "connect_pairs",
    "load_connection",
    "profile",
    "replaced_segments",
    "train",
    "verify",
    "versions",
]
