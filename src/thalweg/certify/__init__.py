"""Upper bounds of the criterion over whole segments."""

from thalweg.certify.bound import bound_segment, certifier
from thalweg.certify.certificate import KINDS, Certificate, Certifier, Span
from thalweg.certify.sampled import Sampled

__all__ = ["KINDS", "Certificate", "Certifier", "Sampled", "Span", "bound_segment", "certifier"]
