"""What a statement of the theory is here: words, a source, and a check that could fail."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Series:
    """One line, or one cloud of points, of a chart.

    Attributes:
        label: what it shows.
        x: its abscissae.
        y: its ordinates, as many.
        points: drawn as points rather than as a line.
    """

    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    points: bool = False


@dataclass(frozen=True, kw_only=True)
class Chart:
    """The numbers of a picture, and how its axes are labelled.

    Attributes:
        title: what is seen.
        x_label: the abscissa, with its unit.
        y_label: the ordinate, with its unit.
        series: what is drawn.
        log_x: whether the abscissa is logarithmic.
        log_y: whether the ordinate is.
    """

    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    log_x: bool = False
    log_y: bool = False


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a check found.

    Attributes:
        holds: whether all that the statement claims was seen to hold in this run.
        sentence: the finding for a person, with its numbers.
        values: the finding for a program: finite numbers, strings, lists and None.
        charts: its pictures.

    Example:
        >>> Finding(holds=True, sentence="1 = 1.", values={"left": 1, "right": 1}).charts
        ()
    """

    holds: bool
    sentence: str
    values: Mapping[str, Any]
    charts: tuple[Chart, ...] = field(default=())


@dataclass(frozen=True, kw_only=True)
class Statement:
    """A statement of a paper, with the function that checks it.

    Attributes:
        name: what the command line calls it.
        source: paper and number.
        claim: the statement that is checked, in one or two sentences.
        check: runs the check. Its keyword arguments, each annotated as
            ``Annotated[type, "help"]`` with a default, are the options of the command.
    """

    name: str
    source: str
    claim: str
    check: Callable[..., Finding]
