"""Population risk of Gaussian inputs, x ~ N(0, I): closed form and gradient."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from reludyn.activation import RELU, LeakyReLU
from reludyn.kernels import angle, norm, rows_at_once
from reludyn.notation import Evaluation, Gradient, Loss
from reludyn.risk import decomposition
from reludyn.risk.hessian import Hessian
from reludyn.student import ReLUStudent


class PopulationRisk:
    """L(W, V) = 1/2 E|V phi(W x) - A x|^2 over x ~ N(0, I), for A (r, d) and any k, r >= 1.

    phi(z) = odd z + even |z|, odd = even = 1/2 for ReLU. In the odd/even split
    (`reludyn.risk.decomposition`), with E = A - odd V W, S_ij = v_i.v_j, J_ij = E|w_i.x||w_j.x|
    and t_ij the angle between w_i and w_j,

        L        = 1/2 |E|_F^2 + even^2/2 sum_ij S_ij J_ij
        grad_w_i = -odd E^T v_i
                   + 2 even^2/pi sum_j S_ij (|w_j| sin t_ij u_i + (pi/2 - t_ij) w_j)
        grad_v_i = -odd E w_i + even^2 sum_j J_ij v_j

    which for ReLU is the paper's closed form regrouped, so that the residual E is formed once. The
    unit vector u_i of w_i = 0 is zero (the subgradient in the middle of all directions).
    """

    exact = False  # the value that comes with the gradient is rounded to 1e-16 |A|^2

    def __init__(self, A: Tensor, activation: LeakyReLU = RELU) -> None:
        self.A, self.activation = A, activation

    @property
    def resolution(self) -> float:
        """The value below which rounding rules, of the weights or (r > 1) of `loss`."""
        return decomposition.resolution(self.A)

    def evaluate(self, student: ReLUStudent) -> Evaluation:
        """Value (R,) and gradient. The arcsine of a rounded cosine is off by up to 1e-8, and so is
        the sine taken from the same cosine: to first order the two errors cancel in J and in the
        gradient."""
        W, V = student
        odd, even = self.activation.odd, self.activation.even
        turn, kernel, quadratic = _all_pairs(student)
        residual = self.A - odd * (V @ W)  # (R, r, d)
        grad_W = (2 * even**2 / math.pi) * turn - odd * (V.mT @ residual)
        grad_V = even**2 * kernel - odd * (residual @ W.mT)
        loss = residual.square().sum((-2, -1)) / 2 + even**2 / 2 * quadratic
        return Evaluation(loss, Gradient(grad_W, grad_V))

    def loss(self, student: ReLUStudent) -> Loss:
        """Value and parts (R,) to full relative precision (r = 1), never negative."""
        return decomposition.decompose(student, self.A, self.activation)

    def switched(self, before: ReLUStudent, after: ReLUStudent) -> Tensor:
        """P(sign(w_i.x) != sign(w'_i.x)) = angle(w_i, w'_i) / pi, (R, k)."""
        same = (before.W == after.W).all(-1)  # the angle of zero with itself is not zero
        return angle(before.W, after.W).masked_fill(same, 0.0) / math.pi

    def hessian(self, student: ReLUStudent) -> Hessian:
        """The second derivative at students."""
        return Hessian(student, self.A, self.activation)


class AnisotropicRisk(PopulationRisk):
    """The population risk over x ~ N(0, Sigma).

    With x = Sigma^{1/2} z it is the isotropic risk of the student W Sigma^{1/2} and the teacher
    A Sigma^{1/2}, and its gradient in W is the isotropic one times Sigma^{1/2}. Descent leaves the
    span of A and W(0). Colouring W rounds it: a loss L has a relative error of about
    1e-16 |A| / sqrt(L).
    """

    def __init__(
        self, A: Tensor, colour: Callable[[Tensor], Tensor], activation: LeakyReLU = RELU
    ) -> None:
        super().__init__(colour(A), activation)
        self.colour = colour  # rows -> rows Sigma^{1/2}

    def evaluate(self, student: ReLUStudent) -> Evaluation:
        """Value (R,) and gradient."""
        loss, gradient = super().evaluate(student.map_hidden(self.colour))
        return Evaluation(loss, gradient._replace(W=self.colour(gradient.W)))

    def loss(self, student: ReLUStudent) -> Loss:
        """Value and parts (R,), never negative."""
        return super().loss(student.map_hidden(self.colour))

    def switched(self, before: ReLUStudent, after: ReLUStudent) -> Tensor:
        """P(sign(w_i.x) != sign(w'_i.x)), (R, k)."""
        return super().switched(before.map_hidden(self.colour), after.map_hidden(self.colour))

    def hessian(self, student: ReLUStudent) -> Hessian:
        """The second derivative at students."""
        return replace(super().hessian(student.map_hidden(self.colour)), colour=self.colour)


def _all_pairs(student: ReLUStudent) -> tuple[Tensor, Tensor, Tensor]:
    """`_pairs` of all neurons with all, in blocks of rows: (R, k, d), (R, r, k), (R,)."""
    W, V = student
    length, rows = norm(W), rows_at_once(W)
    if rows >= student.width:
        return _pairs(W, V, length, student, length)
    turn, kernel, quadratic = torch.empty_like(W), torch.empty_like(V), torch.zeros_like(W[:, 0, 0])
    blocks = zip(*(x.split(rows, 1) for x in (turn, W, length)), strict=True)
    layers = zip(*(x.split(rows, 2) for x in (kernel, V)), strict=True)
    for (out_w, w, size), (out_v, v) in zip(blocks, layers, strict=True):
        one, other, sums = _pairs(w, v, size, student, length)
        out_w.copy_(one)
        out_v.copy_(other)
        quadratic += sums
    return turn, kernel, quadratic


def _pairs(
    w: Tensor, v: Tensor, size: Tensor, student: ReLUStudent, length: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """What some neurons i, w (R, b, d), v (R, r, b) and |w_i| (R, b), share with all j:
    sum_j S_ij (|w_j| sin t_ij u_i + (pi/2 - t_ij) w_j), (R, b, d); sum_j J_ij v_j, (R, r, b);
    sum_ij S_ij J_ij, (R,)."""
    W, V = student
    tiny = torch.finfo(W.dtype).tiny
    gram = w @ W.mT  # (R, b, k)
    area = size.unsqueeze(-1) * length.unsqueeze(-2)
    cosine = (gram / area.clamp_min(tiny)).clamp(-1, 1)
    sine = (1 - cosine * cosine).sqrt()
    complement = torch.asin(cosine)  # pi/2 - t
    S = v.mT @ V
    J = (2 / math.pi) * (area * sine + complement * gram)
    radial = (S * sine) @ length.unsqueeze(-1) / size.clamp_min(tiny).unsqueeze(-1)
    return (S * complement) @ W + radial * w, V @ J.mT, (S * J).sum((-2, -1))
