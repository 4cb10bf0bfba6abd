"""Programs for torch.compile: a few iterations of gradient descent on the population risk, with the
events of every iterate, in one call.

A program maps (batch, numbers) to a new batch: weights, and marks (4, R) in their precision, for
each replica one less than the iterations that it has still to make in this stretch, what that was
when it was first aligned and had first grown (inf: before this stretch, -inf: not yet), and its
ceiling. A replica moves while its loss lies between `floor` and its ceiling and iterations are
left. numbers (5 + r m,), or (5 + r m, R) where each replica has its own, are the loss of the zero
student, floor, the size of a grown |v_i|, the step sizes of both layers, and A.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cache, reduce
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from reludyn.dynamics.order_parameters import in_groups
from reludyn.dynamics.phases import phase_events
from reludyn.dynamics.rays import ALIGNED
from reludyn.network.activation import LeakyReLU
from reludyn.network.student import ReLUStudent
from reludyn.numerics.sizes import BLOCK
from reludyn.risk import PopulationRisk, pairs
from reludyn.risk.unrolled import MOST, Point, Vectors, dot, evaluate, products
from reludyn.system.compiler import Compiled

MOST_SUBSTEPS, SUBSTEPS = 6, 220  # products that are worth a call
TILE = 2**19  # numbers of a tile of `Pairs`
WIDE, WIDEST = 32, 128  # widths up to which pairs pay: for any number of replicas, for many
MANY = 8
Batch = tuple[Tensor, ...]
Marks = Sequence[Tensor]


class Form(Hashable, Protocol):
    """How a batch is laid out, and the program for it."""

    @property
    def axes(self) -> Sequence[int]:
        """Of the replicas, in each tensor of a batch."""

    @property
    def padding(self) -> int:
        """The number of replicas becomes a multiple of this: one program serves all numbers."""

    @property
    def seconds(self) -> float:
        """About how long the first call takes on one core, once on a machine: later programs find
        the compiler's cache."""

    @property
    def substeps(self) -> int:
        """Iterations a call makes."""

    @property
    def tile(self) -> int:
        """Replicas that go through a stretch together, so that a cache holds them."""

    def pack(self, student: ReLUStudent, marks: Tensor) -> Batch:
        """The batch of a student and marks (4, R)."""

    def unpack(self, batch: Batch) -> tuple[ReLUStudent, Tensor]:
        """Student and marks (4, R) of a batch."""

    def program(self, batch: Batch, numbers: Tensor) -> Batch:
        """A few iterations."""


@dataclass(frozen=True)
class Unrolled:
    """Narrow networks: one tensor (k m + k r + 4, R), rows w_i, then v_i, then marks; every sum is
    written out."""

    k: int
    m: int
    r: int
    activation: LeakyReLU
    axes: ClassVar[Sequence[int]] = (1,)
    padding: ClassVar[int] = 8
    tile: ClassVar[int] = 8192

    @property
    def seconds(self) -> float:
        return 6 + 0.06 * products(self.k, self.m, self.r)

    @property
    def substeps(self) -> int:
        return max(1, min(MOST_SUBSTEPS, SUBSTEPS // products(self.k, self.m, self.r)))

    def pack(self, student: ReLUStudent, marks: Tensor) -> Batch:
        return (torch.cat([student.W.flatten(1), student.V.mT.flatten(1), marks.mT], 1).mT,)

    def unpack(self, batch: Batch) -> tuple[ReLUStudent, Tensor]:
        k, m, r = self.k, self.m, self.r
        W, V, marks = batch[0].split([k * m, k * r, 4])
        W, V = W.mT.unflatten(1, (k, m)), V.mT.unflatten(1, (k, r)).mT
        return ReLUStudent(W.contiguous(), V.contiguous()), marks

    def program(self, batch: Batch, numbers: Tensor) -> Batch:
        k, m, r = self.k, self.m, self.r
        zero, floor, size, lr, output_lr = numbers[:5].unbind(0)
        A = [row.unbind(0)[:r] for row in numbers[5:].unflatten(0, (r, m)).unbind(0)]
        rows = batch[0].unbind(0)
        w = [list(rows[i * m : (i + 1) * m]) for i in range(k)]
        v = [list(rows[k * m + i * r : k * m + (i + 1) * r]) for i in range(k)]
        marks: Marks = rows[-4:]
        for _ in range(self.substeps):
            point = evaluate(w, v, A, zero, self.activation)
            margin, smallest = self._phases(point, w, v, A)
            marks, on = _marked(marks, point.loss, margin > 0, smallest >= size, floor)
            w = [_moved(x, g, on * lr) for x, g in zip(w, point.grad_w, strict=True)]
            v = [_moved(x, g, on * output_lr) for x, g in zip(v, point.grad_v, strict=True)]
        return (torch.stack([*(x for row in [*w, *v] for x in row), *marks]),)

    def _phases(
        self, point: Point, w: Vectors, v: Vectors, A: Sequence[Sequence[Tensor]]
    ) -> tuple[Tensor, Tensor]:
        """What is above zero where all are aligned, and the smallest |v|: as `phase_events`."""
        if not in_groups(self.r, self.k):
            sides = zip(point.inner, point.w_norm, point.target, strict=True)
            margins = [x - math.cos(ALIGNED) * y * z for x, y, z in sides]
            return reduce(torch.minimum, margins), reduce(torch.minimum, point.v_norm)
        largest = reduce(torch.maximum, point.v_norm)
        per_largest = 1 / largest.clamp_min(torch.finfo(largest.dtype).tiny)
        groups = []
        for sign in (1.0, -1.0):
            shares = [(sign * x[0]).relu() * per_largest for x in v]
            effective = [dot([row[c] for row in w], shares) for c in range(self.m)]
            length, size = dot(effective, effective).sqrt(), dot(shares, shares).sqrt()
            groups.append(_of_group(sign * A[0][0], effective[0], length, size, largest))
        of_margin, of_size = zip(*groups, strict=True)
        return torch.minimum(*of_margin), torch.minimum(*of_size)


@dataclass(frozen=True)
class Pairs:
    """Networks of some width: W (k, m, R), V (k, r, R) and marks (4, R); a list of pairs."""

    k: int
    m: int
    r: int
    activation: LeakyReLU
    axes: ClassVar[Sequence[int]] = (2, 2, 1)
    padding: ClassVar[int] = 16
    substeps: ClassVar[int] = 1

    @property
    def seconds(self) -> float:
        return 8 + 0.1 * self.k

    @property
    def tile(self) -> int:
        """An odd multiple of the padding: neurons that lie a power of two apart share the places
        in a cache."""
        numbers = 2 * self.k * (self.m + self.r) + 3 * self.k**2
        return TILE // numbers // 32 * 32 + 16

    def pack(self, student: ReLUStudent, marks: Tensor) -> Batch:
        return (student.W.movedim(0, -1), student.V.permute(2, 1, 0), marks)

    def unpack(self, batch: Batch) -> tuple[ReLUStudent, Tensor]:
        W, V, marks = batch
        return ReLUStudent(W.movedim(-1, 0).contiguous(), V.permute(2, 1, 0).contiguous()), marks

    def program(self, batch: Batch, numbers: Tensor) -> Batch:
        W, V, marks = batch
        zero, floor, size, lr, output_lr = numbers[:5].unbind(0)
        A = numbers[5:].unflatten(0, (self.r, self.m))[:, : self.r]
        point = pairs.evaluate(W, V, A, zero, self.activation)
        margin, smallest = self._phases(point, W, V, A)
        new, on = _marked(marks.unbind(0), point.loss, margin > 0, smallest >= size, floor)
        return (W - on * lr * point.grad_W, V - on * output_lr * point.grad_V, torch.stack([*new]))

    def _phases(self, point: pairs.Point, W: Tensor, V: Tensor, A: Tensor) -> tuple[Tensor, Tensor]:
        """As that of `Unrolled`."""
        if not in_groups(self.r, self.k):
            margin = point.inner - math.cos(ALIGNED) * point.w_norm * point.target
            return margin.amin(0), point.v_norm.amin(0)
        largest = point.v_norm.amax(0)
        per_largest = 1 / largest.clamp_min(torch.finfo(largest.dtype).tiny)
        groups = []
        for sign in (1.0, -1.0):
            shares = (sign * V[:, 0]).relu() * per_largest
            effective = (shares.unsqueeze(1) * W).sum(0)  # (m, R)
            length, size = effective.square().sum(0).sqrt(), shares.square().sum(0).sqrt()
            groups.append(_of_group(sign * A[0, 0], effective[0], length, size, largest))
        of_margin, of_size = zip(*groups, strict=True)
        return torch.minimum(*of_margin), torch.minimum(*of_size)


@dataclass(frozen=True)
class Matrices:
    """Wide networks: W (R, k, m), V (R, r, k) and marks (4, R); products of matrices."""

    k: int
    m: int
    r: int
    activation: LeakyReLU
    padding: int = 2  # programs for one replica are for nothing else
    axes: ClassVar[Sequence[int]] = (0, 0, 1)
    seconds: ClassVar[float] = 6.0
    substeps: ClassVar[int] = 1

    @property
    def tile(self) -> int:
        return max(1, BLOCK // (2 * self.k**2)) * 2

    def pack(self, student: ReLUStudent, marks: Tensor) -> Batch:
        return (*student, marks)

    def unpack(self, batch: Batch) -> tuple[ReLUStudent, Tensor]:
        return ReLUStudent(*batch[:2]), batch[2]

    def program(self, batch: Batch, numbers: Tensor) -> Batch:
        W, V, marks = batch
        floor, size, lr, output_lr = numbers[1:5].unbind(0)
        A, student = numbers[5:].unflatten(0, (self.r, self.m)), ReLUStudent(W, V)
        A = A.movedim(-1, 0) if A.ndim == 3 else A
        loss, gradient = PopulationRisk(A, self.activation).evaluate(student)
        new, on = _marked(marks.unbind(0), loss, *phase_events(student, A, size), floor)
        W = W - (on * lr).view(-1, 1, 1) * gradient.W
        V = V - (on * output_lr).view(-1, 1, 1) * gradient.V
        return (W, V, torch.stack([*new]))


def form_of(k: int, m: int, r: int, replicas: int, activation: LeakyReLU) -> Form:
    """The fastest form for a batch of so many replicas (docs/speed.md)."""
    if products(k, m, r) <= MOST:
        return Unrolled(k, m, r, activation)
    if 1 < k <= (WIDEST if replicas >= MANY else WIDE):
        return Pairs(k, m, r, activation)
    return Matrices(k, m, r, activation, padding=1 if replicas == 1 else 2)


@cache
def compiled(form: Form) -> Compiled:
    """The program of a form, compiled at its first call; the number of replicas may change."""
    return Compiled(form.program, max_fusion_size=10_000)  # a whole step is one loop


def _marked(
    marks: Marks, loss: Tensor, aligned: Tensor, grown: Tensor, floor: Tensor
) -> tuple[Marks, Tensor]:
    """The marks after an iterate, and 1 where a replica moves on from it, 0 elsewhere; by minima
    and maxima, since a CPU combines masks slowly."""
    left, align, growth, ceiling = marks
    align = torch.maximum(align, torch.where(aligned, left, -math.inf))
    growth = torch.maximum(growth, torch.minimum(torch.where(grown, left, -math.inf), align))
    room = torch.minimum(torch.minimum(loss - floor, ceiling - loss), left)
    on = (room >= 0).to(loss.dtype)
    return (left - on, align, growth, ceiling), on


def _of_group(
    a: Tensor, along: Tensor, length: Tensor, size: Tensor, largest: Tensor
) -> tuple[Tensor, Tensor]:
    """What is above zero where the effective neuron of a sign group is aligned with a number a in
    the first coordinate, and its |v|; size is that in units of the largest |v_i|. A group without
    neurons is aligned, unless there is no neuron at all, and has grown."""
    margin, somebody = a * along - math.cos(ALIGNED) * a.abs() * length, size > 0
    grown = torch.where(somebody, size * largest, math.inf)
    return torch.where(somebody, margin, largest), grown


def _moved(row: list[Tensor], gradient: list[Tensor], lr: Tensor) -> list[Tensor]:
    return [x - lr * g for x, g in zip(row, gradient, strict=True)]
