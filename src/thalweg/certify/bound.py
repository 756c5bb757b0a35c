"""Bound the criterion over one segment: the public face of the certificates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from thalweg.certify.certificate import Certificate, Certifier, Span
from thalweg.certify.proved import Proved
from thalweg.certify.sampled import Sampled
from thalweg.errors import InputError
from thalweg.objective import Objective
from thalweg.parameters import Source

_CERTIFIERS: dict[str, Callable[..., Certifier]] = {"proved": Proved, "sampled": Sampled}


def certifier(kind: str, **settings: Any) -> Certifier:
    """The certifier of that kind.

    Args:
        kind: ``"proved"`` or ``"sampled"``.
        settings: other than its defaults.

    Raises:
        InputError: if there is none.
    """
    if kind not in _CERTIFIERS:
        raise InputError(
            f"expected a kind of certificate among {', '.join(_CERTIFIERS)}, got '{kind}'"
        )
    return _CERTIFIERS[kind](**settings)


def bound_segment(
    objective: Objective,
    theta_a: Source,
    theta_b: Source,
    threshold: float | None = None,
    kind: str = "proved",
) -> Certificate:
    """Upper bound of the criterion over the straight segment between two models.

    Args:
        objective: whose criterion.
        theta_a: one end: a module, state dict, flat vector `[p]` or file.
        theta_b: the other end.
        threshold: stop as soon as the bound is known to be at or below it, or a value is found
            above it; None: as tight as the budget allows.
        kind: of certificate.

    Returns:
        The certificate.

    Raises:
        InputError: if an end does not fit the objective.
        UnsupportedOperation: if a proof is wanted and an operation has no rule.

    Example:
        >>> from torch import nn
        >>> x = torch.linspace(-1, 1, 16).reshape(16, 1)
        >>> line = Objective(nn.Linear(1, 1, bias=False), nn.functional.mse_loss, train=(x, x))
        >>> certificate = bound_segment(line, torch.tensor([0.0]), torch.tensor([2.0]))
        >>> round(certificate.bound, 4) == round(certificate.seen, 4)
        True
    """
    ends = [objective.theta(theta_a, "end A"), objective.theta(theta_b, "end B")]
    twin = objective.double()
    values = twin.criterion_of(torch.stack(ends).to(torch.float64)).values[:, 0].tolist()
    span = Span(ends[0], ends[1], values[0], values[1], threshold)
    return certifier(kind).certify(objective, [span])[0]
