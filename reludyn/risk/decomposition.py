"""The odd/even split of the population risk, evaluated without cancellation.

phi(z) = odd z + even |z| (both 1/2 for ReLU), and odd and even functions are orthogonal under a
symmetric law, so

    L = 1/2 |A - odd V W|_F^2  +  even^2/2 E|V abs(W x)|^2
        linear-network error      rectification error

each non-negative. The second is a sum of (v_i.v_j) J(w_i, w_j) with J(p, q) = E|p.x||q.x|, whose
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

from reludyn.network.activation import LeakyReLU
from reludyn.network.notation import Loss
from reludyn.network.student import ReLUStudent
from reludyn.numerics.compensated import sum_of_products, two_product, two_sum
from reludyn.numerics.kernels import angles, bend, norm, rows_at_once

_BLOCK = 2**23  # numbers held at once


def decompose(student: ReLUStudent, A: Tensor, activation: LeakyReLU) -> Loss:
    """Return the population risk and its parts, each (R,), for x ~ N(0, I).

    The teacher A is (r, d), or (R, r, d): one per replica.
    """
    _, k, d = student.W.shape
    replicas = max(1, _BLOCK // (k * d * A.shape[-2] + 64 * k))
    blocks = student.split(replicas)
    teachers = A.split(replicas) if A.ndim == 3 else [A] * len(blocks)
    parts = [
        (_linear(block, a, activation.odd), _rectification(block, a, activation.even))
        for block, a in zip(blocks, teachers, strict=True)
    ]
    linear = torch.cat([a for a, _ in parts])
    rectification = torch.cat([b for _, b in parts])
    return Loss(linear + rectification, linear, rectification)


def resolution(A: Tensor) -> float:
    """Return the loss below which rounding dominates.

    For r = 1 it is the rounding of the weights, 16 eps^2 |A|_F^2; r > 1 adds that of `decompose`,
    4 eps r^2 |A|_2^2, which bounds the error of (sum_i |v_i||w_i|)^2 / 8 <= r^2 |A|_2^2 / 2 near a
    minimum.
    """
    eps, r = torch.finfo(A.dtype).eps, A.shape[0]
    weights = 16 * eps**2 * float(A.square().sum())
    if r == 1:
        return weights
    return weights + 4 * eps * (float(torch.linalg.matrix_norm(A, ord=2)) * r) ** 2


def _linear(student: ReLUStudent, A: Tensor, odd: float) -> Tensor:
    high, low = _product(student.V, student.W)
    scaled, error = two_product(high, torch.full_like(high, odd))
    residual, rounding = two_sum(A.expand_as(scaled), -scaled)
    residual = residual + (rounding - error - odd * low)
    return residual.square().sum((-2, -1)) / 2


def _rectification(student: ReLUStudent, A: Tensor, even: float) -> Tensor:
    W, V = student
    length, along = norm(W), (W @ A.mT).sum(-1)
    s = torch.where(along < 0, -1.0, 1.0).to(W.dtype)
    high, low = _product(V * s.unsqueeze(-2), W)
    total = (high + low).square().sum((-2, -1))
    layers = ((W, 1), (V, 2), (s, 1), (length, 1))
    blocks = (x.split(rows_at_once(W), axis) for x, axis in layers)
    for w, v, sign, size in zip(*blocks, strict=True):
        gram, S = w @ W.mT, v.mT @ V
        mismatched = sign.unsqueeze(-1) * s.unsqueeze(-2) * gram < 0
        correction = 2 * torch.where(mismatched, S * gram.abs(), torch.zeros_like(S))
        theta = angles(w, W)
        acute = torch.minimum(theta, math.pi - theta)
        area = size.unsqueeze(-1) * length.unsqueeze(-2)
        total = total + (correction + (2 / math.pi) * S * area * bend(acute)).sum((-2, -1))
    # an expectation of squares, which only rounding can make negative
    return total.clamp_min(0) * (even**2 / 2)


def _product(V: Tensor, W: Tensor) -> tuple[Tensor, Tensor]:
    """Return V W (R, r, d) as an unevaluated sum of two."""
    return sum_of_products(V.movedim(2, 0).unsqueeze(-1), W.movedim(1, 0).unsqueeze(-2))
