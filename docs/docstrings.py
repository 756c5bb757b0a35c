"""Docstrings as the site wants them: examples as code, names without the marks of another tool."""

from __future__ import annotations

import re
from typing import Any

import griffe


class Docstrings(griffe.Extension):
    """Rewrites docstrings when they are read; the sources stay as they are."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Headings that the parser knows, and code in the place of roles."""
        if obj.docstring is not None:
            text = re.sub(r"^(\s*)Example:$", r"\1Examples:", obj.docstring.value, flags=re.M)
            obj.docstring.value = re.sub(r":\w+:`~?([^`]*)`", r"`\1`", text)
