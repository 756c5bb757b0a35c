"""Model + loss + data as a function of θ; the criterion; evaluation and gradients of stacks."""

from thalweg.objective.batchnorm import Calibration
from thalweg.objective.criterion import Criterion
from thalweg.objective.explanation import Explanation, explain
from thalweg.objective.flat import evaluate_on
from thalweg.objective.objective import Evaluation, Gradients, Objective
from thalweg.objective.recipe import Training
from thalweg.objective.splits import Split

__all__ = [
    "Calibration",
    "Criterion",
    "Evaluation",
    "Explanation",
    "Gradients",
    "Objective",
    "Split",
    "Training",
    "evaluate_on",
    "explain",
]
