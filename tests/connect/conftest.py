"""One connection with beads, for the tests of its record."""

from __future__ import annotations

import pytest

from tests.helpers import random_stack, toy_classifier
from thalweg import Connection, Criterion, Objective, connect, train


@pytest.fixture(scope="session")
def objective() -> Objective:
    plain = toy_classifier(3)
    split = plain.splits["train"]
    return toy_classifier(
        3, test=(split.inputs[0][:40] + 0.1, split.target[:40]), criterion=Criterion("loss")
    )


@pytest.fixture(scope="session")
def connection(objective: Objective) -> Connection:
    models = train(objective, list(3 * random_stack(objective, 2, 3)), 0.18)
    found = connect(
        objective, models[0].theta, models[1].theta, threshold=0.2, profile_points=9
    ).with_settings(data=objective.fingerprints())
    assert found.connected
    assert found.beads >= 2
    return found
