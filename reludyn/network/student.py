"""The student f(x) = V relu(W x), and the invariant subspace in which it trains."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from reludyn.network.activation import RELU, LeakyReLU
from reludyn.network.teacher import LinearTeacher


class ReLUStudent(NamedTuple):
    """Weights of R students: W (R, k, d) with rows w_i, V (R, r, k) with columns v_i; no biases."""

    W: Tensor
    V: Tensor

    @property
    def replicas(self) -> int:
        return self.W.shape[0]

    @property
    def width(self) -> int:
        return self.W.shape[1]

    def __call__(self, x: Tensor, activation: LeakyReLU = RELU) -> Tensor:
        """f(x) = V phi(W x): x (n, d) or (R, n, d) -> (R, n, r)."""
        return activation(x @ self.W.mT) @ self.V.mT

    def map(self, change: Callable[[Tensor], Tensor]) -> ReLUStudent:
        """The same change to both layers."""
        return ReLUStudent(change(self.W), change(self.V))

    def map_hidden(self, change: Callable[[Tensor], Tensor]) -> ReLUStudent:
        """A change to W alone."""
        return ReLUStudent(change(self.W), self.V)

    def to(self, device: torch.device | str, dtype: torch.dtype) -> ReLUStudent:
        return self.map(lambda x: x.to(device=device, dtype=dtype))

    def split(self, replicas: int) -> Sequence[ReLUStudent]:
        """Blocks of at most so many replicas."""
        pairs = zip(self.W.split(replicas), self.V.split(replicas), strict=True)
        return [ReLUStudent(W, V) for W, V in pairs]


def check_layers(student: ReLUStudent, A: Tensor) -> None:
    """Raise ValueError where weights are not W (R, k, d) and V (R, r, k), for A (r, d) or one of
    each replica (R, r, d)."""
    given = (*student, A)
    shapes = [tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__ for x in given]
    if [len(shape) for shape in shapes[:2]] == [3, 3] and len(shapes[-1]) in (2, 3):
        R, k, d = shapes[0]
        r = shapes[-1][-2]
        if shapes[1] == (R, r, k) and shapes[-1] in ((r, d), (R, r, d)):
            return
    named = ", ".join(f"{name} {shape}" for name, shape in zip("WVA", shapes, strict=False))
    raise ValueError(f"must be tensors W (R, k, d), V (R, r, k), A (r, d); these are {named}")


def stacked(students: Sequence[ReLUStudent]) -> ReLUStudent:
    """The replicas of several, one behind the other."""
    return ReLUStudent(*(torch.cat(layers) for layers in zip(*students, strict=True)))


@dataclass(frozen=True)
class InvariantSubspace:
    """Orthonormal coordinates of span(rows of A, rows of W(0)), one basis a replica.

    For isotropic inputs the population gradient of w_i lies in that span, so descent never leaves
    it: W B (R, k, m) with m = min(d, k + r) has *the same* trajectory as W (R, k, d), at a cost
    that does not depend on d. The first r basis vectors span the rows of A and are the same for
    all replicas, hence so is A B; the components of W across A keep their full relative precision.

    basis B (R, d, m) with orthonormal columns; teacher A B.
    """

    basis: Tensor
    teacher: LinearTeacher

    @staticmethod
    def spanned(teacher: LinearTeacher, student: ReLUStudent) -> InvariantSubspace:
        """The subspace of these initial weights (float64, on the CPU)."""
        R, k, d = student.W.shape
        r = teacher.outputs
        along = teacher.directions.expand(R, d, r)
        across = student.W.mT - along @ (along.mT @ student.W.mT)
        if k + r < d:
            basis = torch.linalg.qr(torch.cat([along, across], -1)).Q
        else:  # all of R^d: complete the rows of A
            basis = torch.linalg.qr(teacher.directions, mode="complete").Q.expand(R, d, d)
        basis = torch.cat([along, basis[..., r:]], -1)
        reduced = _reduced(teacher, teacher.directions, basis.shape[-1])
        return InvariantSubspace(basis, LinearTeacher(reduced))

    def target(self, teacher: LinearTeacher) -> Tensor:
        """A B (r, m) of another teacher whose rows span the same space."""
        r, m = self.teacher.A.shape
        return _reduced(teacher, self.basis[0, :, :r], m)

    def of(self, replicas: slice, teacher: LinearTeacher) -> InvariantSubspace:
        """That of some replicas, which have this teacher."""
        return InvariantSubspace(self.basis[replicas], LinearTeacher(self.target(teacher)))

    def reduce(self, student: ReLUStudent) -> ReLUStudent:
        """W (R, k, d) -> W B (R, k, m)."""
        return student.map_hidden(lambda W: W @ self.basis.to(W))

    def lift(self, student: ReLUStudent) -> ReLUStudent:
        """W B (R, k, m) -> W (R, k, d); also of the first few replicas alone."""
        return student.map_hidden(lambda W: W @ self.basis[: len(W)].to(W).mT)


def _reduced(teacher: LinearTeacher, directions: Tensor, m: int) -> Tensor:
    """A in coordinates (r, m) of which the first r are along these directions (d, r), which span
    its rows."""
    A = torch.zeros(teacher.outputs, m, dtype=torch.float64)
    A[:, : teacher.outputs] = teacher.A @ directions
    return A
