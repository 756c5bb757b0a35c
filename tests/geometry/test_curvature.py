"""Products, eigenvalues and traces equal those of the dense float64 matrix."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, jacrev

from tests.geometry.networks import attention, piecewise
from tests.helpers import PROBLEMS, random_stack
from thalweg import Curvature, InputError, Objective, Polygonal, spectrum
from thalweg.geometry import curvature_along, density, eigenpairs, hutch_pp, trace

BUILD = {
    **{name: lambda name=name: PROBLEMS[name].build(strategy="loop") for name in PROBLEMS},
    "attention": attention,
    "piecewise": piecewise,
}
EXACT = {"cnn", "batchnorm", "dropout", "piecewise"}


def _dense(objective: Objective, theta: Tensor) -> Tensor:
    """The Hessian of one plain pass over all examples, by plain double backward."""
    state = objective.state_dict(theta)
    buffers = {name: state[name] for name, _ in objective.model.named_buffers()}
    inputs, target = objective.splits["train"].select(slice(None))
    arguments = inputs if isinstance(inputs, tuple) else (inputs,)

    def loss(point: Tensor) -> Tensor:
        tensors = {**objective.layout.unflatten(point), **buffers}
        return objective.loss(functional_call(objective.model, tensors, arguments), target).mean()

    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        return torch.autograd.functional.hessian(loss, theta)  # type: ignore[return-value]


@pytest.mark.parametrize("name", BUILD)
def test_products_eigenvalues_and_trace_equal_those_of_the_dense_hessian(name):
    objective = BUILD[name]().with_examples({"train": 40})
    theta = random_stack(objective, 1)[0]
    truth = _dense(objective, theta)
    scale = truth.abs().max()
    values = torch.linalg.eigvalsh(truth)
    curvature = Curvature(objective, theta, chunk=32)
    assert (curvature.dense() - truth).abs().max() <= 1e-12 * scale
    ends: list[tuple[Literal["top", "bottom"], Tensor]] = [
        ("top", values.flip(0)[:3]), ("bottom", values[:3])
    ]  # fmt: skip
    for end, wanted in ends:
        found = eigenpairs(curvature, 3, end=end, tolerance=1e-9)
        assert found.converged
        assert (found.values - wanted).abs().max() <= 1e-6 * scale
        assert (found.residuals <= 1e-8 * scale).all()
    whole = trace(objective, theta)
    assert whole.exact == (name in EXACT)
    if whole.exact:
        assert whole.value == pytest.approx(float(truth.trace()), rel=1e-10)
        blocks = objective.layout.unflatten(truth.diagonal())
        assert whole.blocks == pytest.approx({n: float(t.sum()) for n, t in blocks.items()})
    else:
        assert abs(whole.value - float(truth.trace())) <= 5 * whole.standard_error + 1e-12


@pytest.mark.parametrize("name", ["cnn", "lstm", "attention", "two inputs"])
def test_gauss_newton_products_are_those_of_the_jacobian(name):
    objective = BUILD[name]().with_examples({"train": 40})
    theta = random_stack(objective, 1)[0]
    inputs, target = objective.splits["train"].select(slice(None))
    arguments = inputs if isinstance(inputs, tuple) else (inputs,)
    tensors = objective.layout.unflatten(theta)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        jacobians = jacrev(lambda t: functional_call(objective.model, t, arguments))(tensors)
        output = functional_call(objective.model, tensors, arguments).detach()
    size = output.numel()
    jacobian = torch.cat([jacobians[n].reshape(size, -1) for n in objective.layout.names], 1)
    inner = torch.autograd.functional.hessian(lambda o: objective.loss(o, target).mean(), output)
    truth = jacobian.T @ inner.reshape(size, size) @ jacobian  # type: ignore[union-attr]
    found = Curvature(objective, theta, matrix="gauss-newton", chunk=32).dense()
    assert (found - truth).abs().max() <= 1e-12 * truth.abs().max()


def test_the_two_matrices_have_one_diagonal_where_the_network_is_piecewise_linear():
    objective = piecewise()
    theta = random_stack(objective, 1)[0]
    one, other = (
        Curvature(objective, theta, matrix=m).dense() for m in ("hessian", "gauss-newton")
    )
    torch.testing.assert_close(one.diagonal(), other.diagonal(), rtol=1e-9, atol=1e-12)
    assert (one - other).abs().max() > 1e-3


def test_what_does_not_fit_into_memory_is_made_anew_and_is_the_same():
    objective = PROBLEMS["cnn"].build(strategy="loop")
    theta = random_stack(objective, 1)[0]
    vector = torch.randn(objective.layout.size).double()
    kept = Curvature(objective, theta, chunk=32)
    anew = Curvature(objective, theta, chunk=32, memory=0)
    for _ in range(2):
        torch.testing.assert_close(kept.product(vector), anew.product(vector))
    assert kept.loss == pytest.approx(anew.loss)
    torch.testing.assert_close(kept.gradient, anew.gradient)
    assert kept.products == 2


def test_a_block_of_the_matrix_is_that_of_the_named_parameters():
    objective = PROBLEMS["mlp"].build(strategy="loop")
    theta = random_stack(objective, 1)[0]
    whole = Curvature(objective, theta).dense()
    block = Curvature(objective, theta, only=["0.weight", "0.bias"]).dense()
    torch.testing.assert_close(block, whole[:32, :32])


def test_float32_models_are_computed_in_float64_unless_asked_otherwise():
    objective = PROBLEMS["mlp"].build(torch.float32, strategy="loop")
    theta = random_stack(objective, 1)[0]
    wide, single = Curvature(objective, theta), Curvature(objective, theta, double=False)
    vector = torch.ones(objective.layout.size)
    assert wide.product(vector).dtype == torch.float64
    assert single.product(vector).dtype == torch.float32
    torch.testing.assert_close(single.product(vector).double(), wide.product(vector),
                               rtol=1e-4, atol=1e-5)  # fmt: skip


def test_recurrent_layers_have_second_derivatives_in_float32():
    objective = PROBLEMS["lstm"].build(torch.float32, strategy="loop")
    theta = random_stack(objective, 1)[0]
    single = Curvature(objective, theta, double=False).product(torch.ones(objective.layout.size))
    wide = Curvature(objective, theta).product(torch.ones(objective.layout.size))
    torch.testing.assert_close(single.double(), wide, rtol=1e-4, atol=1e-5)


def test_lobpcg_and_lanczos_agree_and_repeat_themselves():
    objective = PROBLEMS["cnn"].build(strategy="loop")
    theta = random_stack(objective, 1)[0]
    options = {"tolerance": 1e-8, "seed": 3}
    found = [
        eigenpairs(Curvature(objective, theta), 3, solver=solver, **options)
        for solver in ("lanczos", "lanczos", "lobpcg")
    ]
    assert torch.equal(found[0].vectors, found[1].vectors)
    torch.testing.assert_close(found[0].values, found[2].values, rtol=1e-6, atol=0)


def test_what_has_not_converged_says_so():
    objective = PROBLEMS["lstm"].build(strategy="loop")
    theta = random_stack(objective, 1)[0]
    found = eigenpairs(Curvature(objective, theta), 4, end="bottom", tolerance=1e-13,
                       max_products=25)  # fmt: skip
    assert not found.converged
    assert len(found.values) == len(found.residuals) >= 1


def test_a_start_near_the_eigenvector_saves_products():
    objective = PROBLEMS["lstm"].build(strategy="loop")
    theta = random_stack(objective, 1)[0]
    options = {"end": "bottom", "tolerance": 1e-10}
    cold = eigenpairs(Curvature(objective, theta), 1, **options)
    warm = eigenpairs(Curvature(objective, theta), 1, start=cold.vectors[0], **options)
    assert warm.products < cold.products


def test_hutch_pp_meets_the_trace_and_its_error_is_honest():
    objective = PROBLEMS["smooth"].build(strategy="loop")
    theta = random_stack(objective, 1)[0]
    curvature = Curvature(objective, theta)
    truth = float(curvature.dense().trace())
    found = [hutch_pp(curvature, tolerance=0.0, max_products=50, seed=s) for s in range(30)]
    mean = sum(value for value, _ in found) / len(found)
    spread = (sum((value - truth) ** 2 for value, _ in found) / len(found)) ** 0.5
    stated = sum(error for _, error in found) / len(found)
    assert abs(mean - truth) <= 4 * spread / len(found) ** 0.5
    assert 0.6 <= spread / stated <= 1.6


def test_a_sketch_of_the_whole_space_is_exact():
    objective = PROBLEMS["one output"].build(strategy="loop")
    curvature = Curvature(objective, random_stack(objective, 1)[0])
    value, error = hutch_pp(curvature, sketch=50, max_products=200)
    assert error == 0
    assert value == pytest.approx(float(curvature.dense().trace()), rel=1e-9)


def test_moments_of_the_density_are_traces_of_powers():
    objective = PROBLEMS["cnn"].build(strategy="loop")
    curvature = Curvature(objective, random_stack(objective, 1)[0])
    found = density(curvature, steps=8, runs=40, seed=1)
    assert found.products == 8 * 40
    matrix = curvature.dense()
    for power in (1, 2, 3):
        truth = float(torch.linalg.matrix_power(matrix, power).trace()) / curvature.size
        mean, error = found.moment(power)
        assert abs(mean - truth) <= 4 * error
    points = torch.linspace(-20, 40, 4001).double()
    assert float(torch.trapezoid(found.at(points, 0.5), points)) == pytest.approx(1, rel=1e-6)


def test_quadrature_is_exact_for_its_vector_up_to_degree_2m_minus_1():
    objective = PROBLEMS["one output"].build(strategy="loop")
    curvature = Curvature(objective, random_stack(objective, 1)[0])
    found = density(curvature, steps=4, runs=1, seed=2)
    start = torch.randn(curvature.size, generator=torch.Generator().manual_seed(2),
                        dtype=torch.float64)  # fmt: skip
    start /= start.norm()
    matrix = curvature.dense()
    for power in range(8):
        truth = float(start @ torch.linalg.matrix_power(matrix, power) @ start)
        assert found.moment(power)[0] == pytest.approx(truth, rel=1e-8)


def test_a_spectrum_gathers_all_of_it():
    objective = piecewise()
    theta = random_stack(objective, 1)[0]
    found = spectrum(objective, theta, top=2, bottom=1, layers=True)
    dense = Curvature(objective, theta).dense()
    values = torch.linalg.eigvalsh(dense)
    torch.testing.assert_close(found.top, values.flip(0)[:2], rtol=1e-6, atol=1e-9)
    assert float(found.bottom[0]) == pytest.approx(float(values[0]), rel=1e-5)
    assert found.trace.exact
    block = Curvature(objective, theta, only=["first.weight", "first.bias"]).dense()
    assert found.layers["first"] == pytest.approx(float(torch.linalg.eigvalsh(block)[-1]), rel=1e-6)
    assert set(found.layers) == {"first", "norm", "groups", "long", "wrap", "places", "out"}
    document = found.document()
    assert document["hessian_vector_products"] == found.products > 0
    assert document["trace_standard_error"] == 0


def test_curvature_along_a_path_is_that_of_its_points():
    objective = PROBLEMS["smooth"].build(strategy="loop")
    stack = random_stack(objective, 3)
    path = Polygonal(stack, objective.layout)
    told: list[tuple[int, int]] = []
    found = curvature_along(objective, path, progress=lambda *both: told.append(both))
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert found[0].t == 0
    assert found[-1].t == 1
    for point, theta in zip(found, stack, strict=True):
        values = torch.linalg.eigvalsh(Curvature(objective, theta).dense())
        assert point.top_eigenvalue == pytest.approx(float(values[-1]), rel=1e-3)
        assert point.least_eigenvalue == pytest.approx(float(values[0]), rel=1e-3)


def test_layers_that_are_not_used_have_no_curvature():
    objective = PROBLEMS["one layer twice"].build(strategy="loop")
    block = Curvature(objective, random_stack(objective, 1)[0], only=["unused.weight"])
    assert not block.dense().any()


def test_bad_input_is_one_sentence():
    objective = PROBLEMS["mlp"].build(strategy="loop")
    theta = random_stack(objective, 1)[0]
    with pytest.raises(InputError, match="a matrix among hessian, gauss-newton"):
        Curvature(objective, theta, matrix="fisher")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="a split among train"):
        Curvature(objective, theta, split="test")
    with pytest.raises(InputError, match="names of parameters, got 9"):
        Curvature(objective, theta, only=["9"])
    with pytest.raises(InputError, match="1 to 83 eigenvalues, got 84"):
        eigenpairs(Curvature(objective, theta), 84)
    with pytest.raises(InputError, match="'3' is of class Tanh"):
        trace(objective, theta, exact=True)
    with pytest.raises(InputError, match="finite parameters"):
        Curvature(objective, theta * float("nan"))
    with pytest.raises(InputError, match="at least 22 products"):
        hutch_pp(Curvature(objective, theta), max_products=5)


def test_an_l1_loss_has_no_gauss_newton_curvature():
    x = torch.randn(10, 2).double()
    objective = Objective(nn.Linear(2, 1).double(), F.l1_loss, train=(x, x[:, :1]))
    assert not Curvature(objective, torch.ones(3).double(), matrix="gauss-newton").dense().any()
