"""Population risk of Gaussian inputs, x ~ N(0, I): closed form and gradient."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from copy import copy
from dataclasses import replace

import torch
from torch import Tensor

from reludyn.network.activation import RELU, LeakyReLU
from reludyn.network.notation import Evaluation, Gradient, Loss
from reludyn.network.student import ReLUStudent, check_layers
from reludyn.numerics.kernels import angle, norm, rows_at_once
from reludyn.risk import decomposition
from reludyn.risk.hessian import Hessian


class PopulationRisk:
    """Risk L(W, V) = 1/2 E|V phi(W x) - A x|^2 over x ~ N(0, I), for any k, r >= 1.

    phi(z) = odd z + even |z|, odd = even = 1/2 for ReLU. With S_ij = v_i.v_j, t_ij the angle
    between w_i and w_j, c = 2 even^2/pi, q_ij = odd^2 + c (pi/2 - t_ij) and the kernel
    P_ij = E phi(w_i.x) phi(w_j.x) = q_ij w_i.w_j + c |w_i||w_j| sin t_ij,

        L        = 1/2 |A|_F^2 - odd <V, A W^T> + 1/2 sum_ij S_ij P_ij
        grad_w_i = -odd A^T v_i + sum_j S_ij (q_ij w_j + c |w_j| sin t_ij u_i)
        grad_v_i = -odd A w_i + sum_j P_ij v_j

    which for ReLU is the paper's closed form. The unit vector u_i of w_i = 0 is zero (the
    subgradient in the middle of all directions).

    Args:
        A: teacher (r, d) for all replicas, or (R, r, d); its precision and device are those of the
            risk.
        activation: phi, by default ReLU.

    Examples:
        >>> import torch, reludyn
        >>> risk = reludyn.PopulationRisk(torch.tensor([[1.0, 0.0]], dtype=torch.float64))
        >>> W = torch.tensor([[[1.0, 0.0], [-1.0, 0.0]]], dtype=torch.float64)
        >>> V = torch.tensor([[[1.0, -1.0]]], dtype=torch.float64)
        >>> float(risk.loss(reludyn.ReLUStudent(W, V)).total)  # a global minimum
        0.0
        >>> float(risk.loss(reludyn.ReLUStudent(0 * W, 0 * V)).total)  # |a|^2 / 2
        0.5
    """

    exact = False  # `evaluate` rounds the value to 1e-16 |A|^2, `loss` does not
    group = sys.maxsize  # all replicas at once
    fixed = True

    def __init__(self, A: Tensor, activation: LeakyReLU = RELU) -> None:
        self.A, self.activation = A, activation
        self.pull = activation.odd * A
        self.zero_loss = A.square().sum((-2, -1)) / 2  # the loss of the zero student

    @property
    def resolution(self) -> float:
        """Value below which the rounding of the weights or (r > 1) of `loss` dominates."""
        return decomposition.resolution(self.A)

    def evaluate(self, student: ReLUStudent) -> Evaluation:
        """Return value (R,) and gradient.

        The arcsine of a rounded cosine is off by up to 1e-8, and so is the sine taken from the same
        cosine: to first order the two errors cancel in P and in the gradient.

        Args:
            student: weights W (R, k, d), V (R, r, k).
        """
        W, V = student
        along = self.pull @ W.mT  # (R, r, k)
        of_W, of_V, quadratic = self._all_pairs(student)
        loss = self.zero_loss - (V * along).sum((-2, -1)) + quadratic / 2
        return Evaluation(loss, Gradient(of_W - V.mT @ self.pull, of_V - along))

    def loss(self, student: ReLUStudent) -> Loss:
        """Return the value and its parts (R,), never negative.

        For r = 1 they have full relative precision.

        Args:
            student: weights W (R, k, d), V (R, r, k).

        Raises:
            ValueError: for weights that do not fit A.
        """
        check_layers(student, self.A)
        return decomposition.decompose(student, self.A, self.activation)

    def select(self, replicas: Tensor) -> PopulationRisk:
        """Return the risk of some replicas; itself where it is the same for all."""
        return self if self.A.ndim == 2 else self._at(replicas)

    def of(self, replica: int) -> PopulationRisk:
        """Return the risk of one replica, for any number of students."""
        return self if self.A.ndim == 2 else self._at(replica)

    def _at(self, place: Tensor | int) -> PopulationRisk:
        part = copy(self)
        part.A, part.pull, part.zero_loss = self.A[place], self.pull[place], self.zero_loss[place]
        return part

    def switched(self, before: ReLUStudent, after: ReLUStudent) -> Tensor:
        """Return P(sign(w_i.x) != sign(w'_i.x)) = angle(w_i, w'_i) / pi, (R, k)."""
        same = (before.W == after.W).all(-1)  # the angle of zero with itself is not zero
        return angle(before.W, after.W).masked_fill(same, 0.0) / math.pi

    def hessian(self, student: ReLUStudent) -> Hessian:
        """Return the second derivative at students W (R, k, d), V (R, r, k)."""
        return Hessian(student, self.A, self.activation)

    def _all_pairs(self, student: ReLUStudent) -> tuple[Tensor, Tensor, Tensor]:
        """Return `_pairs` of all neurons with all, in blocks of rows: (R, k, d), (R, r, k), (R,)"""
        W, V = student
        length, rows = norm(W), rows_at_once(W)
        if rows >= student.width:
            return self._pairs(W, V, length, student, length)
        of_W, of_V, total = torch.empty_like(W), torch.empty_like(V), torch.zeros_like(W[:, 0, 0])
        blocks = zip(*(x.split(rows, 1) for x in (of_W, W, length)), strict=True)
        layers = zip(*(x.split(rows, 2) for x in (of_V, V)), strict=True)
        for (out_w, w, size), (out_v, v) in zip(blocks, layers, strict=True):
            one, other, quadratic = self._pairs(w, v, size, student, length)
            out_w.copy_(one)
            out_v.copy_(other)
            total += quadratic
        return of_W, of_V, total

    def _pairs(
        self, w: Tensor, v: Tensor, size: Tensor, student: ReLUStudent, length: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return what some neurons i share with all neurons j.

        The neurons i have w (R, b, d), v (R, r, b) and |w_i| (R, b). They share
        sum_j S_ij (q_ij w_j + c |w_j| sin t_ij u_i), (R, b, d); sum_j P_ij v_j, (R, r, b);
        sum_ij S_ij P_ij, (R,).
        """
        W, V = student
        c, tiny = 2 * self.activation.even**2 / math.pi, torch.finfo(W.dtype).tiny
        gram, S = w @ W.mT, v.mT @ V  # (R, b, k)
        area = size.unsqueeze(-1) * length.unsqueeze(-2)
        cosine = (gram / area.clamp_min(tiny)).clamp(-1, 1)
        sine = c * (1 - cosine * cosine).sqrt()
        q = c * torch.asin(cosine) + self.activation.odd**2
        P = q * gram + area * sine
        radial = (S * sine) @ length.unsqueeze(-1) / size.clamp_min(tiny).unsqueeze(-1)
        return (S * q) @ W + radial * w, V @ P.mT, (S * P).sum((-2, -1))


class AnisotropicRisk(PopulationRisk):
    """Population risk over x ~ N(0, Sigma).

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
        """Return value (R,) and gradient."""
        loss, gradient = super().evaluate(student.map_hidden(self.colour))
        return Evaluation(loss, gradient._replace(W=self.colour(gradient.W)))

    def loss(self, student: ReLUStudent) -> Loss:
        """Return the value and its parts (R,), never negative."""
        return super().loss(student.map_hidden(self.colour))

    def switched(self, before: ReLUStudent, after: ReLUStudent) -> Tensor:
        """Return P(sign(w_i.x) != sign(w'_i.x)), (R, k)."""
        return super().switched(before.map_hidden(self.colour), after.map_hidden(self.colour))

    def hessian(self, student: ReLUStudent) -> Hessian:
        """Return the second derivative at students."""
        return replace(super().hessian(student.map_hidden(self.colour)), colour=self.colour)
