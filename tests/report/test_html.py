"""The page of a connection: complete, harmless, self-contained."""

from __future__ import annotations

import base64
import csv
import dataclasses
import io
import re
from html.parser import HTMLParser

import pytest
import torch
from plotly.offline import get_plotlyjs
from torch import Tensor, nn

import thalweg
from thalweg.connect import Connection, Outcome, Profile, Segment
from thalweg.report import answer, connection_html, facts, plane_beside, save_report

EVIL = "<script>alert('x')</script>"
VOID = {"meta", "br", "img", "link", "hr"}


class Page(HTMLParser):
    """Tags, attributes and text; every tag that is opened must be closed."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(content)
        self.close()
        assert not self._open, self._open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def connection() -> Connection:
    """A convex problem: one segment."""
    x = torch.linspace(-1, 1, 16).reshape(-1, 1)

    def squares(output: Tensor, target: Tensor) -> Tensor:
        return (output - target).pow(2).mean()

    squares.__name__ = EVIL  # the name of a criterion is the user's
    objective = thalweg.Objective(
        nn.Linear(1, 1), nn.functional.mse_loss, train=(x, 2 * x), test=(x, x),
        criterion=thalweg.Criterion(squares, split="train"),
    )  # fmt: skip
    a, b = torch.tensor([1.9, 0.0]), torch.tensor([2.0, 0.1])
    found = thalweg.connect(objective, a, b, threshold=0.05, profile_points=9)
    return found.with_settings(task="digits", command=f"thalweg connect '{EVIL}' & more")


def test_the_page_is_well_formed_and_complete(connection):
    page = Page(connection_html(connection))
    for words in ("Connected: the straight line", "normalized length", "proved", "Segments",
                  "thalweg connect", "torch", "criterion_evaluations", "Settings"):  # fmt: skip
        assert words in page.text
    assert page.tags.count("svg") == 2, "the profile and the string"
    assert page.tags.count("h1") == 1
    assert ("name", "viewport") in page.attributes


def test_the_answer_comes_first(connection):
    page = Page(connection_html(connection))
    body = page.text[page.text.index("}\n\n") if "}\n\n" in page.text else 0 :]
    assert body.index("Connected: ") < body.index("normalized length") < body.index("Segments")


def test_it_follows_light_and_dark(connection):
    content = connection_html(connection)
    assert "prefers-color-scheme: dark" in content
    drawn = content[content.index("<svg") : content.index("</svg>")]
    assert "var(--path)" in drawn
    assert "var(--ink)" in drawn
    assert "#0072b2" not in drawn, "no colour is left that does not follow the page"


def test_names_are_escaped_everywhere(connection):
    message = f"stalled at {EVIL}"
    other = dataclasses.replace(connection, outcome=Outcome.BEAD_STALLED, message=message)
    for shown in (connection, other, dataclasses.replace(connection, versions={EVIL: EVIL})):
        content = connection_html(shown)
        page = Page(content)
        assert page.tags.count("script") == 3, "data, library and the page's own"
        assert EVIL in page.text
        assert EVIL not in content, "neither in text nor in the data of the pictures"
    assert not [name for name, _ in page.attributes if name.startswith("on")]


def test_it_refers_to_nothing_outside(connection):
    page = Page(connection_html(connection))
    assert not {"img", "iframe", "object"} & set(page.tags)
    for name, value in page.attributes:
        if name in ("href", "xlink:href", "src"):
            assert value.startswith(("data:", "#")), (name, value[:80])
        else:
            assert name.startswith("xmlns") or "//" not in value, (name, value)
    assert "url(http" not in connection_html(connection).replace(plotly_source(), "")


def plotly_source() -> str:
    return get_plotlyjs().replace("</script", "<\\/script")


def test_plotly_is_on_the_page_once_and_the_page_is_small(connection):
    content = connection_html(connection)
    assert content.count(plotly_source()) == 1
    assert len(content.encode()) < 6_000_000


def test_it_says_why_there_is_no_path(connection):
    other = dataclasses.replace(
        connection, outcome=Outcome.BUDGET_EXHAUSTED, message="2 beads were not enough"
    )
    assert (
        "Not connected (budget exhausted): 2 beads were not enough."
        in Page(connection_html(other)).text
    )


def test_without_a_profile_there_is_a_page_without_a_picture(connection):
    content = connection_html(dataclasses.replace(connection, profile=None))
    page = Page(content)
    assert "svg" not in page.tags
    assert "No profile" in page.text
    assert len(content) < 100_000, "and without the library that draws"


def tables(content: str) -> dict[str, list[dict[str, str]]]:
    """The tables that the page holds, as a reader gets them."""
    found = {}
    for name, encoded in re.findall(r'download="([^"]*)" href="data:[^,]*base64,([^"]*)"', content):
        text = base64.b64decode(encoded).decode()
        found[name] = list(csv.DictReader(io.StringIO(text)))
    return found


def test_every_value_is_in_a_table_to_download(connection):
    found = tables(connection_html(connection))
    assert set(found) == {"profile.csv", "string.csv", "segments.csv", "record.csv"}
    shown = [float(row["bound"]) for row in found["segments.csv"]]
    assert shown == [segment.bound for segment in connection.segments]
    record = {row["name"]: row["value"] for row in found["record.csv"]}
    assert record["beads"] == "0"
    assert record["task"] == "digits"
    name = next(column for column in found["profile.csv"][0] if column.startswith(EVIL))
    values = [float(row[name]) for row in found["profile.csv"]]
    assert values == list(connection.profile.values[f"{EVIL}/train"])


def test_a_plane_of_the_same_endpoints_is_on_the_page_and_another_is_not(connection, tmp_path):
    x = torch.linspace(-1, 1, 16).reshape(-1, 1)
    objective = thalweg.Objective(nn.Linear(1, 1), nn.functional.mse_loss, train=(x, 2 * x))
    plane = thalweg.connection_plane(connection, objective, shape=(5, 4))
    content = connection_html(connection, plane)
    assert Page(content).tags.count("svg") == 3
    assert len(tables(content)["plane.csv"]) == 20
    assert plane_beside(connection, tmp_path) is None
    plane.save(tmp_path / "plane.values.safetensors")
    found = plane_beside(connection, tmp_path)
    assert found is not None
    assert found.marks == plane.marks
    other = dataclasses.replace(plane, marks=plane.marks[:1])
    other.save(tmp_path / "plane.values.safetensors")
    assert plane_beside(connection, tmp_path) is None


def test_a_long_string_stays_a_small_page(connection):
    one = connection.segments[0]
    other = dataclasses.replace(connection, segments=(one,) * 100_000)
    content = connection_html(other)
    assert len(content.encode()) < 6_000_000
    assert "98,000 are in connection.json" in content


def test_a_string_of_a_thousand_beads_is_a_page_below_six_megabytes(connection):
    beads = 1000
    points = torch.randn(beads + 2, 6, generator=torch.Generator().manual_seed(0)).cumsum(0)
    t = torch.linspace(0, 1, 4 * beads + 5, dtype=torch.float64)
    values = {f"{EVIL}/train": tuple((0.02 + 0.01 * t).tolist()), "loss/train": (0.1,) * len(t)}
    profile = Profile(
        tuple(t.tolist()), tuple(t[::4].tolist()), values, values, {"train": 16},
        tuple((0.03, 0.04, 0.05) * 3 for _ in range(beads)),
    )  # fmt: skip
    layout = thalweg.Layout(("w",), ((6,),), torch.float32)
    long = dataclasses.replace(
        connection, path=thalweg.Polygonal(points, layout), profile=profile,
        segments=connection.segments * (beads + 1), history=tuple(range(1, beads + 1)),
    )  # fmt: skip
    content = connection_html(long)
    assert len(content.encode()) < 6_000_000
    found = tables(content)
    assert len(found["profile.csv"]) == beads + 2
    assert len(found["string.csv"]) >= beads + 2
    assert "too long to be shown step by step" in Page(content).text


def test_missing_values_are_said_to_be_missing(connection):
    open_segment = Segment(1.0, None, None, "sampled", 3)
    other = dataclasses.replace(
        connection, segments=(open_segment,), outcome=Outcome.BUDGET_EXHAUSTED
    )
    assert "<td>none</td>" in connection_html(other)
    assert "none: 1 segment of 1" in dict(facts(other))["certified bound"]


def test_it_is_saved_whole(connection, tmp_path):
    save_report(connection, tmp_path / "new" / "r.html")
    assert (tmp_path / "new" / "r.html").read_text() == connection_html(connection)
    (tmp_path / "file").write_text("")
    with pytest.raises(thalweg.InputError, match="expected to write"):
        save_report(connection, tmp_path / "file" / "r.html")


# ---------------------------------------------------------------- words


def test_the_answer_is_one_sentence(connection):
    assert answer(connection).endswith("at or below the threshold 0.05 (proved certificate).")
    equal = dataclasses.replace(connection, outcome=Outcome.IDENTICAL)
    assert "the two models are equal" in answer(equal)


def test_the_facts_name_the_kind_of_certificate_and_what_it_is_worth(connection):
    bound = dict(facts(connection))["certified bound"]
    assert bound.endswith("(proved: a proof for the stored weights)")
