"""Means, components and tables against numbers worked out by hand."""

from __future__ import annotations

import csv
import statistics
from dataclasses import replace

import pytest

from thalweg.errors import InputError
from thalweg.study.export import read_csv, write_csv, write_parquet
from thalweg.study.results import COLUMNS, Row
from thalweg.study.summary import choose, summarize

ROW = Row(
    "cubic", "strict", 0.1, 0, 1, "greedy", "connected", "proved", 1.1, 2, 0.0999, 10**11, 5, 0.1
)  # fmt: skip
OPEN = Row("cubic", "paper", 0.1, 2, 3, "greedy", "open", *[None] * 7)


def test_means_are_over_the_connected_pairs_and_the_others_are_counted():
    lengths = [1.0, 1.5, 1.25]
    rows = [replace(ROW, normalized_length=x, beads=i) for i, x in enumerate(lengths)]
    rows += [replace(ROW, outcome="bead stalled"), replace(ROW, outcome="failed", beads=None)]
    rows += [replace(ROW, outcome="endpoint not trained"), replace(ROW, outcome="running"), OPEN]
    level, other = summarize(rows)
    assert (level.pairs, level.connected, level.not_connected) == (7, 3, 2)
    assert (level.failed, level.pending) == (1, 1)
    assert level.length is not None
    assert level.length.value == pytest.approx(statistics.mean(lengths))
    assert level.length.error == pytest.approx(statistics.stdev(lengths) / 3**0.5)
    assert level.beads is not None
    assert level.beads.value == 1
    assert (other.protocol, other.length, other.beads, other.pending) == ("paper", None, None, 1)


def test_networks_that_did_not_reach_the_level_are_in_no_component():
    outcomes = {(0, 1): "connected", (0, 2): "endpoint not trained", (1, 2): "endpoint not trained"}
    rows = [replace(ROW, seed_a=a, seed_b=b, outcome=o) for (a, b), o in outcomes.items()]
    (level,) = summarize(rows)
    assert (level.components, level.networks) == (1, 2)
    (level,) = summarize([replace(row, outcome="endpoint above threshold") for row in rows])
    assert (level.components, level.networks) == (0, 0)


def test_components_of_the_graph_of_networks_and_paths():
    rows = [
        replace(ROW, seed_a=a, seed_b=b, outcome="connected" if (a, b) in edges else "bead stalled")
        for edges in [{(0, 1), (1, 2), (3, 4)}]
        for a in range(5)
        for b in range(a + 1, 5)
    ]
    (level,) = summarize(rows)
    assert (level.components, level.networks) == (2, 5)
    (level,) = summarize([*rows[:-1], replace(rows[-1], outcome="open")])
    assert level.components is None, "what is pending may still connect them"
    (level,) = summarize([ROW, replace(ROW, seed_a=2, seed_b=3)])
    assert level.components is None, "pairs of their own say nothing about components"


def test_rows_are_chosen_by_what_a_study_may_be_cut_down_to():
    rows = [
        replace(ROW, seed_a=seed, seed_b=seed + 1, threshold=level, protocol=protocol)
        for level in (0.2, 0.1) for protocol in ("strict", "paper") for seed in (0, 2, 4)
    ]  # fmt: skip
    assert choose(rows) == rows
    assert len(choose(rows, pairs=2)) == 8
    assert {row.threshold for row in choose(rows, thresholds=[0.1])} == {0.1}
    assert {row.seed_a for row in choose(rows, seed=1)} == {2, 4}
    chosen = choose(rows, pairs=1, thresholds=[0.2], seed=2, protocols=["paper"])
    assert [(row.seed_a, row.protocol) for row in chosen] == [(2, "paper")]


def test_a_table_is_written_with_its_exact_columns_and_read_as_it_was(tmp_path):
    rows = [replace(ROW, normalized_length=1 / 3, method="greedy(alpha=0.9, mult=1.2)"), OPEN]
    file = tmp_path / "table.csv"
    write_csv(rows, file)
    with file.open(newline="") as stream:
        lines = list(csv.reader(stream))
    assert ",".join(lines[0]) == (
        "task,protocol,threshold,seed_a,seed_b,method,outcome,certificate,normalized_length,"
        "beads,max_criterion_bound,gradient_samples,criterion_samples,seconds"
    )
    assert len(lines) == 3
    assert lines[2][6:9] == ["open", "", ""]
    assert read_csv(file) == rows


def test_a_table_as_parquet(tmp_path):
    pq = pytest.importorskip("pyarrow.parquet", reason="needs the extra parquet")
    write_parquet([ROW, OPEN], tmp_path / "table.parquet")
    table = pq.read_table(tmp_path / "table.parquet")
    assert tuple(table.column_names) == COLUMNS
    assert table.to_pylist() == [vars(ROW), vars(OPEN)]
    types = {field.name: str(field.type) for field in table.schema}
    assert (types["beads"], types["threshold"]) == ("int64", "double")
    write_parquet([], tmp_path / "empty.parquet")
    assert pq.read_table(tmp_path / "empty.parquet").schema.equals(table.schema)


@pytest.mark.parametrize("content", ["", "a,b\n1,2\n", "task\ncubic\n"])
def test_what_is_no_table_is_refused(tmp_path, content):
    (tmp_path / "no.csv").write_text(content and f"{content}")
    if not content:
        (tmp_path / "no.csv").unlink()
    with pytest.raises(InputError, match="a table of a study"):
        read_csv(tmp_path / "no.csv")
