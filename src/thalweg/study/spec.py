"""What a study is: a grid of problems, thresholds, pairs, methods and protocols, validated."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from thalweg.connect import Budget, method_names
from thalweg.errors import InputError

Protocol = Literal["strict", "paper"]
PROTOCOLS: tuple[Protocol, ...] = ("strict", "paper")


class Strict(BaseModel):
    """A record that refuses what it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Limits(Strict):
    """What the search for one path, and the training of one model, may spend.

    The defaults of :class:`thalweg.Budget`, but for `seconds`: a limit that depends on the machine
    makes results depend on it.

    Attributes:
        steps: optimizer steps of one model.
        patience: steps of one model without improvement by one percent.
        beads: on one string.
        depth: how often a segment may be split.
        seconds: for all cells of a batch; None: no limit.
    """

    steps: int = Field(default=Budget.steps, ge=1)
    patience: int = Field(default=Budget.patience, ge=1)
    beads: int = Field(default=Budget.beads, ge=0)
    depth: int = Field(default=Budget.depth, ge=0)
    seconds: float | None = Field(default=None, gt=0)


class Problem(Strict):
    """One problem of a study: a named task, or one of the user's own.

    Attributes:
        task: name of a task.
        options: of the task, such as ``{"data": "quadrature"}``.
        problem: ``MODULE:FACTORY`` instead of a task.
        initialize: for a problem: ``MODULE:FUNCTION`` that takes a ``torch.Generator`` and returns
            an untrained model; None: every module of the factory's model is reset.
        checkpoints: trained models instead of training: the pairs are pairs of these.
        label: name of the problem in tables; None: its task with its options.
        thresholds: levels L0; None: the task's.
        alpha: beads and endpoints are trained to alpha·L0; None: the task's.
    """

    task: str | None = None
    options: dict[str, str | int | float | bool] = {}
    problem: str | None = None
    initialize: str | None = None
    checkpoints: tuple[str, ...] = ()
    label: str | None = None
    thresholds: tuple[float, ...] | None = None
    alpha: float | None = Field(default=None, gt=0, le=1)

    @field_validator("thresholds")
    @classmethod
    def _positive(cls, levels: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if levels is not None and not (
            levels and all(0 < level < float("inf") for level in levels)
        ):
            raise ValueError("expected at least one threshold, each > 0 and finite")
        return levels

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.task is None) == (self.problem is None):
            raise ValueError("expected one of task and problem")
        if self.task is not None and (self.initialize or self.checkpoints):
            raise ValueError("expected initialize and checkpoints beside problem, got a task")
        if self.problem is not None and self.options:
            raise ValueError("expected options beside task, got a problem: its factory takes none")
        if self.problem is not None and self.thresholds is None:
            raise ValueError("expected thresholds for a problem of one's own, got none")
        if len(self.checkpoints) == 1:
            raise ValueError("expected at least two checkpoints, got one")
        return self

    @property
    def name(self) -> str:
        """As tables show it.

        Example:
            >>> Problem(task="cubic", options={"width": 8}).name
            'cubic(width=8)'
        """
        if self.label is not None:
            return self.label
        options = ", ".join(f"{key}={value}" for key, value in sorted(self.options.items()))
        return str(self.task or self.problem) + (f"({options})" if options else "")


class Search(Strict):
    """One method of a study.

    Attributes:
        name: in :func:`thalweg.connect.method_names`.
        options: of the method; under the protocol of the paper also ``mult``.
    """

    name: str = "greedy"
    options: dict[str, str | int | float | bool] = {}

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in method_names():
            raise ValueError(f"expected a method among {', '.join(method_names())}, got '{name}'")
        return name

    @property
    def label(self) -> str:
        """As tables show it.

        Example:
            >>> Search(options={"mult": 1.2, "alpha": 0.9}).label
            'greedy(alpha=0.9, mult=1.2)'
        """
        options = ", ".join(f"{key}={value}" for key, value in sorted(self.options.items()))
        return self.name + (f"({options})" if options else "")


class Study(Strict):
    """A study: every problem × threshold × pair × method × protocol is a cell.

    Attributes:
        name: by which a store knows it.
        summary: one line for a list of studies.
        problems: at least one.
        methods: at least one.
        protocols: ``"strict"``: the direct segment first, the path at or below L0;
            ``"paper"``: as the published runs were done (:mod:`thalweg.study.protocol`).
        pairs: so many pairs of networks of their own: seeds s and s + 1, s + 2 and s + 3, …
        networks: instead, all pairs among so many networks: seeds s, s + 1, …
        seed: the first seed s.
        certificate: None: the task's.
        pool: cells of one problem, threshold, method and protocol that are computed together, at
            most; None: 10, or 1 for models trained on minibatches. What is computed together is
            part of what a result depends on: see :mod:`thalweg.study.plan`.
        paths: whether the path of each cell is kept beside the store.
        limits: of each search.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    summary: str = ""
    problems: tuple[Problem, ...] = Field(min_length=1)
    methods: tuple[Search, ...] = Field(default=(Search(),), min_length=1)
    protocols: tuple[Protocol, ...] = Field(default=("strict",), min_length=1)
    pairs: int | None = Field(default=None, ge=1)
    networks: int | None = Field(default=None, ge=2)
    seed: int = Field(default=0, ge=0, lt=2**62)
    certificate: Literal["proved", "sampled"] | None = None
    pool: int | None = Field(default=None, ge=1)
    paths: bool = True
    limits: Limits = Limits()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.pairs is not None and self.networks is not None:
            raise ValueError("expected one of pairs and networks, got both")
        names = [problem.name for problem in self.problems]
        labels = [method.label for method in self.methods]
        for what, given in (
            ("problems", names),
            ("methods", labels),
            ("protocols", self.protocols),
        ):
            if len(set(given)) != len(given):
                raise ValueError(f"expected {what} that differ, got {', '.join(given)}")
        return self

    def varied(
        self,
        *,
        pairs: int | None = None,
        thresholds: Sequence[float] | None = None,
        seed: int | None = None,
        protocols: Sequence[str] | None = None,
        data: str | None = None,
    ) -> Study:
        """The same study with other extents; None leaves one as it is.

        Args:
            pairs: instead of its pairs or networks.
            thresholds: of all its problems.
            seed: the first one.
            protocols: strict, paper or both.
            data: option of all its tasks: the polynomial ones have ``"quadrature"``.

        Raises:
            InputError: if one makes no sense.
        """
        changed = self.model_dump(mode="json")
        if pairs is not None:
            changed |= {"pairs": pairs, "networks": None}
        if seed is not None:
            changed["seed"] = seed
        if protocols is not None:
            changed["protocols"] = list(protocols)
        for problem in changed["problems"]:
            if thresholds is not None:
                problem["thresholds"] = list(thresholds)
            if data is not None:
                if problem["task"] is None:
                    raise InputError(
                        f"expected tasks for --data {data}, got the problem {problem['problem']}: "
                        "its factory decides on its data"
                    )
                problem["options"]["data"] = data
        return parse(changed, f"the study {self.name}")


def parse(content: dict[str, Any], source: str) -> Study:
    """A study from the content of a TOML file.

    Args:
        content: as read.
        source: for messages.

    Raises:
        InputError: if it is not one.
    """
    try:
        return Study.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "it"
        reason = first["msg"].removeprefix("Value error, ")
        raise InputError(
            f"expected a study in {source}, got something else at '{where}' ({reason}): see "
            "docs/studies.md for its fields"
        ) from error


def read(file: Path) -> Study:
    """A study from a TOML file; its name is the file's unless it has one.

    Checkpoints and ``.py`` files are looked for beside it.

    Args:
        file: to read.

    Raises:
        InputError: if it cannot be read or is no study.
    """
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"expected a study at {file}, got no such file: check the path") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"expected a study at {file}, got '{error}': check the file") from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"expected a TOML file at {file}, got '{error}': correct it") from error
    content.setdefault("name", file.stem)
    return _from_beside(parse(content, str(file)), file.parent)


def _from_beside(study: Study, folder: Path) -> Study:
    """Relative names of files are relative to the study's."""

    def beside(text: str | None) -> str | None:
        name = text.rpartition(":")[0] if text else ""
        return text if text is None or not name.endswith(".py") else str(folder.resolve() / text)

    problems = [
        problem.model_copy(
            update={
                "problem": beside(problem.problem),
                "initialize": beside(problem.initialize),
                "label": problem.name,
                "checkpoints": tuple(
                    str(folder.resolve() / checkpoint) for checkpoint in problem.checkpoints
                ),
            }
        )
        for problem in study.problems
    ]
    return study.model_copy(update={"problems": tuple(problems)})
