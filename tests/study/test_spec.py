"""Studies as they are written down, and what they are cut into."""

from __future__ import annotations

from pathlib import Path

import pytest

from thalweg.errors import InputError
from thalweg.study import load_study, study_names
from thalweg.study.plan import Connecting, Training, plan
from thalweg.study.spec import Search
from thalweg.tasks import task_names

QUADRATIC = load_study("figure1-quadratic")


@pytest.fixture
def write(tmp_path):
    def write_it(text: str) -> str:
        (tmp_path / "mine.toml").write_text(text)
        return str(tmp_path / "mine.toml")

    return write_it


def test_the_figures_have_the_thresholds_of_the_paper_and_of_their_tasks():
    assert set(study_names()) >= {
        "figure1-quadratic", "figure1-cubic", "figure1-mnist", "figure1-cifar10", "figure1-ptb",
        "cubic-spike", "connected-components",
    }  # fmt: skip
    levels = {name: load_study(name).problems[0].thresholds or () for name in study_names()}
    assert min(levels["figure1-quadratic"]) == 0.001
    assert len(levels["figure1-quadratic"]) == 10
    assert (max(levels["figure1-cubic"]), min(levels["figure1-cubic"])) == (0.32, 0.01)
    assert len(levels["figure1-mnist"]) == 10
    assert levels["figure1-cifar10"] == (0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)
    assert levels["figure1-ptb"] == (700, 300, 250, 200, 150, 135)


@pytest.mark.parametrize("name", study_names())
def test_a_built_in_study_can_be_planned_or_names_the_task_that_is_missing(name):
    study = load_study(name)
    if all(problem.task in task_names() for problem in study.problems):
        assert plan(study)
    else:
        with pytest.raises(InputError, match="the name of a task"):
            plan(study)


def test_a_file_has_defaults_and_names_files_beside_it(write, tmp_path):
    study = load_study(
        write('[[problems]]\nproblem = "own.py:make"\nthresholds = [0.5]\ncheckpoints = ["a", "b"]')
    )
    assert study.name == "mine"
    assert study.protocols == ("strict",)
    assert study.methods == (Search(),)
    problem = study.problems[0]
    assert problem.problem == f"{tmp_path}/own.py:make"
    assert problem.checkpoints == (f"{tmp_path}/a", f"{tmp_path}/b")
    assert problem.name == "own.py:make", "the same wherever the folder is moved"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("pairs = 2", ["problems", "Field required"]),
        ("pairs = ", ["TOML"]),
        ("problems = []", ["problems"]),
        ("[[problems]]", ["one of task and problem"]),
        ('[[problems]]\ntask = "cubic"\nlevel = 3', ["problems.0.level", "Extra"]),
        ('[[problems]]\ntask = "cubic"\nthresholds = []', ["at least one threshold"]),
        ('[[problems]]\ntask = "cubic"\nthresholds = [nan]', ["at least one threshold"]),
        ('[[problems]]\ntask = "cubic"\nthresholds = [-1]', ["at least one threshold"]),
        ('[[problems]]\ntask = "cubic"\ncheckpoints = ["a", "b"]', ["beside problem"]),
        ('[[problems]]\nproblem = "a:b"', ["thresholds for a problem"]),
        ('pairs = 1\nnetworks = 3\n[[problems]]\ntask = "cubic"', ["both"]),
        ('[[problems]]\ntask = "cubic"\n[[problems]]\ntask = "cubic"', ["problems that differ"]),
        ('[[methods]]\nname = "magic"\n[[problems]]\ntask = "cubic"', ["a method among"]),
        ('name = "a/b"\n[[problems]]\ntask = "cubic"', ["name"]),
        ('pairs = 0\n[[problems]]\ntask = "cubic"', ["pairs"]),
        ('limits = {steps = 0}\n[[problems]]\ntask = "cubic"', ["limits.steps"]),
    ],
)
def test_what_is_no_study_is_one_sentence_that_says_where(write, text, words):
    with pytest.raises(InputError) as error:
        load_study(write(text))
    assert all(word in str(error.value) for word in words), error.value


def test_names_that_do_not_exist():
    with pytest.raises(InputError, match="figure1-quadratic"):
        load_study("figure2")
    with pytest.raises(InputError, match="no such file"):
        load_study("figure2.toml")
    with pytest.raises(InputError, match="thresholds"):
        QUADRATIC.varied(thresholds=[])
    with pytest.raises(InputError, match="protocols"):
        QUADRATIC.varied(protocols=["lax"])
    with pytest.raises(InputError, match="got 'exact'"):
        plan(QUADRATIC.varied(data="exact"))
    with pytest.raises(InputError, match="no options"):
        plan(load_study("figure1-mnist").varied(data="quadrature"))


# -------------------------------------------------------------------------------- protocols


def connecting(study) -> list[Connecting]:
    return [b.setting for b in plan(study) if isinstance(b.setting, Connecting)]


def training(study) -> list[Training]:
    return [b.setting for b in plan(study) if isinstance(b.setting, Training)]


def test_strict_tests_the_direct_segment_and_holds_the_path_at_the_threshold():
    study = QUADRATIC.varied(pairs=1, thresholds=[0.1])
    (setting,) = connecting(study)
    assert setting.level == 0.1
    assert setting.method.options == {"alpha": 0.95, "t_star": "half"}
    assert not setting.plain
    (networks,) = training(study)
    assert networks.target == pytest.approx(0.095)


def test_paper_is_the_published_protocol_proved():
    study = QUADRATIC.varied(pairs=1, thresholds=[0.1], protocols=["paper"])
    (setting,) = connecting(study)
    assert setting.level == pytest.approx(0.11)
    assert setting.certificate == "proved"
    options = setting.method.options
    assert float(options["alpha"]) * setting.level == pytest.approx(0.095), "beads go to alpha·L0"
    assert (options["direct"], options["start"], options["t_star"]) == (False, "segment", "middle")
    assert setting.limits.depth == 10
    assert setting.plain
    (networks,) = training(study)
    assert (networks.target, networks.plain) == (0.1, True)


def test_alpha_and_mult_can_be_moved_with_the_protocol_of_the_paper_alone():
    methods = (Search(options={"alpha": 0.9, "mult": 1.2}),)
    study = QUADRATIC.varied(pairs=1, thresholds=[0.1]).model_copy(update={"methods": methods})
    (setting,) = connecting(study.varied(protocols=["paper"]))
    assert setting.level == pytest.approx(0.12)
    assert float(setting.method.options["alpha"]) * setting.level == pytest.approx(0.09)
    with pytest.raises(InputError, match="no option mult with the strict protocol"):
        plan(study)
    bad = (Search(options={"mult": 0.9}),)
    with pytest.raises(InputError, match="alpha <= 1 <= mult"):
        plan(study.model_copy(update={"methods": bad, "protocols": ("paper",)}))


def test_other_methods_get_what_the_task_recommends_and_refuse_options_that_they_lack():
    study = QUADRATIC.varied(pairs=1, thresholds=[0.1])
    for name in ("linear", "autoneb"):
        (setting,) = connecting(study.model_copy(update={"methods": (Search(name=name),)}))
        assert setting.method.name == name
        assert set(setting.method.options) <= {"alpha", "t_star"}
    bad = (Search(options={"gamma": 1}),)
    for protocol in ("strict", "paper"):
        with pytest.raises(InputError, match="gamma"):
            plan(study.model_copy(update={"methods": bad, "protocols": (protocol,)}))
    linear = (Search(name="linear"),)
    with pytest.raises(InputError, match="greedy with the protocol of the paper"):
        plan(study.model_copy(update={"methods": linear, "protocols": ("paper",)}))


def test_the_published_constants_of_the_convolutional_networks():
    study = load_study("figure1-mnist").varied(pairs=1, thresholds=[0.02], protocols=["paper"])
    (setting,) = connecting(study)
    assert setting.level == pytest.approx(1.02 * 0.02)
    assert setting.method.options["t_star"] == "argmax"


# ---------------------------------------------------------------------------------- batches


def test_batches_do_not_depend_on_how_far_the_study_is_extended():
    small = plan(QUADRATIC.varied(pairs=10, thresholds=[0.1]))
    large = plan(QUADRATIC.varied(pairs=25, thresholds=[0.1]))
    assert [len(batch.networks) for batch in large if batch.networks] == [20, 20, 10]
    assert [len(batch.cells) for batch in large if batch.cells] == [10, 10, 5]
    assert small[0] == large[0]
    assert next(batch for batch in small if batch.cells) in large


def test_models_on_minibatches_are_computed_one_pair_at_a_time():
    batches = plan(load_study("figure1-mnist").varied(pairs=2, thresholds=[0.02]))
    assert [len(batch.networks) or len(batch.cells) for batch in batches] == [1] * 6


def test_all_pairs_among_networks():
    study = load_study("connected-components")
    batches = plan(study.model_copy(update={"problems": study.problems[:1], "networks": 4}))
    cells = [cell for batch in batches for cell in batch.cells]
    level = cells[0].threshold
    assert [(c.seed_a, c.seed_b) for c in cells if c.threshold == level] == [
        (0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)
    ]  # fmt: skip
    assert cells[0].network_a == cells[1].network_a


def test_what_changes_a_result_changes_its_key_and_names_do_not():
    study = QUADRATIC.varied(pairs=1, thresholds=[0.1])
    (cell,) = plan(study)[1].cells
    renamed = study.model_copy(update={"name": "x", "summary": "y"})
    assert plan(renamed)[1].cells == (cell,)
    limits = study.limits.model_copy(update={"patience": 3})
    (other,) = plan(study.model_copy(update={"limits": limits}))[1].cells
    assert other.definition != cell.definition
    assert other.network_a != cell.network_a
    (wide,) = plan(study.varied(data="quadrature"))[1].cells
    assert wide.task == "quadratic(data=quadrature)"
    assert wide.network_a != cell.network_a


def test_the_template_is_a_study():
    study = load_study(str(Path(__file__).parents[2] / "examples" / "own_study.toml"))
    assert plan(study)
