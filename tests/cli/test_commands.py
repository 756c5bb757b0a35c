"""What the commands do on good input."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest
from safetensors import safe_open

import thalweg
from thalweg.tasks import get_task, task_names


def test_the_demo_does_it_all(run, tmp_path):
    result = run("demo", "--out", "demo", "--json")
    assert result.status == 0, result.err
    document = result.document
    assert document["connection"]["outcome"] == "connected"
    assert document["connection"]["max_criterion_bound"] <= 0.1
    assert document["connection"]["certificate"] == "proved"
    assert document["verification"]["passed"]
    assert [c["seed"] for c in document["checkpoints"]] == [0, 1]
    demo = tmp_path / "demo"
    assert {f.name for f in demo.iterdir()} == {
        "a.safetensors", "b.safetensors", "connection", "profile.png", "report.html"
    }  # fmt: skip
    assert (demo / "profile.png").read_bytes().startswith(b"\x89PNG")
    assert thalweg.load_connection(demo / "connection").connected
    assert run("demo", "--out", "demo").status == 0, "a demo may be repeated"


def test_the_demo_says_what_it_did_and_what_to_try(run):
    result = run("demo")
    assert result.status == 0
    for words in ("Connected: ", "Verified: ", "demo/report.html", "thalweg connect demo/a"):
        assert words in result.out
    assert "1. Training" in result.err


def test_train_writes_a_checkpoint_below_the_level(made, run):
    result = run("train", "digits", "--threshold", "0.2", "--seed", "5", "--out", "x/c.safetensors",
                 "--json")  # fmt: skip
    assert result.status == 0
    document = result.document
    assert document["criterion"]["value"] <= document["target"] == pytest.approx(0.95 * 0.2)
    with safe_open("x/c.safetensors", framework="pt") as file:
        metadata = file.metadata()
    assert (metadata["task"], metadata["seed"], metadata["threshold"]) == ("digits", "5", "0.2")
    objective = get_task("digits").build(None)
    theta = objective.theta("x/c.safetensors")
    value = objective.criterion_of(theta[None]).values.item()
    assert value == pytest.approx(document["criterion"]["value"], rel=1e-4)


def test_a_training_that_does_not_succeed_is_a_clean_negative(run, tmp_path):
    result = run(
        "train", "digits", "--threshold", "0.1", "--out", "c.safetensors", "--max-steps", 3
    )
    assert result.status == 3
    assert result.out == ""
    assert "ran out of steps" in result.err
    assert not list(tmp_path.iterdir())


def test_connect_saves_the_connection_and_its_pictures(made):
    folder = made / "connection"
    assert {f.name for f in folder.iterdir()} == {
        "path.safetensors", "connection.json", "profile.png", "profile.svg", "profile.csv"
    }  # fmt: skip
    settings = thalweg.load_connection(folder).settings
    assert settings["task"] == "digits"
    assert set(settings["data"]) == {"train", "test"}
    assert settings["command"].startswith("thalweg connect ")


def test_connect_prints_the_record_and_nothing_else(run, ends):
    result = run("connect", *ends, "--task", "digits", "--threshold", "0.1", "--out", "c", "--json")
    assert result.status == 0
    with open("c/connection.json") as file:
        assert result.document == json.load(file)


def test_connect_takes_alpha_and_t_star_from_the_task_unless_given(run, ends):
    common = ("connect", *ends, "--task", "digits", "--threshold", "0.1", "--json")
    settings = run(*common, "--profile-points", 0).document["settings"]
    assert (settings["alpha"], settings["t_star"]) == (0.95, "half")
    settings = run(*common, "--profile-points", 0, "--alpha", 0.8, "--t-star", "argmax").document[
        "settings"
    ]
    assert (settings["alpha"], settings["t_star"]) == (0.8, "argmax")


def test_not_connected_is_saved_named_and_a_clean_negative(run, ends):
    common = ("connect", *ends, "--task", "digits", "--threshold", "0.1", "--max-beads", 0)
    result = run(*common)
    assert result.status == 3
    assert result.out.startswith("Not connected (budget exhausted): ")
    connection = thalweg.load_connection("connection")
    assert connection.outcome is thalweg.Outcome.BUDGET_EXHAUSTED
    again = run(*common, "--json")
    assert again.status == 3
    assert again.document["outcome"] == "budget exhausted"
    verified = run("verify", "connection")
    assert verified.status == 3
    assert "did not connect" in verified.out


def test_equal_endpoints_are_connected_by_a_path_of_length_0(run, ends):
    result = run("connect", ends[0], ends[0], "--task", "digits", "--threshold", "0.1")
    assert result.status == 0
    assert "the two models are equal" in result.out
    assert thalweg.load_connection("connection").outcome is thalweg.Outcome.IDENTICAL
    assert run("verify", "connection").status == 0
    assert run("report", "connection", "--out", "r.html").status == 0


def test_verify_needs_nothing_but_the_folder(run, made):
    shutil.copytree(made / "connection", "moved")
    result = run("verify", "moved", "--points", 5, "--json")
    assert result.status == 0
    document = result.document
    assert document["passed"]
    assert document["max_criterion_seen"] <= document["threshold"] == 0.1
    beads = thalweg.load_connection("moved").beads
    assert document["points"] == 5 * (beads + 1) + beads + 2
    assert "Verified: loss on train is at most" in run("verify", "moved").out


def test_report_writes_one_page(run, made):
    result = run("report", made / "connection", "--out", "r.html", "--json")
    assert result.status == 0
    with open("r.html", "rb") as file:
        assert result.document == {"file": "r.html", "bytes": len(file.read())}


def test_tasks_lists_every_task(run):
    table = run("tasks")
    assert table.status == 0
    assert all(name in table.out for name in task_names())
    listed = {task["name"]: task for task in run("tasks", "--json").document["tasks"]}
    assert set(listed) == set(task_names())
    for name, entry in listed.items():
        task = get_task(name)
        assert entry["alpha"] == task.alpha
        assert entry["thresholds"] == list(task.thresholds)
        assert entry["training"]["optimizer"] == task.training.optimizer


@pytest.mark.parametrize("command", ["demo", "tasks", "train", "connect", "verify", "report"])
def test_every_command_has_help_with_an_example(run, command):
    result = run(command, "--help")
    assert result.status == 0
    assert f"Example:  thalweg {command}" in result.out


def test_no_arguments_give_help(run):
    assert run().out == run("--help").out


def test_progress_goes_to_stderr_in_plain_lines_where_there_is_no_terminal(run, ends, monkeypatch):
    monkeypatch.setattr("thalweg.cli.progress._EVERY", 0.0)
    result = run("connect", *ends, "--task", "digits", "--threshold", "0.1", "--json")
    lines = result.err.splitlines()
    assert any(line.startswith("connecting: beads 0 done, 0 open, depth 0") for line in lines)
    assert result.document["outcome"] == "connected"


def test_on_a_terminal_there_is_a_bar(run, ends, monkeypatch):
    monkeypatch.setattr(sys.stderr.__class__, "isatty", lambda self: True, raising=False)
    result = run("connect", *ends, "--task", "digits", "--threshold", "0.1", "--json")
    assert result.document["outcome"] == "connected"


def test_the_module_runs_as_the_command_does():
    done = subprocess.run(
        [sys.executable, "-m", "thalweg", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("thalweg ")
    done = subprocess.run(
        [sys.executable, "-m", "thalweg", "bogus"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")


@pytest.mark.parametrize(
    ("code", "heavy"),
    [
        ("import thalweg", {"matplotlib", "sklearn", "typer", "rich"}),
        ("from thalweg.cli import main; main(['--help'])", {"matplotlib", "sklearn"}),
        ("from thalweg.cli import main; main(['tasks'])", {"matplotlib", "sklearn"}),
    ],
)
def test_nothing_heavy_is_imported_before_it_is_needed(code, heavy):
    code += f"; import sys; print('heavy:', sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "heavy: []"
