"""Upper bounds of the criterion over whole segments: proved by Taylor models, or sampled."""

from thalweg.certify.bound import bound_segment, certifier
from thalweg.certify.certificate import Certificate, Certifier, Span
from thalweg.certify.exact import ExactMaximum, exact_maximum
from thalweg.certify.obstruction import NotApplicable, Obstructed, obstruct
from thalweg.certify.proved import Proved, unsupported
from thalweg.certify.sampled import Sampled
from thalweg.certify.taylor import UnsupportedOperation

__all__ = [
    "Certificate",
    "Certifier",
    "ExactMaximum",
    "NotApplicable",
    "Obstructed",
    "Proved",
    "Sampled",
    "Span",
    "UnsupportedOperation",
    "bound_segment",
    "certifier",
    "exact_maximum",
    "obstruct",
    "unsupported",
]
