"""Statements of the paper and of the field as constructions, each with a check that could fail.

A statement is one module here that makes a :class:`Statement`, and one line in the registry below.
"""

from __future__ import annotations

from thalweg.errors import InputError
from thalweg.theory.appendix_e1 import PERMUTATION
from thalweg.theory.auer1996 import AUER_1996
from thalweg.theory.corollary25 import COROLLARY_25
from thalweg.theory.karhadkar2023 import KARHADKAR_2023
from thalweg.theory.kawaguchi2016 import KAWAGUCHI_23
from thalweg.theory.ntk_distance import NTK_DISTANCE
from thalweg.theory.prop21 import PROP_21
from thalweg.theory.prop22 import PROP_22
from thalweg.theory.prop22_ridge import PROP_22_RIDGE
from thalweg.theory.prop23 import PROP_23
from thalweg.theory.safran2018 import SPURIOUS_MINIMA
from thalweg.theory.section21_orbits import ORBITS
from thalweg.theory.section231_gaussians import TWO_GAUSSIANS
from thalweg.theory.section231_mixture import MIXTURE
from thalweg.theory.section231_tessellation import TESSELLATION
from thalweg.theory.statement import Chart, Finding, Series, Statement
from thalweg.theory.theorem24 import THEOREM_24

__all__ = ["Chart", "Finding", "Series", "Statement", "get_statement", "statements"]

_REGISTRY: tuple[Statement, ...] = (
    PROP_21,
    PROP_22,
    PROP_22_RIDGE,
    PROP_23,
    THEOREM_24,
    COROLLARY_25,
    ORBITS,
    TWO_GAUSSIANS,
    TESSELLATION,
    MIXTURE,
    PERMUTATION,
    KAWAGUCHI_23,
    AUER_1996,
    SPURIOUS_MINIMA,
    KARHADKAR_2023,
    NTK_DISTANCE,
)


def statements() -> tuple[Statement, ...]:
    """List all statements, those of the paper first.

    Returns:
        The statements.

    Example:
        >>> statements()[0].name
        'prop-2.1'
    """
    return _REGISTRY


def get_statement(name: str) -> Statement:
    """Look a statement up by its name.

    Args:
        name: of one of :func:`statements`.

    Returns:
        The statement.

    Raises:
        InputError: if there is none of this name.

    Example:
        >>> get_statement("prop-2.1").check().holds
        True
    """
    for statement in _REGISTRY:
        if statement.name == name:
            return statement
    known = ", ".join(each.name for each in _REGISTRY)
    raise InputError(f"expected the name of a statement ({known}), got {name!r}: choose one")
