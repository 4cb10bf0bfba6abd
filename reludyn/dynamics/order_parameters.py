"""Order parameters: the few numbers that describe a student of a linear teacher.

All functions take W (R, k, d), V (R, r, k) and the teacher A, (r, d) for all replicas or (R, r, d),
in full or reduced coordinates.
"""

from __future__ import annotations

import torch
from torch import Tensor

from reludyn.network.activation import RELU, LeakyReLU
from reludyn.network.student import ReLUStudent
from reludyn.numerics.kernels import angle, norm, unit


def hidden_norms(student: ReLUStudent) -> Tensor:
    """Return |w_i|, (R, k)."""
    return norm(student.W)


def output_norms(student: ReLUStudent) -> Tensor:
    """Return |v_i|, (R, k)."""
    return norm(student.V.mT)


def targets(student: ReLUStudent, A: Tensor) -> Tensor:
    """Return A^T v_i, (R, k, d), where isotropic inputs pull a small w_i; v_i a for r = 1."""
    return student.V.mT @ A


def angle_to_target(student: ReLUStudent, A: Tensor) -> Tensor:
    """Return theta_i between w_i and A^T v_i in radians, (R, k); pi/2 where either is zero.

    For r = 1 it is the angle to +a where v_i > 0 and to -a where v_i < 0 (Lemma 4).
    """
    return angle(student.W, targets(student, A))


def imbalance(student: ReLUStudent) -> Tensor:
    """Return b_i = |w_i|^2 - |v_i|^2, (R, k): conserved by gradient flow (Lemma 3)."""
    return student.W.square().sum(-1) - student.V.square().sum(-2)


def hidden_overlap(student: ReLUStudent) -> Tensor:
    """Return Q = W W^T, (R, k, k)."""
    return student.W @ student.W.mT


def teacher_overlap(student: ReLUStudent, A: Tensor) -> Tensor:
    """Return M = W A^T, (R, k, r)."""
    return student.W @ A.mT


def along_and_across(x: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """Return the component of x along a direction and the length of the rest.

    Both are over the last axis, (..., d) and (..., d) -> (...). A zero direction has no component
    along it.
    """
    ray = unit(direction)
    along = (x * ray).sum(-1)
    return along, norm(x - along.unsqueeze(-1) * ray)


def effective_weights(student: ReLUStudent, A: Tensor) -> tuple[Tensor, Tensor]:
    """Return |v_i| w_i along and across A^T v_i, (R, k) each.

    At a minimum with k = 2, r = 1 they are (|a|, 0) for every neuron.
    """
    weights = output_norms(student).unsqueeze(-1) * student.W
    return along_and_across(weights, targets(student, A))


def group_sums(student: ReLUStudent) -> tuple[Tensor, Tensor]:
    """Return the sums of |v_i| w_i over v_i > 0 and over v_i < 0, each (R, d), for r = 1.

    With ReLU they are a and -a at a global minimum whose neurons are on the rays of their groups
    (where descent from small weights arrives), (c + 1) a and c a at the saddles of Theorem 1.
    """
    v = student.V.squeeze(-2).unsqueeze(-1)  # (R, k, 1)
    return (v.relu() * student.W).sum(-2), ((-v).relu() * student.W).sum(-2)


def in_groups(outputs: int, width: int) -> bool:
    """Return whether sign groups decide when phases end, rather than each neuron for itself."""
    return outputs == 1 and width > 2


def sign_groups(student: ReLUStudent) -> ReLUStudent:
    """Return the effective neurons of both sign groups, W (..., 2, d) and V (..., 1, 2), for r = 1.

    v_g = +- sqrt(sum v_i^2) and w_g = sum |v_i| w_i / |v_g| over the neurons with v_i > 0, then
    over those with v_i < 0; zeros for a group without neurons.
    """
    tiny = torch.finfo(student.V.dtype).tiny
    largest = student.V.abs().amax(-1, keepdim=True)  # sums of squares might underflow
    shares = torch.cat([student.V.relu(), (-student.V).relu()], -2) / largest.clamp_min(tiny)
    size = norm(shares).unsqueeze(-2)  # (..., 1, 2)
    W = shares @ student.W / size.clamp_min(tiny).mT
    return ReLUStudent(W, largest * size * size.new_tensor([1.0, -1.0]))


def group_sum_error(student: ReLUStudent, A: Tensor, activation: LeakyReLU = RELU) -> Tensor:
    """Return sqrt(|p - t|^2 + |q + t|^2) for the group sums p and q, (R,), r = 1, any k.

    t = a / (2 odd) is their value at a minimum (a for ReLU). NaN for a linear network, whose
    minima leave them open.
    """
    positive, negative = group_sums(student)
    target = _share(A, activation)
    return torch.hypot(norm(positive - target), norm(negative + target))


def effective_weight_error(student: ReLUStudent, A: Tensor, activation: LeakyReLU = RELU) -> Tensor:
    """Return |diag(|v|) W - [s_1 t, s_2 t]^T|_F of Theorem 2, (R,), for r = 1, k = 2.

    s_i = sign v_i and t = a / (2 odd) (a for ReLU). NaN where both output weights have the same
    sign (no minimum has that form) and for a linear network.
    """
    v = student.V.squeeze(-2).unsqueeze(-1)  # (R, 2, 1)
    target = _share(A, activation).unsqueeze(-2)
    error = (v.abs() * student.W - v.sign() * target).square().sum((-2, -1)).sqrt()
    return torch.where(v.prod(-2).squeeze(-1) < 0, error, torch.full_like(error, torch.nan))


def saddle_ratio(student: ReLUStudent, A: Tensor, activation: LeakyReLU = RELU) -> Tensor:
    """Return the c for which c p a is the part along a of sum_{v_i < 0} |v_i| w_i, (R,), r = 1.

    It is the parameter of the non-strict saddles of Theorem 1, c > 0 or c < -1; 0 or -1 where all
    v_i share a sign. p = odd / (odd^2 + even^2) is the best slope of one ray, 1 for ReLU.
    """
    _, negative = group_sums(student)
    a = A[..., 0, :]
    return (negative * a).sum(-1) / (activation.best_ray * a.square().sum(-1))


def learned(student: ReLUStudent, A: Tensor, activation: LeakyReLU = RELU) -> Tensor:
    """Return how much of each singular direction of A the linear part odd V W has, (R, r).

    It is odd p_j^T V W q_j / s_j for A = sum_j s_j p_j q_j^T, s_1 >= s_2 >= ...: 1 at a minimum;
    NaN where s_j = 0.
    """
    U, s, Q = torch.linalg.svd(A, full_matrices=False)
    parts: Tensor = (U.mT @ student.V @ student.W @ Q.mT).diagonal(dim1=-2, dim2=-1) / s
    return activation.odd * parts


def _share(A: Tensor, activation: LeakyReLU) -> Tensor:
    """Return what each sign group contributes at a minimum: odd (p - q) = a, even (p + q) = 0."""
    a = A[..., 0, :]
    return a / (2 * activation.odd) if activation.even > 0 else torch.full_like(a, torch.nan)
