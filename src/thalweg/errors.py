"""Errors that Thalweg raises: one root, so that a caller can catch them all.

A search that does not find a path is not an error: it ends in a named
:class:`thalweg.Outcome`. Errors are for input that cannot be worked with.
"""


class ThalwegError(Exception):
    """Root of all errors that Thalweg raises on purpose."""


class InputError(ThalwegError):
    """Input that cannot be used; the message says what was expected, what was got, what to do."""


class VerificationError(ThalwegError):
    """A saved connection whose files contradict each other or its threshold."""
