"""Phases and outcomes of training: when alignment and growth end, where descent arrives, how fast.

The constants are those of the lemmas. *Alignment* lasts until max_i theta_i <= pi/20 (T_align,
Lemma 6), with theta_i the angle between w_i and A^T v_i. *Growth* lasts from then until
min_i |v_i| >= sqrt(s)/4 (T_growth, Lemma 7), with s the smallest non-zero singular value of A, |a|
for r = 1. *Refinement* follows. With more than two neurons and one output, not every neuron need
grow: the effective neurons of the sign groups at that iterate (`sign_groups`) then take the place
of the neurons, and a group without neurons does not count.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import copy
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reludyn.dynamics.order_parameters import (
    angle_to_target,
    hidden_norms,
    in_groups,
    output_norms,
    sign_groups,
    targets,
)
from reludyn.dynamics.rays import ALIGNED, GROWN, first_of, into_ray
from reludyn.network.activation import RELU, LeakyReLU
from reludyn.network.notation import Evaluation, Loss, PerReplica, of_replicas
from reludyn.network.outcomes import Outcome
from reludyn.network.student import ReLUStudent
from reludyn.network.teacher import LinearTeacher
from reludyn.numerics.kernels import angle, norm

PHASES = ("alignment", "growth", "refinement")


class Clocks(NamedTuple):
    """Gradient descent iterations (R,) at which each event first held; -1: not yet."""

    align: Tensor
    growth: Tensor
    converged: Tensor


def phase_events(student: ReLUStudent, A: Tensor, size: PerReplica) -> tuple[Tensor, Tensor]:
    """Return whether max_i theta_i <= pi/20 and whether min_i |v_i| >= size, (..., R) each.

    Angles are compared through cosines; a zero vector is not aligned.
    """
    grouped = in_groups(*student.V.shape[-2:])
    deciding = sign_groups(student) if grouped else student
    target = targets(deciding, A)
    lengths = norm(deciding.W) * norm(target)
    inner = (deciding.W * target).sum(-1)
    aligned, sizes = inner > math.cos(ALIGNED) * lengths, output_norms(deciding)
    if grouped:
        nobody = sizes == 0
        aligned = (aligned | nobody) & nobody.all(-1, keepdim=True).logical_not()
        sizes = sizes.masked_fill(nobody, math.inf)
    return aligned.all(-1), sizes.amin(-1) >= size


def groups_path(
    W: NDArray[np.float64], V: NDArray[np.float64], A: NDArray[np.float64]
) -> tuple[NDArray[np.float64], ...]:
    """Return the smallest |w_g|, the smallest |v_g| and the largest theta_g of the sign groups.

    They are (T,) each, along a trajectory of one replica, W (T, k, d) and V (T, 1, k).
    """
    groups = sign_groups(ReLUStudent(torch.from_numpy(W), torch.from_numpy(V)))
    theta, nobody = angle_to_target(groups, torch.from_numpy(A)), groups.V[:, 0] == 0
    w, v = (x(groups).masked_fill(nobody, math.inf) for x in (hidden_norms, output_norms))
    found = w.amin(-1), v.amin(-1), theta.masked_fill(nobody, 0.0).amax(-1)
    return tuple(x.numpy() for x in found)


class PhaseRule:
    """Rule that decides, from the weights alone, which events hold at an iterate."""

    def __init__(self, teacher: LinearTeacher, A: Tensor, zero_loss: float | None = None) -> None:
        self.A = A  # the teacher's matrix on the device and in the precision of the run
        self.grown: PerReplica = GROWN * math.sqrt(teacher.smallest_scale)
        # the risk of the zero student, E|A x|^2 / 2: the unit of losses
        self.zero_loss: PerReplica = teacher.zero_loss if zero_loss is None else zero_loss

    @staticmethod
    def joined(rules: Sequence[PhaseRule], A: Tensor) -> PhaseRule:
        """Return one rule for R replicas from R rules, with A (R, r, m)."""
        joined = copy(rules[0])
        joined.A = A
        joined.grown = A.new_tensor([rule.grown for rule in rules])
        joined.zero_loss = A.new_tensor([rule.zero_loss for rule in rules])
        return joined

    def select(self, replicas: Tensor) -> PhaseRule:
        """Return the rule of some replicas; itself where it is the same for all."""
        if self.A.ndim == 2:
            return self
        part = copy(self)
        part.A = self.A[replicas]
        part.grown = of_replicas(self.grown, replicas)
        part.zero_loss = of_replicas(self.zero_loss, replicas)
        return part

    def tick(
        self, clocks: Clocks, steps: Tensor, iterates: ReLUStudent, made: Tensor, converged: Tensor
    ) -> Clocks:
        """Return the clocks after b iterates, W (b, R, k, d) and V (b, R, r, k).

        Their iterations are steps (b, R), of which each replica has made those where `made` (b, R).
        """
        aligned, grown = phase_events(iterates, self.A, self.grown)
        align = first_of(clocks.align, steps, aligned & made)
        grown = grown & (align >= 0) & (steps >= align)
        return Clocks(
            align,
            first_of(clocks.growth, steps, grown & made),
            first_of(clocks.converged, steps, converged & made),
        )


def classify(
    student: ReLUStudent,
    evaluation: Evaluation,
    loss: Loss,
    converged: Tensor,
    diverged: Tensor,
    A: Tensor,
    zero_loss: float,
    saddle_tolerance: float,
    activation: LeakyReLU = RELU,
) -> list[Outcome]:
    """Return the outcome of each replica.

    global_minimum: `converged`. diverged: `diverged`. non_strict_saddle (r = 1, Theorem 1): every
    w_i is within pi/20 of the same ray, +a or -a, and on its way into it (`into_ray`); the gradient
    is at most 1e-3 |a|^{3/2}; and the loss is within the relative saddle_tolerance of its value
    there, zero_loss even^2/(odd^2 + even^2), with zero_loss = E(a.x)^2/2 (for ReLU and isotropic
    inputs |a|^2/4). A linear network has no such saddle. Everything else: unconverged.
    """
    names: list[Outcome] = [Outcome.UNCONVERGED] * student.replicas
    if A.shape[0] == 1:
        a, scale = A[0], float(norm(A[0]))
        to_ray = angle(student.W, a)
        squares = student.V.square().sum(-2), student.W.square().sum(-1)
        same_ray = into_ray(*squares, to_ray) | into_ray(*squares, math.pi - to_ray)
        size = torch.hypot(*(norm(layer.flatten(1)) for layer in evaluation.gradient))
        value = zero_loss * activation.even**2 / activation.square
        plateau = (loss.total - value).abs() < saddle_tolerance * value
        at_saddle = same_ray & plateau & (size <= 1e-3 * scale**1.5)
        names = [
            Outcome.NON_STRICT_SADDLE if s else n for s, n in zip(at_saddle, names, strict=True)
        ]
    for j in range(student.replicas):
        if diverged[j]:
            names[j] = Outcome.DIVERGED
        elif converged[j]:
            names[j] = Outcome.GLOBAL_MINIMUM
    return names


def contraction_rate(
    steps: NDArray[np.int64], losses: NDArray[np.float64], last: NDArray[np.int64], unit: float
) -> NDArray[np.float64]:
    """Return the factor per iteration by which sqrt(loss) shrinks at the end of the run, (R,).

    It is a least-squares fit to log(loss) over the last two decades, at least the last three looks,
    among looks with a loss between 1e-24 unit (below it rounding shows) and 1e-2 unit. Theory for
    r = 1, |a| = 1: 1 - mu along a, 1 - mu/2 across. NaN with fewer than two such looks.

    steps (T,), losses (T, R), last (R,) the iteration at which each replica stopped; unit = |A|^2.
    """
    valid = (losses >= 1e-24 * unit) & (losses <= 1e-2 * unit) & (steps[:, None] <= last)
    smallest = np.min(np.where(valid, losses, np.inf), axis=0)
    following = valid[::-1].cumsum(0)[::-1]  # valid looks from this one on
    inside = valid & ((losses <= 100 * smallest) | (following <= 3))
    with np.errstate(divide="ignore", invalid="ignore"):
        y = np.where(inside, np.log(np.where(inside, losses, 1.0)), 0.0)
        t = np.where(inside, steps[:, None].astype(float), 0.0)
        count = inside.sum(0)
        centred = np.where(inside, t - t.sum(0) / count, 0.0)
        slope = (centred * y).sum(0) / (centred * centred).sum(0)
    return np.where(count >= 2, np.exp(slope / 2), np.nan)
