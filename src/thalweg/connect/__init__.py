"""Find paths below a threshold: the methods, one a file, on one driver loop."""

from thalweg.connect.api import check_threshold, connect, connect_pairs
from thalweg.connect.budget import Budget, Callback, Progress
from thalweg.connect.compare import compare
from thalweg.connect.connection import (
    PLANE_FILES,
    PLANE_VALUES,
    RECORD_FILE,
    Connection,
    Counts,
    Endpoint,
    Profile,
    Segment,
    check_output,
    load_connection,
)
from thalweg.connect.draxler2018autoneb import AutoNEB
from thalweg.connect.driver import Method, Search
from thalweg.connect.freeman2017breadth import BreadthFirst
from thalweg.connect.freeman2017constrained import Constrained
from thalweg.connect.freeman2017greedy import Greedy
from thalweg.connect.garipov2018curve import BezierCurve, PolygonalChain
from thalweg.connect.goodfellow2015linear import Linear
from thalweg.connect.methods import (
    METHODS,
    make_method,
    method_names,
    option_names,
    register_method,
)
from thalweg.connect.moving import Moving
from thalweg.connect.outcome import Outcome
from thalweg.connect.profile import profile, replaced_segments
from thalweg.connect.record import versions
from thalweg.connect.shorten import tighten
from thalweg.connect.training import Trained, TrainingError, train, train_all
from thalweg.connect.verify import Verification, verify

__all__ = [
    "METHODS",
    "PLANE_FILES",
    "PLANE_VALUES",
    "RECORD_FILE",
    "AutoNEB",
    "BezierCurve",
    "BreadthFirst",
    "Budget",
    "Callback",
    "Connection",
    "Constrained",
    "Counts",
    "Endpoint",
    "Greedy",
    "Linear",
    "Method",
    "Moving",
    "Outcome",
    "PolygonalChain",
    "Profile",
    "Progress",
    "Search",
    "Segment",
    "Trained",
    "TrainingError",
    "Verification",
    "check_output",
    "check_threshold",
    "compare",
    "connect",
    "connect_pairs",
    "load_connection",
    "make_method",
    "method_names",
    "option_names",
    "profile",
    "register_method",
    "replaced_segments",
    "tighten",
    "train",
    "train_all",
    "verify",
    "versions",
]
