"""The symmetries of networks: permutations and rescalings of units, and what they are good for."""

from thalweg.symmetry.alignment import METHODS, Alignment, align
from thalweg.symmetry.group import PermutationGroup, permutation_group
from thalweg.symmetry.matching import match_weights
from thalweg.symmetry.repair import repair
from thalweg.symmetry.rescaling import RescalingGroup, rescaling_group

__all__ = [
    "METHODS",
    "Alignment",
    "PermutationGroup",
    "RescalingGroup",
    "align",
    "match_weights",
    "permutation_group",
    "repair",
    "rescaling_group",
]
