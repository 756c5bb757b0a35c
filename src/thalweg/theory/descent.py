"""Gradient descent of many students at once, finished by Newton steps in the same basin.

Descent runs with the fixed step of Safran & Shamir's experiments until a run's fate is known:

* its value is below the level that tells a global minimum from a local one: descent does not climb
  (a run whose value ever rose between two looks is reported), so it can no longer end above it;
* or Newton's method, started at the point W reached, finds a critical point W* of which it is
  proved that descent from W ends there, too;
* or its gradient is small enough without that.

The proof. Let m and M be the least and the greatest eigenvalue of the Hessian at the computed W*, ε
the norm of the gradient there, ρ = ‖W − W*‖ + 4ε/m and L a Lipschitz constant of the Hessian on the
ball of radius ρ around W*. Where m ≥ 2Lρ the Hessian on that ball is at least m/2, so that an exact
critical point lies within 2ε/m of W*, and only one. Around it, a ball that holds W fits into the
first one, and there the Hessian lies between m/2 and M + Lρ: a step of descent with
step · (M + Lρ) ≤ 2 leads no further from its centre, so that descent from W never leaves it and
converges to that critical point. (Eigenvalues are computed in float64, without interval
arithmetic: what is proved is up to their rounding.)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from thalweg.objective.workers import in_threads
from thalweg.theory import student_teacher

# Safran & Shamir's: the step, the gradient norm at which a run has converged, and the value at or
# above which it has converged to a minimum that is not global.
STEP = 0.1
TOLERANCE = 1e-9
LEVEL = 1e-3

_LOOK_EVERY = 50
# Newton's method is tried first where a run's gradient is below this.
_FIRST_TRY = 1e-5
_NEWTON_STEPS = 6
# Of a value of F, a sum of terms of the order of n + k.
_ROUNDING = 1e-11
# Cosines in a block of runs that descend together: its intermediate results stay in the cache.
_BLOCK = 24_000
# Numbers in a stack of Hessians.
_HESSIANS = 4_000_000


@dataclass(frozen=True, kw_only=True)
class Ends:
    """Where runs of gradient descent end.

    Attributes:
        students: `[r, n, k]`.
        values: `[r]`, F there.
        gradients: `[r]`, norms of the gradient there.
        least_eigenvalues: `[r]`, of the Hessian there; NaN for runs that ended by their value.
        below: `[r]`, whether a run ended since its value fell below the level.
        same_basin: `[r]`, whether it ended by Newton's method, at the end of descent as proved.
        climbed: `[r]`, whether the value ever rose between two looks.
        steps: `[r]`, of gradient descent.
    """

    students: Tensor
    values: Tensor
    gradients: Tensor
    least_eigenvalues: Tensor
    below: Tensor
    same_basin: Tensor
    climbed: Tensor
    steps: Tensor

    @property
    def converged(self) -> Tensor:
        """`[r]`, whether a run's fate is known: below the level, or at a critical point."""
        return self.below | (self.gradients <= TOLERANCE)


def step_size(n: int) -> float:
    """Step of gradient descent for `n` students.

    Around a global minimum the Hessian's greatest eigenvalue is about n/4 + .8. Where the published
    step would come near the limit of stability, half that limit.

    Args:
        n: students.

    Returns:
        At most :data:`STEP`.
    """
    return min(STEP, 4 / (n + 4))


def descend(start: Tensor, *, max_steps: int = 500_000) -> Ends:
    """Run gradient descent from each of a stack of students to its end.

    Args:
        start: `[r, n, k]` in float64.
        max_steps: after which a run is given up as not converged.

    Returns:
        The ends, in the order of the starts.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> start = torch.randn(4, 3, 3, generator=generator, dtype=torch.float64)
        >>> descend(start).converged.all().item()
        True
    """
    # Operations take less than a millisecond: each on one thread, or all wait at barriers. Blocks
    # of runs are what goes to several threads.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _descend(start, max_steps, threads)
    finally:
        torch.set_num_threads(threads)


def _descend(start: Tensor, max_steps: int, threads: int) -> Ends:
    r, n, k = start.shape
    step = step_size(n)
    students = start.clone()
    eigenvalues = start.new_full((r,), torch.nan)
    next_try = start.new_full((r,), _FIRST_TRY)
    below, same_basin = torch.zeros(r, dtype=torch.bool), torch.zeros(r, dtype=torch.bool)
    climbed = torch.zeros(r, dtype=torch.bool)
    values = student_teacher.objective(students)
    steps = torch.zeros(r, dtype=torch.long)
    block = max(1, _BLOCK // (n * (n + k)))
    stack = max(1, _HESSIANS // (n * k) ** 2)
    running = torch.arange(r)
    while len(running):
        now = students[running]
        in_threads(partial(_take_steps, step=step), now.split(block), threads)
        students[running] = now
        steps[running] += _LOOK_EVERY
        slope = _norm(student_teacher.gradient(now))
        value = student_teacher.objective(now)
        climbed[running] |= value > values[running] + _ROUNDING
        values[running] = value
        low = value < LEVEL
        below[running] = low
        ended = low | (slope <= TOLERANCE) | (steps[running] >= max_steps)
        # A run that ends by its gradient, or unfinished, gets its eigenvalue here, too.
        due = running[~low & (ended | (slope <= next_try[running]))]
        for few in due.split(stack):
            finish = _finish(students[few], step)
            students[few] = torch.where(finish.proved[:, None, None], finish.end, students[few])
            same_basin[few] = finish.proved
            eigenvalues[few] = finish.least
            next_try[few] = finish.next_try
        running = running[~ended & ~same_basin[running]]
    for few in (~below & ~same_basin).nonzero()[:, 0].split(stack):
        eigenvalues[few] = torch.linalg.eigvalsh(student_teacher.hessian(students[few]))[:, 0]
    return Ends(
        students=students,
        values=student_teacher.objective(students),
        gradients=_norm(student_teacher.gradient(students)),
        least_eigenvalues=eigenvalues,
        below=below,
        same_basin=same_basin,
        climbed=climbed,
        steps=steps,
    )


def _take_steps(students: Tensor, step: float) -> None:
    """Steps of gradient descent from one look to the next, in place."""
    for _ in range(_LOOK_EVERY):
        students.sub_(student_teacher.gradient(students), alpha=step)


@dataclass(frozen=True)
class _Finish:
    """Critical points near given ones, and whether descent is proved to end there.

    Attributes:
        end: `[r, n, k]`.
        least: `[r]`, least eigenvalue of the Hessian there.
        proved: `[r]`.
        next_try: `[r]`, norm of the gradient at which another try is worth while.
    """

    end: Tensor
    least: Tensor
    proved: Tensor
    next_try: Tensor


def _finish(students: Tensor, step: float) -> _Finish:
    """Newton's method from each student, and the proof that descent ends at the same point."""
    end = students
    for _ in range(_NEWTON_STEPS):
        slope = student_teacher.gradient(end)
        if bool((_norm(slope) < 1e-13).all()):
            break
        move, _ = torch.linalg.solve_ex(student_teacher.hessian(end), slope.flatten(1))
        end = end - move.view_as(end)
        # A singular Hessian leads nowhere: such a run goes on by descent.
        end = torch.where(end.isfinite().all((1, 2), keepdim=True), end, students)
    eigenvalues = torch.linalg.eigvalsh(student_teacher.hessian(end))
    least, greatest = eigenvalues[:, 0], eigenvalues[:, -1]
    slope = _norm(student_teacher.gradient(end))
    radius = _norm(students - end) + 4 * slope / least.abs()
    lipschitz = student_teacher.hessian_lipschitz(end, radius)
    bend = lipschitz * radius
    proved = (slope <= TOLERANCE) & (least >= 2 * bend) & (step * (greatest + bend) <= 2)
    # The distance to the end is at most about gradient/m: try where L · gradient/m is below m/2.
    # Newton's method may have run away, or to a saddle: then the gradient says when.
    reached = _norm(student_teacher.gradient(students))
    hoped = torch.where(bend.isfinite() & (least > 0), least.square() / (2 * lipschitz), torch.inf)
    return _Finish(end, least, proved, torch.minimum(hoped, reached / 4))


def _norm(stack: Tensor) -> Tensor:
    return stack.flatten(1).norm(dim=1)
