"""The odd/even split of the population risk, evaluated without cancellation.

relu(z) = (z + |z|)/2, and odd and even functions are orthogonal under a symmetric law, so

    L = 1/2 |A - V W / 2|_F^2  +  1/8 E|V abs(W x)|^2
        linear-network error      rectification error

each non-negative. The second is 1/8 sum_ij (v_i.v_j) J(w_i, w_j) with J(p, q) = E|p.x||q.x|, whose
terms cancel near a minimum. For any signs s_i,

    sum_ij (v_i.v_j) J_ij = |V diag(s) W|_F^2 + 2 sum_{s_i s_j w_i.w_j < 0} (v_i.v_j) |w_i.w_j|
                            + (2/pi) sum_ij (v_i.v_j) |w_i||w_j| bend(a_ij),

a_ij the acute angle between the lines of w_i and w_j. With s_i = sign(w_i.z) for one direction z
the second sum vanishes near a minimum with r = 1, where all lines meet in z = a, and the third is
of third order: the loss keeps its relative precision down to the smallest values that the weights
can represent. With r > 1 the lines differ, the second sum cancels only to rounding, and losses
below `resolution` are noise.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from reludyn.compensated import sum_of_products
from reludyn.kernels import bend, norm, pairwise_angle
from reludyn.notation import Loss
from reludyn.student import ReLUStudent

_BLOCK = 2**23  # numbers held at once


def decompose(student: ReLUStudent, A: Tensor) -> Loss:
    """Population risk and its parts, each (R,), for the teacher A (r, d); x ~ N(0, I)."""
    _, k, d = student.W.shape
    cost = k * d * A.shape[0] + k * k
    blocks = student.split(max(1, _BLOCK // cost))
    parts = [(_linear(block, A), _rectification(block, A)) for block in blocks]
    linear = torch.cat([a for a, _ in parts])
    rectification = torch.cat([b for _, b in parts])
    return Loss(linear + rectification, linear, rectification)


def resolution(A: Tensor) -> float:
    """The loss below which `decompose` returns rounding error: 0 for r = 1.

    For r > 1 it bounds the error of (sum_i |v_i||w_i|)^2 / 8 <= r^2 |A|_2^2 / 2 near a minimum.
    """
    r = A.shape[0]
    if r == 1:
        return 0.0
    size = float(torch.linalg.matrix_norm(A, ord=2)) * r
    return 4 * torch.finfo(A.dtype).eps * size**2


def _linear(student: ReLUStudent, A: Tensor) -> Tensor:
    W, V = student
    (R, _, d), r = W.shape, A.shape[0]
    v = (-V / 2).movedim(2, 0).unsqueeze(-1)  # (k, R, r, 1); halving is exact
    one = torch.ones_like(v.narrow(0, 0, 1))
    w = W.movedim(1, 0).unsqueeze(-2).expand(-1, -1, r, -1)  # (k, R, r, d)
    residual = sum_of_products(  # A - sum_i v_i w_i / 2, one sum over 1 + k terms
        torch.cat([one, v]), torch.cat([A.expand(1, R, r, d), w])
    )
    return residual.square().sum((-2, -1)) / 2


def _rectification(student: ReLUStudent, A: Tensor) -> Tensor:
    W, V = student
    gram, length = W @ W.mT, norm(W)
    S = V.mT @ V
    along = (W @ A.mT).sum(-1)
    s = torch.where(along < 0, -1.0, 1.0).to(W.dtype)

    signed = sum_of_products(
        (V * s.unsqueeze(-2)).movedim(2, 0).unsqueeze(-1), W.movedim(1, 0).unsqueeze(-2)
    )
    mismatched = s.unsqueeze(-1) * s.unsqueeze(-2) * gram < 0
    correction = 2 * torch.where(mismatched, S * gram.abs(), torch.zeros_like(S))
    theta = pairwise_angle(W)
    acute = torch.minimum(theta, math.pi - theta)
    curvature = (2 / math.pi) * S * length.unsqueeze(-1) * length.unsqueeze(-2) * bend(acute)
    total = signed.square().sum((-2, -1)) + (correction + curvature).sum((-2, -1))
    return total.clamp_min(0) / 8  # an expectation of squares; rounding alone makes it negative
