"""The student-teacher problem of two-layer relu networks in closed form.

A student with weights `w_1 … w_n` learns a teacher with orthonormal weights `v_1 … v_k` in as many
dimensions, for Gaussian inputs (Safran & Shamir 2018, Eq. 1; the teacher's weights are the axes):

    F(W) = ½ E_x (Σ_i relu(w_i·x) − Σ_j relu(v_j·x))².

Products of two relu units have a mean in closed form, the arc-cosine kernel of degree one (Cho &
Saul 2009): with θ the angle between u and v,

    f(u, v) = E relu(u·x) relu(v·x) = |u||v| (sin θ + (π − θ) cos θ) / 2π,

so that value, gradient and Hessian of F are sums over pairs. Everything here takes a stack of runs
`[r, n, k]` at once.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_SQRT_5 = math.sqrt(5.0)


def objective(students: Tensor) -> Tensor:
    """F at each of a stack of students.

    Args:
        students: `[r, n, k]` in float64, rows that are not zero.

    Returns:
        `[r]`, the expected squared error, halved.

    Example:
        >>> objective(torch.eye(3, dtype=torch.float64)[None]).abs().max().item() < 1e-15
        True
    """
    k = students.shape[2]
    norms, _, cosines = _cosines(students)
    kernel = (_sines(cosines) + (math.pi - torch.acos(cosines)) * cosines) / (2 * math.pi)
    kernel = kernel * norms
    with_teachers = kernel[:, :, :k].sum((1, 2))
    with_students = (kernel[:, :, k:] * norms.mT).sum((1, 2))
    # f(v, v) = 1/2, and f = 1/(2π) for orthogonal unit vectors.
    among_teachers = k / 2 + k * (k - 1) / (2 * math.pi)
    return with_students / 2 - with_teachers + among_teachers / 2


def gradient(students: Tensor) -> Tensor:
    """Gradient of F at each of a stack of students.

    For one pair, ∂f/∂u = (|v| sin θ û + (π − θ) v) / 2π.

    Args:
        students: `[r, n, k]` in float64, rows that are not zero.

    Returns:
        `[r, n, k]`.
    """
    k = students.shape[2]
    norms, units, cosines = _cosines(students)
    sines = _sines(cosines)
    away = cosines.neg_().acos_()  # π − θ
    teachers = sines[:, :, :k].sum(2, keepdim=True)
    along = torch.baddbmm(teachers, sines[:, :, k:], norms, beta=-1)
    result = torch.baddbmm(away[:, :, :k], away[:, :, k:], students, beta=-1)
    return result.addcmul_(along, units).mul_(1 / (2 * math.pi))


def hessian(students: Tensor) -> Tensor:
    """Hessian of F at each of a stack of students.

    With n the unit vector of v's part perpendicular to u, and m that of u's part perpendicular
    to v: ∂²f/∂u² = |v| sin θ (I − û ûᵀ + n nᵀ) / 2π|u| and
    ∂²f/∂u∂v = ((π − θ) I + û nᵀ + v̂ mᵀ) / 2π. Both are continuous where u and v are parallel.

    Args:
        students: `[r, n, k]` in float64, rows that are not zero.

    Returns:
        `[r, n·k, n·k]`, symmetric; coordinates in the order of the students' own.
    """
    r, n, k = students.shape
    norms, units, cosines = _cosines(students)
    angles = torch.acos(cosines)
    eye = torch.eye(k, dtype=students.dtype, device=students.device)
    targets = torch.cat([eye.expand(r, k, k), units], 1)
    lengths = torch.cat([norms.new_ones(r, k, 1), norms], 1)
    # normal[:, i, z] is the unit vector of target z's part perpendicular to student i.
    normal = targets[:, None] - cosines[..., None] * units[:, :, None]
    size = normal.norm(dim=-1, keepdim=True)
    normal = torch.where(size > 0, normal / size.clamp_min(torch.finfo(size.dtype).tiny), 0.0)
    signs = torch.cat([norms.new_full((k,), -1.0), norms.new_ones(n)])
    weights = signs * lengths.mT * _sines(cosines) / norms
    own = torch.einsum("riz,riza,rizb->riab", weights, normal, normal)
    tangent = eye - units[..., None] * units[:, :, None, :]
    own += weights.sum(2)[..., None, None] * tangent
    own += math.pi * eye  # of f(w, w) / 2 = |w|² / 4, in units of 2π
    between = normal[:, :, k:]  # [r, i, j, k]
    blocks = torch.einsum("ria,rijb->riajb", units, between)
    blocks += torch.einsum("rjia,rjb->riajb", between, units).transpose(2, 4)
    blocks += (math.pi - angles[:, :, k:])[:, :, None, :, None] * eye[:, None, :]
    index = torch.arange(n)
    blocks[:, index, :, index] = own.transpose(0, 1)
    return blocks.reshape(r, n * k, n * k) / (2 * math.pi)


def hessian_lipschitz(students: Tensor, radius: Tensor) -> Tensor:
    """A Lipschitz constant of the Hessian on a ball around each of a stack of students.

    Third derivatives of one pair, for steps a of u and b of v: |∂³f/∂u³[a, a, a]| is at most
    (3 + √5)|v||a|³ / 2π|u|², from the closed form of ∂²f/∂u², and |∂³f/∂u²∂v[a, a, b]| at most
    |a|²|b| / π|u|, since it is the mean of δ(u·x) 1[v·x > 0] (a·x)² (b·x). Summed over the pairs
    for a step of length one; the norm of a symmetric trilinear form is attained on the diagonal.
    The term of a student with itself is quadratic and has none.

    Args:
        students: `[r, n, k]`.
        radius: `[r]`, of the balls, in the Euclidean norm of all weights.

    Returns:
        `[r]`; infinite where a student can vanish within the ball.
    """
    n, k = students.shape[1:]
    norms = students.norm(dim=2)
    least = norms - radius[:, None]
    most = norms + radius[:, None]
    others = k + most.sum(1, keepdim=True) - most
    pure = (3 + _SQRT_5) / (2 * math.pi) * (others / least.square()).amax(1)
    # Σ_{i≠j} 3 a_i² a_j / π|w_i|, with Σ_j a_j at most √(n − 1) over the others.
    mixed = 3 / math.pi * math.sqrt(max(n - 1, 0)) / least.amin(1)
    return torch.where(least.amin(1) > 0, pure + mixed, math.inf)


def _cosines(students: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Norms `[r, n, 1]`, directions `[r, n, k]`, and cosines `[r, n, k + n]` with all units."""
    norms = torch.linalg.vector_norm(students, dim=2, keepdim=True)
    units = students / norms
    cosines = torch.cat([units, units @ units.mT], 2).clamp_(-1, 1)
    # A unit's angle with itself is 0, not the 1e-8 that rounding would make of it.
    cosines.diagonal(offset=students.shape[2], dim1=1, dim2=2).fill_(1.0)
    return norms, units, cosines


def _sines(cosines: Tensor) -> Tensor:
    return torch.addcmul(cosines.new_ones(()), cosines, cosines, value=-1).sqrt_()
