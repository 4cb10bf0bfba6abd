"""Order parameters: the few numbers that describe a student of a linear teacher.

All take W (R, k, d), V (R, r, k) and the teacher A (r, d), or one a replica (R, r, d), in full or
reduced coordinates.
"""

from __future__ import annotations

import torch
from torch import Tensor

from reludyn.network.activation import RELU, LeakyReLU
from reludyn.network.student import ReLUStudent
from reludyn.numerics.kernels import angle, norm, unit


def hidden_norms(student: ReLUStudent) -> Tensor:
    """|w_i|, (R, k)."""
    return norm(student.W)


def output_norms(student: ReLUStudent) -> Tensor:
    """|v_i|, (R, k)."""
    return norm(student.V.mT)


def targets(student: ReLUStudent, A: Tensor) -> Tensor:
    """A^T v_i, the direction in which isotropic inputs pull a small w_i: (R, k, d); v_i a for
    r = 1."""
    return student.V.mT @ A


def angle_to_target(student: ReLUStudent, A: Tensor) -> Tensor:
    """theta_i between w_i and A^T v_i, in radians, (R, k): to +a where v_i > 0 and to -a where
    v_i < 0 for r = 1 (the angles of Lemma 4); pi/2 where either is zero."""
    return angle(student.W, targets(student, A))


def imbalance(student: ReLUStudent) -> Tensor:
    """b_i = |w_i|^2 - |v_i|^2, (R, k): conserved by gradient flow (Lemma 3)."""
    return student.W.square().sum(-1) - student.V.square().sum(-2)


def hidden_overlap(student: ReLUStudent) -> Tensor:
    """Q = W W^T, (R, k, k)."""
    return student.W @ student.W.mT


def teacher_overlap(student: ReLUStudent, A: Tensor) -> Tensor:
    """M = W A^T, (R, k, r)."""
    return student.W @ A.mT


def along_and_across(x: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """Component of x along a direction and length of the rest, over the last axis: (..., d) each
    -> (...). A zero direction has no component along it."""
    ray = unit(direction)
    along = (x * ray).sum(-1)
    return along, norm(x - along.unsqueeze(-1) * ray)


def effective_weights(student: ReLUStudent, A: Tensor) -> tuple[Tensor, Tensor]:
    """|v_i| w_i along and across A^T v_i, (R, k) each: (|a|, 0) for every neuron at a minimum of
    k = 2, r = 1."""
    weights = output_norms(student).unsqueeze(-1) * student.W
    return along_and_across(weights, targets(student, A))


def group_sums(student: ReLUStudent) -> tuple[Tensor, Tensor]:
    """(sum over v_i > 0, sum over v_i < 0) of |v_i| w_i, each (R, d), for r = 1. With ReLU they are
    a and -a at a global minimum whose neurons are on the rays of their groups (where descent from
    small weights arrives), (c + 1) a and c a at the saddles of Theorem 1."""
    v = student.V.squeeze(-2).unsqueeze(-1)  # (R, k, 1)
    return (v.relu() * student.W).sum(-2), ((-v).relu() * student.W).sum(-2)


def in_groups(outputs: int, width: int) -> bool:
    """Whether sign groups decide when phases end, and not each neuron for itself."""
    return outputs == 1 and width > 2


def sign_groups(student: ReLUStudent) -> ReLUStudent:
    """The effective neurons of both sign groups, W (..., 2, d), V (..., 1, 2), for r = 1: v_g = +-
    sqrt(sum v_i^2), w_g = sum |v_i| w_i / |v_g| over the neurons with v_i > 0, then over those with
    v_i < 0. Zeros for a group without neurons."""
    tiny = torch.finfo(student.V.dtype).tiny
    largest = student.V.abs().amax(-1, keepdim=True)  # sums of squares might be too small
    shares = torch.cat([student.V.relu(), (-student.V).relu()], -2) / largest.clamp_min(tiny)
    size = norm(shares).unsqueeze(-2)  # (..., 1, 2)
    W = shares @ student.W / size.clamp_min(tiny).mT
    return ReLUStudent(W, largest * size * size.new_tensor([1.0, -1.0]))


def group_sum_error(student: ReLUStudent, A: Tensor, activation: LeakyReLU = RELU) -> Tensor:
    """sqrt(|p - t|^2 + |q + t|^2) of the group sums p, q and their value t = a / (2 odd) at a
    minimum (a for ReLU): (R,), r = 1, any k. NaN for a linear network, which leaves them open."""
    positive, negative = group_sums(student)
    target = _share(A, activation)
    return torch.hypot(norm(positive - target), norm(negative + target))


def effective_weight_error(student: ReLUStudent, A: Tensor, activation: LeakyReLU = RELU) -> Tensor:
    """|diag(|v|) W - [s_1 t, s_2 t]^T|_F with s_i = sign v_i, t = a / (2 odd) (a for ReLU), of
    Theorem 2: (R,), r = 1, k = 2.

    NaN where both output weights have the same sign (no minimum has that form) and for a linear
    network.
    """
    v = student.V.squeeze(-2).unsqueeze(-1)  # (R, 2, 1)
    target = _share(A, activation).unsqueeze(-2)
    error = (v.abs() * student.W - v.sign() * target).square().sum((-2, -1)).sqrt()
    return torch.where(v.prod(-2).squeeze(-1) < 0, error, torch.full_like(error, torch.nan))


def saddle_ratio(student: ReLUStudent, A: Tensor, activation: LeakyReLU = RELU) -> Tensor:
    """c with sum_{v_i < 0} |v_i| w_i = c p a (its component along a), (R,), r = 1: the parameter of
    the non-strict saddles of Theorem 1, c > 0 or c < -1; 0 or -1 where all v_i share a sign.

    p = odd / (odd^2 + even^2) is the best slope of one ray, 1 for ReLU.
    """
    _, negative = group_sums(student)
    a = A[..., 0, :]
    return (negative * a).sum(-1) / (activation.best_ray * a.square().sum(-1))


def learned(student: ReLUStudent, A: Tensor, activation: LeakyReLU = RELU) -> Tensor:
    """odd p_j^T V W q_j / s_j, (R, r): the part of each singular direction of A = sum_j s_j p_j
    q_j^T, s_1 >= s_2 >= ..., that the linear part odd V W of the student has. 1 at a minimum; NaN
    where s_j = 0."""
    U, s, Q = torch.linalg.svd(A, full_matrices=False)
    parts: Tensor = (U.mT @ student.V @ student.W @ Q.mT).diagonal(dim1=-2, dim2=-1) / s
    return activation.odd * parts


def _share(A: Tensor, activation: LeakyReLU) -> Tensor:
    """What each sign group contributes at a minimum: odd (p - q) = a with even (p + q) = 0."""
    a = A[..., 0, :]
    return a / (2 * activation.odd) if activation.even > 0 else torch.full_like(a, torch.nan)
