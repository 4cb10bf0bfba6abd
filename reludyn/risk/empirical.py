"""Empirical risk of a sample, full batch, in chunks of bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, reduce

import torch
from torch import Tensor

from reludyn.activation import RELU, LeakyReLU
from reludyn.data.samples import Samples
from reludyn.memory import CHUNK, numbers_a_row
from reludyn.notation import Evaluation, Gradient, Loss
from reludyn.student import ReLUStudent


class EmpiricalRisk:
    """L_n(W, V) = 1/(2n) sum_i |V phi(W x_i) - y_i|^2 on n samples a replica, or shared by all.

    With Z = X W^T and the residual E = phi(Z) V^T - Y,

        grad_V = E^T phi(Z) / n          grad_W = ((E V) * phi'(Z))^T X / n

    (phi'(0) is the left derivative, 0 for ReLU), summed over chunks of rows. The sum of squares
    does not cancel, but each residual does: a loss L has a relative error of about
    1e-16 |Y| / sqrt(n L).
    """

    exact = True  # the value that comes with the gradient is that of `loss`

    def __init__(self, samples: Samples, activation: LeakyReLU = RELU) -> None:
        self.samples, self.activation = samples, activation

    @cached_property
    def resolution(self) -> float:
        """The value below which rounding of the residuals rules: 16 eps^2 |Y|_F^2 / n."""
        squares, eps, S = 0.0, 0.0, 1
        for _, Y in self.samples.chunks(self.samples.n):
            squares += float(Y.square().sum())
            eps, S = torch.finfo(Y.dtype).eps, len(Y)
        return 16 * eps**2 * squares / (S * self.samples.n)

    def evaluate(self, student: ReLUStudent) -> Evaluation:
        """Value (R,) and gradient."""

        def sums(X: Tensor, Y: Tensor) -> tuple[Tensor, ...]:
            Z = X @ student.W.mT  # (R, c, k)
            hidden = self.activation(Z)
            error = hidden @ student.V.mT - Y  # (R, c, r)
            back = (error @ student.V) * self.activation.derivative(Z)
            return error.square().sum((-2, -1)), back.mT @ X, error.mT @ hidden

        n = self.samples.n
        squares, grad_W, grad_V = self._over_chunks(student, sums)
        return Evaluation(squares / (2 * n), Gradient(grad_W / n, grad_V / n))

    def loss(self, student: ReLUStudent) -> Loss:
        """Value and parts (R,): 1/(2n) sum |y_i - odd V W x_i|^2 and
        even^2/(2n) sum |V abs(W x_i)|^2, with phi(z) = odd z + even |z|.

        On a finite sample odd and even functions are not orthogonal: total differs from the sum of
        the parts by their cross term, of order 1/sqrt(n).
        """

        def sums(X: Tensor, Y: Tensor) -> tuple[Tensor, ...]:
            Z = X @ student.W.mT
            odd = self.activation.odd * (Z @ student.V.mT) - Y
            even = self.activation.even * (Z.abs() @ student.V.mT)
            return tuple(e.square().sum((-2, -1)) for e in (odd + even, odd, even))

        return Loss(*(x / (2 * self.samples.n) for x in self._over_chunks(student, sums)))

    def take(self, replicas: Tensor) -> EmpiricalRisk:
        """On the samples of some replicas: copied, unless all replicas share one."""
        return EmpiricalRisk(self.samples.take(replicas), self.activation)

    def switched(self, before: ReLUStudent, after: ReLUStudent) -> Tensor:
        """Fraction of the samples whose activation differs between two students, (R, k)."""

        def sums(X: Tensor, _: Tensor) -> tuple[Tensor, ...]:
            on = (X @ one.W.mT > 0 for one in (before, after))
            return (torch.ne(*on).sum(-2),)

        (count,) = self._over_chunks(after, sums)
        return count.to(after.W) / self.samples.n

    def _over_chunks(
        self, student: ReLUStudent, sums: Callable[[Tensor, Tensor], tuple[Tensor, ...]]
    ) -> tuple[Tensor, ...]:
        """Sums over all rows, from those over a chunk."""
        (R, k, d), r = student.W.shape, student.V.shape[1]
        chunks = self.samples.chunks(max(1, CHUNK // (R * numbers_a_row(k, d, r))))
        parts = (sums(X, Y) for X, Y in chunks)
        return reduce(lambda a, b: tuple(x + y for x, y in zip(a, b, strict=True)), parts)
