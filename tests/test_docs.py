"""The code on the pages of the documentation runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from thalweg.connect import METHODS, methods

DOCS = Path(__file__).parents[1] / "docs"


def code_of(page: str, language: str = "python") -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)


def test_a_method_of_ones_own_appears_in_a_comparison(monkeypatch, capsys):
    monkeypatch.setattr(methods, "METHODS", dict(METHODS))
    blocks = code_of("your-own-method.md")
    assert len(blocks[0].splitlines()) <= 46, "about forty lines"
    namespace: dict = {"__name__": "page"}
    for block in blocks:
        exec(compile(block, "your-own-method.md", "exec", dont_inherit=True), namespace)
    found = {connection.method: connection for connection in namespace["found"]}
    assert list(found) == ["linear", "greedy", "minimax"]
    assert found["greedy"].connected
    assert found["minimax"].connected
    assert found["minimax"].max_criterion_bound <= 0.1
    assert found["minimax"].settings["places"] == 8
    assert "minimax connected" in capsys.readouterr().out


@pytest.mark.parametrize("page", sorted(path.name for path in DOCS.glob("*.md")))
def test_python_on_a_page_is_python(page):
    for block in code_of(page):
        compile(block, page, "exec")
