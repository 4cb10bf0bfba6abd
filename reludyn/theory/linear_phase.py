"""The early phase for any number of outputs: as long as all weights are small, descent is linear.

With A = sum_j s_j p_j q_j^T and the overlaps alpha_ij = p_j.v_i, beta_ij = q_j.w_i, each iteration
multiplies alpha + beta by 1 + mu odd s_j and alpha - beta by 1 - mu odd s_j; the part of w_i across
all q_j stays. (Not in the paper; for linear networks Saxe et al. 2014.) So the neurons align with
A^T v_i, each singular direction at its own pace, and direction j of the effective map odd V W is
learned when sum_i odd alpha_ij beta_ij comes near s_j.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from reludyn.dynamics.rays import ALIGNED, first_time
from reludyn.network.activation import RELU, LeakyReLU
from reludyn.network.notation import PerReplica, against
from reludyn.network.student import ReLUStudent
from reludyn.numerics.kernels import angle, norm

SMALL = 0.1  # the size of weights, in units of sqrt(s_1), up to which they count as small
EPS = 1e-12  # singular values, in units of the largest, that count as zero
BLOCK = 64  # iterations evaluated at once


class Small(NamedTuple):
    """Small weights after t iterations, (R, T, ...) for T values of t."""

    alpha: Tensor  # (R, T, k, r) overlaps p_j.v_i
    beta: Tensor  # (R, T, k, r) overlaps q_j.w_i
    w_norm: Tensor  # (R, T, k)
    v_norm: Tensor  # (R, T, k)
    angle: Tensor  # (R, T, k) between w_i and A^T v_i, in radians


@dataclass(frozen=True)
class LinearPhase:
    """Linear dynamics of R students W (R, k, d), V (R, r, k), for A (r, d) or (R, r, d)."""

    student: ReLUStudent
    A: Tensor
    lr: PerReplica
    activation: LeakyReLU = RELU

    def at(self, iterations: Tensor) -> Small:
        """Return the weights after the given iterations: (T,), or (R, T) if replicas differ."""
        U, s, Q = torch.linalg.svd(self.A, full_matrices=False)
        W, V = self.student
        alpha, beta = V.mT @ U, W @ Q.mT
        across = norm(W - beta @ Q).unsqueeze(1)
        s = s[..., None, None, :]
        mu = against(self.lr, alpha.unsqueeze(1)) * self.activation.odd * s
        t = torch.atleast_2d(iterations)[..., None, None]
        growing = ((alpha + beta) / 2).unsqueeze(1) * (1 + mu) ** t.to(W)
        decaying = ((alpha - beta) / 2).unsqueeze(1) * (1 - mu) ** t.to(W)
        alpha, beta = growing + decaying, growing - decaying
        outputs = norm(V.mT - (V.mT @ U) @ U.mT).unsqueeze(1)  # what is beyond the range of A
        w, v = torch.hypot(norm(beta), across), torch.hypot(norm(alpha), outputs)
        rest = across.expand_as(w).unsqueeze(-1)
        theta = angle(torch.cat([beta, rest], -1), pad(s * alpha, (0, 1)))
        return Small(alpha, beta, w, v, theta)

    def learned(self, small: Small) -> Tensor:
        """Return how much of direction j of A the effective map odd V W has, (R, T, r).

        It is sum_i odd alpha_ij beta_ij / s_j.
        """
        s: Tensor = torch.linalg.svdvals(self.A)
        s = s.unsqueeze(-2)
        parts = self.activation.odd * (small.alpha * small.beta).sum(-2) / s
        return parts.where(s > EPS * s[..., :1], math.nan)

    def times(self, steps: int) -> tuple[Tensor, Tensor]:
        """Return (T_align (R,), T_direction (R, r)) within `steps` iterations, else -1.

        T_align: the first iteration at which all neurons are within pi/20 of A^T v_i; -1 where some
        weights are larger than 0.1 sqrt(s_1) by then. T_direction: where linear growth would have
        brought direction j to s_j, which is where logistic growth brings it to s_j / 2. Directions
        that compete with one learned earlier come later.
        """
        R, r = self.student.replicas, self.A.shape[-2]
        limit = SMALL * torch.linalg.matrix_norm(self.A, ord=2).sqrt().unsqueeze(-1)
        align = torch.full((R,), -1)
        s = torch.linalg.svdvals(self.A)
        null = s <= EPS * s[..., :1]  # nothing to learn
        direction, small_yet = torch.full((R, r), -1), torch.ones(R, dtype=torch.bool)
        for start in range(0, steps + 1, BLOCK):
            iterations = torch.arange(start, min(start + BLOCK, steps + 1))
            small = self.at(iterations)
            size = torch.maximum(small.w_norm, small.v_norm).amax(-1)
            tiny = (size <= limit).cumprod(-1).bool() & small_yet.unsqueeze(-1)
            aligned = (small.angle <= ALIGNED).all(-1) & tiny
            align = first_time(align, start + _first(aligned, 1), aligned.any(1))
            learned = self.learned(small) >= 1
            direction = first_time(direction, start + _first(learned, 1), learned.any(1))
            small_yet = tiny[:, -1]
            if bool(((direction >= 0) | null).all() & ((align >= 0) | ~small_yet).all()):
                break
        return align, direction


def _first(event: Tensor, axis: int) -> Tensor:
    """Return the index of the first true value along an axis (0 where there is none)."""
    return event.int().argmax(axis)
