"""An atlas in a store grows from run to run."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from thalweg.connect import load_connection
from thalweg.errors import InputError
from thalweg.study import Store, atlas_levels, atlas_names, load_atlas, run_atlas
from thalweg.study.spec import Problem

QUADRATIC = Problem(task="quadratic-small", thresholds=(0.1,))


@pytest.fixture
def store(tmp_path):
    kept = Store(str(tmp_path / "atlas.db"))
    yield kept
    kept.close()


def test_a_second_run_goes_on_where_the_first_one_ended(store, tmp_path):
    first = run_atlas(store, "small", QUADRATIC, [0.1], models=3)
    again = run_atlas(store, "small", QUADRATIC, [0.1], models=3)
    assert torch.equal(first.thetas, again.thetas)
    assert first.links == again.links
    more = run_atlas(store, "small", QUADRATIC, [0.1, 0.2], models=4)
    assert atlas_levels(store, "small") == (0.1, 0.2)
    assert torch.equal(more.thetas[:3], first.thetas)
    assert more.links[: len(first.links)] == first.links
    assert more.components(0.1) == 1
    assert len(more.links) == 3
    for number in range(1, 4):
        path = load_connection(
            tmp_path / "atlas.db.files" / "atlases" / "1" / "paths" / str(number)
        )
        assert path.max_criterion_bound == more.links[number - 1].level


def test_what_is_stored_is_what_was_found(store):
    made = run_atlas(store, "small", QUADRATIC, [0.1], models=3)
    loaded = load_atlas(store, "small")
    assert atlas_names(store) == ("small",)
    assert loaded.links == made.links
    assert loaded.criterion == {"name": "loss", "split": "test"}
    np.testing.assert_array_equal(loaded.upper.round(6), made.upper.round(6))


def test_searches_survive_an_interruption(store):
    class Stop(Exception):
        pass

    def stop(sentence):
        if sentence.endswith("pairs to be tried") and "4 components" not in sentence:
            raise Stop

    with pytest.raises(Stop):
        run_atlas(store, "small", QUADRATIC, [0.05, 0.1], models=4, attempts=2, progress=stop)
    kept = load_atlas(store, "small")
    assert len(kept.thetas) == 4
    assert len(kept.links) == 2
    ended = run_atlas(store, "small", QUADRATIC, [0.05, 0.1], models=4)
    assert ended.links[:2] == kept.links
    assert ended.components(0.05) == 1


def test_another_problem_under_the_same_name_is_refused(store):
    run_atlas(store, "small", QUADRATIC, [0.2], models=2)
    with pytest.raises(InputError, match="give it another name"):
        run_atlas(store, "small", QUADRATIC, [0.2], models=2, seed=1)
    with pytest.raises(InputError, match=r"expected an atlas that the store has \(small\)"):
        load_atlas(store, "large")
    with pytest.raises(InputError, match="at least two models"):
        run_atlas(store, "other", QUADRATIC, [0.2], models=1)
