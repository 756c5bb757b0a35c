"""Reports in a real browser: complete offline, moved by keys, on a phone, light and dark."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

import thalweg
from tests.report.browser import chromium, complaints, open_page, requests, set_dark
from thalweg.cli import main
from thalweg.report import save_report

PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    """The page of the demo."""
    folder = tmp_path_factory.mktemp("demo")
    assert main(["demo", "--out", str(folder / "demo")]) == 0
    return folder / "demo" / "report.html"


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


def path_shown(browser) -> list[float]:
    script = "return Array.from(document.querySelector('[data-plot=string]').data[0].x)"
    return browser.execute_script(script)


def test_nothing_is_asked_for_and_nothing_complains(browser, file):
    open_page(browser, file, plots=2)
    assert complaints(browser) == []
    asked = [url for url in requests(browser) if not url.startswith(("data:", "blob:"))]
    assert asked == [file.as_uri()]
    assert browser.title.startswith("Connected")
    assert not browser.find_element(By.CSS_SELECTOR, "[data-plot=string] ~ .still").is_displayed()


def test_names_are_text_and_never_run(browser, file, tmp_path):
    evil = "<img src=x onerror=document.title='evil'>"
    found = thalweg.load_connection(file.parent / "connection")
    assert found.profile is not None
    profile = dataclasses.replace(
        found.profile,
        values={key.replace("loss", evil): v for key, v in found.profile.values.items()},
        linear={key.replace("loss", evil): v for key, v in found.profile.linear.items()},
    )
    named = dataclasses.replace(
        found, criterion={"name": evil, "split": "train"}, profile=profile
    ).with_settings(task=evil, command=f"</pre><script>document.title='evil'</script>{evil}")
    save_report(named, tmp_path / "evil.html")
    open_page(browser, tmp_path / "evil.html", plots=1)
    assert browser.title.startswith("Connected")
    assert browser.find_elements(By.TAG_NAME, "img") == []
    assert complaints(browser) == []


def test_the_slider_moves_the_picture_by_keys(browser, file):
    open_page(browser, file, plots=2)
    slider = browser.find_element(By.CSS_SELECTOR, "input[type=range]")
    shown = browser.find_element(By.CSS_SELECTOR, "output")
    finished = path_shown(browser)
    assert "finished" in shown.text
    slider.send_keys(Keys.HOME)
    direct = path_shown(browser)
    assert shown.text == "0 beads"
    assert len(direct) < len(finished)
    slider.send_keys(Keys.ARROW_RIGHT)
    assert shown.text == "1 bead"
    assert path_shown(browser) not in (direct, finished)
    slider.send_keys(Keys.END)
    assert path_shown(browser) == finished
    assert complaints(browser) == []


def test_everything_that_acts_is_reached_by_the_tabulator_key(browser, file):
    open_page(browser, file, plots=2)
    reached = set()
    for _ in range(40):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        element = browser.switch_to.active_element
        reached.add((element.tag_name, element.text.strip()))
    names = {text for _, text in reached}
    assert {"Play", "Show in space", "Settings", "segments.csv", "length"} <= names
    assert "input" in {tag for tag, _ in reached}


def test_tables_sort_by_every_column_both_ways(browser, file):
    open_page(browser, file, plots=2)
    table = browser.find_element(By.CSS_SELECTOR, "#segments table")
    for column, button in enumerate(table.find_elements(By.CSS_SELECTOR, "th button")):
        for order in ("ascending", "descending"):
            button.send_keys(Keys.ENTER)
            cells = browser.execute_script(
                "const [table, column] = arguments;"
                "return [...table.tBodies[0].rows].map((row) => row.cells[column].textContent)",
                table,
                column,
            )
            head = table.find_elements(By.TAG_NAME, "th")[column]
            assert head.get_attribute("aria-sort") == order
            if button.text != "certificate":
                numbers = [float(cell.replace(",", "")) for cell in cells]
                assert numbers == sorted(numbers, reverse=order == "descending")


def test_the_plane_is_a_map_and_a_relief(browser, file):
    open_page(browser, file, plots=2)
    kinds = "return document.querySelector('[data-plot=plane]').data.map(t => t.type)"
    assert browser.execute_script(kinds)[0] == "heatmap"
    rows = browser.execute_script("return document.querySelector('[data-plot=plane]').data[0].z")
    assert (len(rows), len(rows[0])) == (41, 41)
    button = browser.find_element(By.CSS_SELECTOR, "[data-plot=plane] ~ .controls button")
    button.send_keys(Keys.ENTER)
    assert browser.execute_script(kinds) == ["surface"]
    assert complaints(browser) == []


@pytest.mark.parametrize("dark", [False, True])
def test_a_phone_shows_all_of_it_without_scrolling_sideways(browser, file, dark):
    open_page(browser, file, dark=dark, plots=2, **PHONE)
    width, screen = browser.execute_script(
        "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    assert width <= screen == 390
    for element in browser.find_elements(By.CSS_SELECTOR, "summary"):
        element.send_keys(Keys.ENTER)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390


def test_colours_follow_the_reader_and_text_has_contrast(browser, file):
    open_page(browser, file, plots=2)
    papers = []
    for dark in (False, True):
        set_dark(browser, dark)
        # The page hears of it a moment later; then the moving pictures change with it.
        WebDriverWait(browser, 60).until(lambda found: found.execute_script(_FOLLOWED))
        pairs = browser.execute_script(_CONTRAST)
        assert min(pairs.values()) >= 4.5, pairs
        papers.append(
            browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        )
    assert papers[0] != papers[1]


def test_without_scripts_the_still_pictures_and_tables_are_there(file):
    with chromium(scripts=False) as browser:
        open_page(browser, file)
        stills = browser.find_elements(By.CSS_SELECTOR, ".still")
        assert len(stills) == 3
        assert all(still.is_displayed() for still in stills)
        assert not any(p.is_displayed() for p in browser.find_elements(By.CSS_SELECTOR, ".plot"))
        assert browser.find_element(By.CSS_SELECTOR, "#segments table").is_displayed()
        assert browser.find_elements(By.CSS_SELECTOR, "th button") == []


def test_without_webgl_the_string_is_drawn_flat(file):
    with chromium("--disable-3d-apis") as browser:
        open_page(browser, file, plots=2)
        kinds = "return document.querySelector('[data-plot=string]').data.map(t => t.type)"
        assert browser.execute_script(kinds) == ["scatter", "scatter"]
        finished = path_shown(browser)
        browser.find_element(By.CSS_SELECTOR, "input[type=range]").send_keys(Keys.HOME)
        assert path_shown(browser) != finished


_FOLLOWED = """
const paper = getComputedStyle(document.documentElement).getPropertyValue("--paper").trim();
return [...document.querySelectorAll(".plot")].every((p) => p.layout.paper_bgcolor === paper);
"""
# Ratios of luminance (WCAG 2, Section 1.4.3) of texts and what is behind them.
_CONTRAST = """
const luminance = (color) => {
  const [r, g, b] = color.match(/[0-9.]+/g).map(Number).map((v) => v / 255)
    .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const behind = (element) => {
  for (let e = element; e; e = e.parentElement) {
    const color = getComputedStyle(e).backgroundColor;
    if (color !== "rgba(0, 0, 0, 0)") return color;
  }
};
const found = {};
for (const name of ["h1", "h2", "dt", "dd", "figcaption", ".note", "a", "pre", "td", "th button",
                    "summary", ".controls button", "output"]) {
  const element = document.querySelector(name);
  const pair = [getComputedStyle(element).color, behind(element)].map(luminance);
  found[name] = (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
}
return found;
"""
