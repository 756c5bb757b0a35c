"""Studies: a grid of problems, thresholds, pairs, methods and protocols, computed and kept.

Not imported by ``import thalweg``: it needs SQLAlchemy.
"""

from thalweg.study.atlas import atlas_levels, atlas_names, load_atlas, run_atlas
from thalweg.study.builtin import load_study, study_names
from thalweg.study.claims import Tally
from thalweg.study.results import Row
from thalweg.study.run import StudyProgress, run_study
from thalweg.study.spec import Study
from thalweg.study.store import Store

__all__ = [
    "Row",
    "Store",
    "Study",
    "StudyProgress",
    "Tally",
    "atlas_levels",
    "atlas_names",
    "load_atlas",
    "load_study",
    "run_atlas",
    "run_study",
    "study_names",
]
