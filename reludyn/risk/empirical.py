"""Empirical risk of a sample, full batch, in chunks of bounded memory."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache, cached_property, partial, reduce

import torch
from torch import Tensor

from reludyn.activation import RELU, LeakyReLU
from reludyn.compiler import CannotCompile, Compiled
from reludyn.data.samples import Resident, Samples
from reludyn.memory import CHUNK, numbers_a_row
from reludyn.notation import Evaluation, Gradient, Loss
from reludyn.student import ReLUStudent

INPUTS, HIDDEN = 2**21, 2**18  # numbers of X, and of preactivations, that a cache holds
FEWEST = 256  # rows that are worth a call
NARROW = 4  # the width up to which neurons are written out


class EmpiricalRisk:
    """L_n(W, V) = 1/(2n) sum_i |V phi(W x_i) - y_i|^2 on n samples a replica, or shared by all.

    With Z = W X^T and the residual E = V phi(Z) - Y^T,

        grad_V = E phi(Z)^T / n          grad_W = (V^T E * phi'(Z)) X / n

    (phi'(0) is the left derivative, 0 for ReLU), summed over chunks of rows that a cache holds. The
    sum of squares does not cancel, but each residual does: a loss L has a relative error of about
    1e-16 |Y| / sqrt(n L).
    """

    exact = True  # the value that comes with the gradient is that of `loss`

    def __init__(
        self, samples: Samples, activation: LeakyReLU = RELU, compiled: bool = False
    ) -> None:
        self.samples, self.activation, self.compiled = samples, activation, compiled

    @property
    def group(self) -> int:
        """As many as a cache holds the samples of; all where samples are shared or streamed."""
        samples = self.samples
        if not isinstance(samples, Resident) or len(samples.X) == 1:
            return sys.maxsize
        return max(1, INPUTS // samples.X[0].numel())

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
        sums = partial(self._gradient_sums, *student)
        n = self.samples.n
        squares, grad_W, grad_V = self._over_chunks(student, sums)
        return Evaluation(squares / (2 * n), Gradient(grad_W / n, grad_V / n))

    def _gradient_sums(self, W: Tensor, V: Tensor, X: Tensor, Y: Tensor) -> tuple[Tensor, ...]:
        """Squares (R,), grad_W (R, k, d) and grad_V (R, r, k), times n, of a chunk of rows."""
        if self.compiled:
            try:
                if W.shape[1] <= NARROW and len(X) == len(W):
                    forward, backward = _written_out(self.activation)
                    squares, back, grad_V = forward(W, V, X, Y)
                    return squares, backward(back, X), grad_V
                fused: tuple[Tensor, ...] = _fused(self.activation)(W, V, X, Y)
                return fused
            except CannotCompile:  # said once
                pass
        return _gradient_sums(self.activation, W, V, X, Y)

    def loss(self, student: ReLUStudent) -> Loss:
        """Value and parts (R,): 1/(2n) sum |y_i - odd V W x_i|^2 and
        even^2/(2n) sum |V abs(W x_i)|^2, with phi(z) = odd z + even |z|.

        On a finite sample odd and even functions are not orthogonal: total differs from the sum of
        the parts by their cross term, of order 1/sqrt(n).
        """

        def sums(X: Tensor, Y: Tensor) -> tuple[Tensor, ...]:
            Z = _preactivations(student.W, X)
            odd = self.activation.odd * (student.V @ Z) - Y.mT
            even = self.activation.even * (student.V @ Z.abs())
            return tuple(e.square().sum((-2, -1)) for e in (odd + even, odd, even))

        return Loss(*(x / (2 * self.samples.n) for x in self._over_chunks(student, sums)))

    def take(self, replicas: Tensor) -> EmpiricalRisk:
        """On the samples of some replicas: copied, unless all replicas share one."""
        return EmpiricalRisk(self.samples.take(replicas), self.activation, self.compiled)

    def switched(self, before: ReLUStudent, after: ReLUStudent) -> Tensor:
        """Fraction of the samples whose activation differs between two students, (R, k)."""

        def sums(X: Tensor, _: Tensor) -> tuple[Tensor, ...]:
            on = (_preactivations(one.W, X) > 0 for one in (before, after))
            return (torch.ne(*on).sum(-1),)

        (count,) = self._over_chunks(after, sums)
        return count.to(after.W) / self.samples.n

    def _over_chunks(
        self, student: ReLUStudent, sums: Callable[[Tensor, Tensor], tuple[Tensor, ...]]
    ) -> tuple[Tensor, ...]:
        """Sums over all rows, from those over a chunk."""
        (R, k, d), r = student.W.shape, student.V.shape[1]
        most = CHUNK // (R * numbers_a_row(k, d, r))  # memory
        cached = max(FEWEST, min(INPUTS // d, HIDDEN // (R * k)))
        parts = (sums(X, Y) for X, Y in self.samples.chunks(max(1, min(most, cached))))
        return reduce(lambda a, b: tuple(x + y for x, y in zip(a, b, strict=True)), parts)


def _gradient_sums(
    activation: LeakyReLU, W: Tensor, V: Tensor, X: Tensor, Y: Tensor
) -> tuple[Tensor, ...]:
    Z = _preactivations(W, X)
    hidden = activation(Z)
    error = V @ hidden - Y.mT  # (R, r, c)
    back = (V.mT @ error) * activation.derivative(Z)
    return error.square().sum((-2, -1)), _times(back, X), error @ hidden.mT


@cache
def _fused(activation: LeakyReLU) -> Compiled:
    """`_gradient_sums`, compiled: what is between the products becomes one loop."""
    return Compiled(partial(_gradient_sums, activation))


@cache
def _written_out(activation: LeakyReLU) -> tuple[Compiled, Compiled]:
    """`_gradient_sums` of narrow networks in two compiled parts, in which all neurons share one
    pass over X: squares, V^T E * phi'(Z) and grad_V; then grad_W."""

    def forward(W: Tensor, V: Tensor, X: Tensor, Y: Tensor) -> tuple[Tensor, ...]:
        neurons, outputs = range(W.shape[1]), range(V.shape[1])
        Z = [(X.mT * W[:, i].unsqueeze(-1)).sum(1) for i in neurons]  # (R, c) each
        hidden = [activation(z) for z in Z]
        error = [sum(V[:, o, i, None] * hidden[i] for i in neurons) - Y[..., o] for o in outputs]
        back = [
            sum(V[:, o, i, None] * error[o] for o in outputs) * activation.derivative(Z[i])
            for i in neurons
        ]
        grad_V = [torch.stack([(e * h).sum(-1) for h in hidden], -1) for e in error]
        squares = torch.stack([e.square().sum(-1) for e in error]).sum(0)
        return squares, torch.stack(back, 1), torch.stack(grad_V, 1)

    def backward(back: Tensor, X: Tensor) -> Tensor:
        return torch.stack([(X.mT * b.unsqueeze(1)).sum(-1) for b in back.unbind(1)], 1)

    return Compiled(forward), Compiled(backward)


def _preactivations(W: Tensor, X: Tensor) -> Tensor:
    """W X^T for X (S, c, d): (R, k, c)."""
    return _times(W, X.mT)


def _times(left: Tensor, right: Tensor) -> Tensor:
    """(R, k, a) times (S, a, b): one product of tall matrices where S = 1."""
    if len(right) > 1 or len(left) == 1:
        return left @ right
    R, k, _ = left.shape
    return (left.flatten(0, 1) @ right.squeeze(0)).view(R, k, -1)
