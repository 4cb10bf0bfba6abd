"""Population risk of Gaussian inputs, x ~ N(0, I): closed form and gradient."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from reludyn.notation import Evaluation, Gradient, Loss
from reludyn.risk import decomposition
from reludyn.student import ReLUStudent


class PopulationRisk:
    """L(W, V) = 1/2 E|V relu(W x) - A x|^2 over x ~ N(0, I), for A (r, d) and any k, r >= 1.

    In the odd/even split (`reludyn.risk.decomposition`), with E = A - V W / 2,
    S_ij = v_i.v_j, J_ij = E|w_i.x||w_j.x| and t_ij the angle between w_i and w_j,

        L        = 1/2 |E|_F^2 + 1/8 sum_ij S_ij J_ij
        grad_w_i = -1/2 E^T v_i + 1/(2 pi) sum_j S_ij (|w_j| sin t_ij u_i + (pi/2 - t_ij) w_j)
        grad_v_i = -1/2 E w_i   + 1/4 sum_j J_ij v_j

    which is the paper's closed form regrouped, so that the residual E is formed once. The unit
    vector u_i of w_i = 0 is zero (the subgradient in the middle of all directions).
    """

    def __init__(self, A: Tensor) -> None:
        self.A = A

    @property
    def resolution(self) -> float:
        """The value below which `loss` is rounding error: 0 for r = 1."""
        return decomposition.resolution(self.A)

    def evaluate(self, student: ReLUStudent) -> Evaluation:
        """Value (R,) and gradient. The arcsine of a rounded cosine is off by up to 1e-8, and so is
        the sine taken from the same cosine: to first order the two errors cancel in J and in the
        gradient."""
        W, V = student
        gram = W @ W.mT  # (R, k, k)
        length = gram.diagonal(dim1=-2, dim2=-1).sqrt()  # (R, k)
        area = length.unsqueeze(-1) * length.unsqueeze(-2)
        tiny = torch.finfo(W.dtype).tiny
        cosine = (gram / area.clamp_min(tiny)).clamp(-1, 1)
        sine = (1 - cosine * cosine).sqrt()
        complement = torch.asin(cosine)  # pi/2 - t

        S = V.mT @ V
        residual = self.A - V @ W / 2  # (R, r, d)
        J = (2 / math.pi) * (area * sine + complement * gram)
        radial = (S * sine) @ length.unsqueeze(-1) / length.clamp_min(tiny).unsqueeze(-1)
        grad_W = ((S * complement) @ W + radial * W) / (2 * math.pi) - V.mT @ residual / 2
        grad_V = V @ J / 4 - residual @ W.mT / 2
        loss = residual.square().sum((-2, -1)) / 2 + (S * J).sum((-2, -1)) / 8
        return Evaluation(loss, Gradient(grad_W, grad_V))

    def loss(self, student: ReLUStudent) -> Loss:
        """Value and parts (R,) to full relative precision (r = 1), never negative."""
        return decomposition.decompose(student, self.A)
