"""Empirical risk of a sample, full batch, in chunks of bounded memory."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from functools import cache, cached_property, partial, reduce

import torch
from torch import Tensor

from reludyn.data.layouts import Held, Tiled
from reludyn.data.samples import Samples
from reludyn.network.activation import RELU, LeakyReLU
from reludyn.network.notation import Evaluation, Gradient, Loss
from reludyn.network.student import ReLUStudent
from reludyn.numerics.sizes import CHUNK, numbers_per_row
from reludyn.risk import tiles
from reludyn.system.compiler import CannotCompile, Compiled, varying

INPUTS, HIDDEN = 2**21, 2**18  # how many numbers of X, and of preactivations, fit in a cache
FEWEST = 256  # rows per chunk below which a call costs more than it computes


class EmpiricalRisk:
    """Risk on n samples per replica, or n samples shared by all.

        L_n(W, V) = 1/(2n) sum_i |V phi(W x_i) - y_i|^2

    With Z = W X^T and the residual E = V phi(Z) - Y^T,

        grad_V = E phi(Z)^T / n          grad_W = (V^T E * phi'(Z)) X / n

    (phi'(0) is the left derivative, 0 for ReLU), summed over chunks of rows that fit in a cache.
    The sum of squares does not cancel, but each residual does: a loss L has a relative error of
    about 1e-16 |Y| / sqrt(n L).

    With `compiled` the sums are compiled programs. With `several` replicas, the last one that is
    still running is computed twice where a program would otherwise have to be compiled for one.
    """

    exact = True  # `evaluate` returns the same value as `loss`

    def __init__(
        self,
        samples: Samples,
        activation: LeakyReLU = RELU,
        compiled: bool = False,
        several: bool = False,
    ) -> None:
        self.samples, self.activation = samples, activation
        self.compiled, self.several = compiled, several

    @property
    def n(self) -> int:
        """Number of rows of a sample."""
        return self.samples.n

    @property
    def fixed(self) -> bool:
        """Whether samples are in memory and nothing is compiled (a program manages its memory)."""
        return isinstance(self.samples, Held) and not self.compiled

    @property
    def group(self) -> int:
        """Number of replicas whose samples a cache holds; all if samples are shared or streamed."""
        return self._cached

    @property
    def _cached(self) -> int:
        samples = self.samples
        if not isinstance(samples, Held) or samples.sets == 1:
            return sys.maxsize
        return max(1, INPUTS // samples.X[0].numel())

    @cached_property
    def resolution(self) -> float:
        """Value below which rounding of the residuals dominates: 16 eps^2 |Y|_F^2 / n."""
        squares, eps = 0.0, 0.0
        for _, Y in self.samples.chunks(self.samples.n):
            squares += float(Y.square().sum())
            eps = torch.finfo(Y.dtype).eps
        (whole,) = self._complete((torch.tensor(squares, dtype=torch.float64),))
        return 16 * eps**2 * float(whole) / (self.samples.sets * self.n)

    def evaluate(self, student: ReLUStudent) -> Evaluation:
        """Return value (R,) and gradient."""
        squares, grad_W, grad_V = self._complete(self._all_sums(student))
        n = self.n
        return Evaluation(squares / (2 * n), Gradient(grad_W / n, grad_V / n))

    def _all_sums(self, student: ReLUStudent) -> tuple[Tensor, ...]:
        """Return squares (R,), grad_W (R, k, d) and grad_V (R, r, k), times n."""
        if not (self.compiled and isinstance(self.samples, Tiled)):
            return self._over_chunks(student, partial(self._sums_of_rows, student))
        if student.replicas > self._cached:
            groups = torch.arange(student.replicas).split(self._cached)
            some = zip(groups, *(x.split(self._cached) for x in student), strict=True)
            parts = [self.select(group)._all_sums(ReLUStudent(W, V)) for group, W, V in some]
            return tuple(torch.cat(x) for x in zip(*parts, strict=True))
        try:
            program = tiles.program(self.activation, *student.W.shape[1:], student.V.shape[1])
            return _added(tiles.sums(program, *student, *x) for x in self._pieces)
        except CannotCompile:  # which is reported once
            return self._over_chunks(student, partial(self._sums_of_rows, student))

    @cached_property
    def _pieces(self) -> list[tuple[Tensor, Tensor]]:
        assert isinstance(self.samples, Tiled)
        return tiles.pieces(self.samples, INPUTS)

    def _sums_of_rows(self, student: ReLUStudent, X: Tensor, Y: Tensor) -> tuple[Tensor, ...]:
        """Return `_all_sums` for a chunk of rows."""
        Z = _preactivations(student.W, X)
        squares, back, grad_V = self._between(Z, student.V, Y.mT)
        return squares, _times(back, X), grad_V

    def _between(self, Z: Tensor, V: Tensor, Y: Tensor) -> tuple[Tensor, ...]:
        if not self.compiled:
            return _between(self.activation, Z, V, Y)
        z, v = Z, V
        y = Y.expand(len(Z), -1, -1).clone(memory_format=torch.contiguous_format)
        if self.several and len(Z) == 1:
            z, v, y = (x.repeat(2, 1, 1) for x in (z, v, y))
        given = varying(z, 0, 2), varying(v, 0), varying(y, 0, 2)
        try:
            program = _fused(self.activation, *V.shape[1:])
            found: tuple[Tensor, ...] = program(*given)
        except CannotCompile:  # which is reported once
            return _between(self.activation, Z, V, Y)
        return tuple(x[: len(Z)] for x in found)

    def loss(self, student: ReLUStudent) -> Loss:
        """Return the value and its parts, (R,) each.

        With phi(z) = odd z + even |z| the parts are 1/(2n) sum |y_i - odd V W x_i|^2 and
        even^2/(2n) sum |V abs(W x_i)|^2. On a finite sample odd and even functions are not
        orthogonal: the total differs from the sum of the parts by their cross term, of order
        1/sqrt(n).
        """

        def sums(X: Tensor, Y: Tensor) -> tuple[Tensor, ...]:
            Z = _preactivations(student.W, X)
            odd = self.activation.odd * (student.V @ Z) - Y.mT
            even = self.activation.even * (student.V @ Z.abs())
            return tuple(e.square().sum((-2, -1)) for e in (odd + even, odd, even))

        parts = self._complete(self._over_chunks(student, sums))
        return Loss(*(x / (2 * self.n) for x in parts))

    def select(self, replicas: Tensor) -> EmpiricalRisk:
        """Return the risk on the samples of some replicas, copied unless all replicas share one."""
        samples = self.samples.select(replicas)
        return EmpiricalRisk(samples, self.activation, self.compiled, self.several)

    def switched(self, before: ReLUStudent, after: ReLUStudent) -> Tensor:
        """Return the fraction of samples whose activation differs between two students, (R, k)."""

        def sums(X: Tensor, _: Tensor) -> tuple[Tensor, ...]:
            on = (_preactivations(one.W, X) > 0 for one in (before, after))
            return (torch.ne(*on).sum(-1),)

        (count,) = self._complete(self._over_chunks(after, sums))
        return count.to(after.W) / self.n

    def _complete(self, parts: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return sums over all rows from sums over the rows held here.

        They are the same unless other ranks hold further rows (`reludyn.risk.sharded`).
        """
        return parts

    def _over_chunks(
        self, student: ReLUStudent, sums: Callable[[Tensor, Tensor], tuple[Tensor, ...]]
    ) -> tuple[Tensor, ...]:
        """Return sums over all rows from sums over chunks."""
        (R, k, d), r = student.W.shape, student.V.shape[1]
        most = CHUNK // (R * numbers_per_row(k, 0, r) + self.samples.sets * d)  # memory
        cached = max(FEWEST, min(INPUTS // d, HIDDEN // (R * k)))
        return _added(sums(X, Y) for X, Y in self.samples.chunks(max(1, min(most, cached))))


def _added(parts: Iterable[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    return reduce(lambda a, b: tuple(x + y for x, y in zip(a, b, strict=True)), parts)


def _between(activation: LeakyReLU, Z: Tensor, V: Tensor, Y: Tensor) -> tuple[Tensor, ...]:
    """Compute all that comes between the products with X, for a chunk of c rows.

    From preactivations Z (R, k, c) and labels Y (S, r, c) return the squares of the residuals (R,),
    V^T E * phi'(Z) (R, k, c) and E phi(Z)^T (R, r, k).
    """
    hidden = activation(Z)
    error = V @ hidden - Y
    back = (V.mT @ error) * activation.derivative(Z)
    return error.square().sum((-2, -1)), back, error @ hidden.mT


@cache
def _fused(activation: LeakyReLU, *sizes: int) -> Compiled:
    """Return `_between` compiled, one program for each r and k."""
    return Compiled(partial(_between, activation))


def _preactivations(W: Tensor, X: Tensor) -> Tensor:
    """Return W X^T (R, k, c) for X (S, c, d)."""
    return _times(W, X.mT)


def _times(left: Tensor, right: Tensor) -> Tensor:
    """Multiply (R, k, a) by (S, a, b): one product of tall matrices where S = 1."""
    if len(right) > 1 or len(left) == 1:
        return left @ right
    R, k, _ = left.shape
    return (left.flatten(0, 1) @ right.squeeze(0)).view(R, k, -1)
