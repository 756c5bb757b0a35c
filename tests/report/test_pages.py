"""Pages of studies and comparisons: every cell with its outcome, links that lead somewhere."""

from __future__ import annotations

import dataclasses
import re
from html import unescape
from urllib.parse import unquote

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

import thalweg
from tests.helpers import random_stack, toy_classifier
from tests.report.browser import chromium, complaints, open_page, requests
from tests.report.test_html import Page, tables
from tests.study.test_run import SPECIFICATION
from thalweg.cli import main
from thalweg.connect import Outcome
from thalweg.report import comparison_html, save_study_report, study_html
from thalweg.study import Store, load_study, run_study


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    folder = tmp_path_factory.mktemp("study")
    (folder / "toy.toml").write_text(SPECIFICATION)
    study, kept = load_study(str(folder / "toy.toml")), Store(str(folder / "studies.db"))
    run_study(study, kept)
    return kept


@pytest.fixture(scope="module")
def name(store) -> str:
    return next(iter(store.studies()))


def test_a_page_of_a_study_has_every_cell_with_its_outcome(store, name, tmp_path):
    rows = store.rows(name)
    content = study_html(store, name, tmp_path)
    page = Page(content)
    connected = sum(row.connected for row in rows)
    assert f"{connected} of {len(rows)} pairs are connected" in page.text
    found = tables(content)
    assert [row["outcome"] for row in found["cells.csv"]] == [row.outcome for row in rows]
    beads = [row["beads"] for row in found["cells.csv"]]
    assert beads == ["" if row.beads is None else str(row.beads) for row in rows]
    assert sum(int(row["pairs"]) for row in found["levels.csv"]) == len(rows)
    assert "svg" in page.tags
    assert len(content.encode()) < 10_000_000


def test_cells_lead_to_their_connections_from_wherever_the_page_is(store, name, tmp_path):
    file = tmp_path / "deep" / "study.html"
    save_study_report(store, name, file)
    links = re.findall(r'<td><a href="([^"]*)"', file.read_text())
    assert len(links) == sum(row.connected for row in store.rows(name))
    for link in links:
        target = (file.parent / unquote(unescape(link))).resolve()
        assert thalweg.load_connection(target.parent).connected


def test_a_study_is_written_by_its_command(store, tmp_path, capsys):
    out = tmp_path / "s.html"
    assert main(["report", str(store.files.parent / "studies.db"), "--out", str(out)]) == 0
    assert "pairs are connected" in out.read_text()
    other = ["report", str(store.files.parent / "studies.db"), "--study", "none", "--out", str(out)]
    assert main(other) == 2
    assert "none" in capsys.readouterr().err


def test_a_study_in_a_browser(store, name, tmp_path):
    file = tmp_path / "study.html"
    save_study_report(store, name, file)
    with chromium() as browser:
        open_page(browser, file, width=390, height=800)
        assert complaints(browser) == []
        assert [u for u in requests(browser) if not u.startswith("data:")] == [file.as_uri()]
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
        head = browser.find_element(By.CSS_SELECTOR, "#cells th button")
        head.send_keys(Keys.ENTER)
        column = browser.execute_script(
            "return [...document.querySelectorAll('#cells tbody tr')]"
            ".map((row) => Number(row.cells[0].textContent))"
        )
        assert column == sorted(column)


def test_a_page_of_a_comparison_has_every_method(tmp_path, capsys):
    objective = toy_classifier(3)
    a, b = thalweg.train(objective, list(3 * random_stack(objective, 2, 3)), 0.18)
    found = thalweg.connect(objective, a.theta, b.theta, threshold=0.2, profile_points=5)
    failed = dataclasses.replace(
        found, method="<other>", outcome=Outcome.BEAD_STALLED, message="stalled"
    )
    content = comparison_html([found, failed])
    page = Page(content)
    assert "1 of 2 methods found a path" in page.text
    assert "<other>" in page.text
    assert [row["method"] for row in tables(content)["methods.csv"]] == ["greedy", "<other>"]
    for connection, place in ((found, "one"), (dataclasses.replace(found, method="other"), "two")):
        connection.save(tmp_path / place)
    assert main(["report", str(tmp_path), "--out", str(tmp_path / "c.html")]) == 0
    assert "2 of 2 methods" in (tmp_path / "c.html").read_text()
    empty = tmp_path / "empty"
    empty.mkdir()
    assert main(["report", str(empty), "--out", str(tmp_path / "d.html")]) == 2
    assert "a study's store" in capsys.readouterr().err
