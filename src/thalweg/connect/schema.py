"""The schema of ``connection.json``: what is read back is checked before it is believed."""

from __future__ import annotations

import math
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from thalweg.errors import InputError

FORMAT = "thalweg.connection"
VERSION = 1

Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(allow_inf_nan=False, gt=0)]
Length = Annotated[float, Field(allow_inf_nan=False, ge=0)]
Count = Annotated[int, Field(ge=0)]
Place = Annotated[int, Field(ge=1)]
Kind = Literal["sampled", "proved"]


class _Strict(BaseModel):
    """Later versions may add entries; those that are known have their types."""

    model_config = ConfigDict(strict=True, extra="ignore")


class CriterionEntry(_Strict):
    """``criterion``."""

    name: str
    split: str


class EndpointEntry(_Strict):
    """One of ``endpoints``."""

    criterion: Finite
    sha256: str
    given_sha256: str | None = None


class SegmentEntry(_Strict):
    """One of ``segments``."""

    length: Length
    bound: Finite | None
    seen: Finite | None
    kind: Kind
    evaluations: Count
    pieces: list[Annotated[list[Finite], Field(min_length=3, max_length=3)]] = []


class CountsEntry(_Strict):
    """``counts``."""

    gradient_evaluations: Count
    gradient_samples: Count
    criterion_evaluations: Count
    criterion_samples: Count
    bound_evaluations: Count
    bound_samples: Count
    training_steps: Count


class ProfileEntry(_Strict):
    """``profile``."""

    t: list[Finite]
    beads: list[Finite]
    values: dict[str, list[Finite | None]]
    linear: dict[str, list[Finite | None]]
    examples: dict[str, Count]
    replaced: list[list[Finite | None]] = []


class Document(_Strict):
    """The whole of ``connection.json``."""

    format: Literal["thalweg.connection"]
    version: Literal[1]
    outcome: str
    message: str
    method: str
    certificate: Kind
    threshold: Positive
    criterion: CriterionEntry
    endpoints: Annotated[list[EndpointEntry], Field(min_length=2, max_length=2)]
    beads: Count
    length: Length
    endpoint_distance: Length
    normalized_length: Length | None
    max_criterion_bound: Finite | None
    max_criterion_seen: Finite
    segments: list[SegmentEntry]
    counts: CountsEntry
    seconds: dict[str, Finite]
    seed: int
    settings: dict[str, Any]
    versions: dict[str, str]
    profile: ProfileEntry | None = None
    history: list[Place] = []


def check_document(content: object, file: FilePath) -> Document:
    """Check what was read from a file.

    Args:
        content: parsed JSON.
        file: where it stood, for the sentence.

    Raises:
        InputError: naming the first entry that is missing or wrong.
    """
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(f"expected the format '{FORMAT}' in {file}, got another")
    if content.get("version") != VERSION:
        raise InputError(
            f"expected version {VERSION} of '{FORMAT}' in {file}, got {content.get('version')}: "
            "use the version of thalweg that wrote it"
        )
    try:
        return Document.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"expected the record of a connection in {file}, got '{where}' wrong "
            f"({first['msg']}): the file was changed or is damaged"
        ) from error


def derived_differs(document: Document, name: str, value: float | int | None) -> bool:
    """Whether a figure of the file is not what follows from its other entries and the path."""
    recorded = getattr(document, name)
    if recorded is None or value is None:
        return recorded is not value
    return not math.isclose(recorded, value, rel_tol=1e-9, abs_tol=1e-300)
