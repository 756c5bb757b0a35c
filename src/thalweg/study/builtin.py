"""The studies that come with the package."""

from __future__ import annotations

from pathlib import Path

from thalweg.errors import InputError
from thalweg.study.spec import Limits, Problem, Search, Study, read

# How many pairs the published averages are over is not stated. 20 give standard errors as small as
# the published ones; of the large networks there are as many as two cores train in a day.
_PAIRS, _LARGE_PAIRS = 20, 5

_ALPHA_AND_MULT = ((0.95, 1.1), (0.95, 1.2), (0.95, 1.02), (0.85, 1.1), (0.99, 1.1))
"""The published values, and each of the two moved down and up."""

_STUDIES = {
    study.name: study
    for study in (
        Study(
            name="figure1-quadratic",
            summary="Figure 1, row 1 of Freeman & Bruna 2017: regression on a quadratic",
            problems=(
                Problem(
                    task="quadratic",
                    thresholds=(0.125, 0.1, 0.075, 0.05, 0.025, 0.01, 0.0075, 0.005, 0.0025, 0.001),
                ),
            ),
            pairs=_PAIRS,
        ),
        Study(
            name="figure1-cubic",
            summary="Figure 1, row 2: regression on a cubic",
            problems=(
                Problem(
                    task="cubic",
                    thresholds=(
                        *(0.32, 0.24, 0.18, 0.175, 0.17, 0.165, 0.16, 0.155, 0.15, 0.145, 0.14),
                        *(0.12, 0.08, 0.04, 0.02, 0.01),
                    ),
                ),
            ),
            pairs=_PAIRS,
        ),
        Study(
            name="figure1-mnist",
            summary="Figure 1, row 3: the paper's convolutional network on MNIST",
            problems=(
                Problem(
                    task="mnist-cnn",
                    thresholds=(
                        *(0.04, 0.02, 0.015, 0.01, 0.009, 0.0085, 0.008, 0.00775, 0.0075, 0.007),
                    ),
                ),
            ),
            pairs=_LARGE_PAIRS,
        ),
        Study(
            name="figure1-cifar10",
            summary="Figure 1, row 4: the paper's convolutional network on CIFAR-10",
            problems=(Problem(task="cifar10-cnn", thresholds=(0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)),),
            pairs=_LARGE_PAIRS,
        ),
        Study(
            name="figure1-ptb",
            summary="Figure 1, row 5: the paper's language model on the Penn Treebank",
            problems=(Problem(task="ptb-lstm", thresholds=(700, 300, 250, 200, 150, 135)),),
            pairs=_LARGE_PAIRS,
        ),
        Study(
            name="cubic-spike",
            summary="does the spike of the cubic's length move with alpha and mult?",
            problems=(
                Problem(
                    task="cubic",
                    thresholds=(0.21, 0.2, 0.19, 0.18, 0.17, 0.16, 0.15, 0.14, 0.13, 0.12),
                ),
            ),
            methods=tuple(
                Search(options={"alpha": alpha, "mult": mult}) for alpha, mult in _ALPHA_AND_MULT
            ),
            protocols=("paper",),
            pairs=_PAIRS,
        ),
        Study(
            name="connected-components",
            summary="components among 8 networks, by level and width",
            problems=tuple(
                Problem(
                    task="quadratic",
                    options={"width": width},
                    thresholds=(0.1, 0.05, 0.025, 0.01, 0.005),
                )
                for width in (1, 2, 4, 8)
            ),
            networks=8,
            limits=Limits(beads=200),
        ),
    )
}


def study_names() -> tuple[str, ...]:
    """Names of the studies that come with the package.

    Example:
        >>> study_names()[:2]
        ('figure1-quadratic', 'figure1-cubic')
    """
    return tuple(_STUDIES)


def load_study(name: str) -> Study:
    """A study by its name, or from a TOML file.

    Args:
        name: one of :func:`study_names`, or a file that ends in ``.toml``.

    Raises:
        InputError: if there is none, or the file is no study.

    Example:
        >>> load_study("figure1-quadratic").pairs
        20
    """
    if name.endswith(".toml"):
        return read(Path(name))
    if name not in _STUDIES:
        raise InputError(
            f"expected the name of a study ({', '.join(_STUDIES)}) or a .toml file, got '{name}': "
            "choose one of these"
        )
    return _STUDIES[name]
