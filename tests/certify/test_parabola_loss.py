"""The cross-entropy of scores of second order, held against every choice of errors."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from thalweg.certify.parabola import Parabola
from thalweg.certify.parabola_loss import cross_entropy, means

POINTS = torch.linspace(-1, 1, 101, dtype=torch.float64)


def _scores(seed: int, classes: int, move: float, noise: float) -> tuple[Parabola, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    parts = torch.randn(3, 40, classes, generator=generator, dtype=torch.float64)
    parts = parts * torch.tensor([4.0, move, move**2]).double()[:, None, None]
    errors = noise * torch.rand(40, classes, generator=generator, dtype=torch.float64)
    target = torch.randint(0, classes, (40,), generator=generator)
    return Parabola((parts[0], parts[1], parts[2]), errors, errors), target


@pytest.mark.parametrize("classes", [2, 3, 50])
@pytest.mark.parametrize("move", [3.0, 0.3, 0.01])
@pytest.mark.parametrize("noise", [1.0, 0.01, 0.0])
def test_no_choice_of_errors_leaves_the_band(classes, move, noise):
    scores, target = _scores(classes, classes, move, noise)
    found = cross_entropy(scores, target)
    generator = torch.Generator().manual_seed(1)
    worst = functional.one_hot(target, classes).double() * -2 + 1  # away from the target
    for s in POINTS:
        line = scores.parts[0] + s * scores.parts[1] + s * s * scores.parts[2]
        signs = torch.randn(40, classes, generator=generator).sign()
        for e in (signs, worst, -worst):
            loss = functional.cross_entropy(line + e * scores.noise, target, reduction="none")
            middle = found.parts[0] + s * found.parts[1] + s * s * found.parts[2]
            assert ((loss - middle).abs() <= found.noise).all()


def test_the_noise_of_exact_scores_falls_with_the_third_power():
    sizes = []
    for move in (0.1, 0.05, 0.025):
        scores, target = _scores(0, 10, move, 0.0)
        sizes.append(float(cross_entropy(scores, target).noise.mean()))
    assert sizes[0] / sizes[1] == pytest.approx(8, rel=0.2)
    assert sizes[1] / sizes[2] == pytest.approx(8, rel=0.2)


def test_two_classes_reach_the_third_central_moment_that_is_charged():
    # p = (1 + 1/√3)/2 of two scores that part by s: the third derivative is 1/(6√3).
    p = (1 + 3**-0.5) / 2
    value = torch.tensor([[0.0, math.log(p / (1 - p))]], dtype=torch.float64)
    move = torch.tensor([[0.0, 1e-3]], dtype=torch.float64)
    zero = torch.zeros_like(value)
    scores = Parabola((value, move, zero), zero, zero)
    found = cross_entropy(scores, torch.tensor([0]))
    s = torch.linspace(-1, 1, 2001, dtype=torch.float64)
    exact = functional.softplus(value[0, 1] + s * 1e-3)
    parts = [part[0] for part in found.parts]
    gap = (exact - parts[0] - s * parts[1] - s * s * parts[2]).abs().max()
    assert 0.99 * float(gap) <= float(found.noise) <= float(gap) * 1.01 + 1e-13


def test_means_keep_what_cancels_between_losses():
    curve = torch.tensor([[1.0, -1.0], [2.0, 0.0]]).double()
    zero = torch.zeros_like(curve)
    *_, found, noise = means(Parabola((zero, zero, curve), zero + 0.5, zero))
    assert found.tolist() == [0.0, 1.0]
    assert noise.tolist() == [pytest.approx(0.5), pytest.approx(0.5)]
