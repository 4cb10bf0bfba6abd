"""The subspace in which descent on the population risk stays."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from reludyn.network.student import ReLUStudent
from reludyn.network.teacher import LinearTeacher


@dataclass(frozen=True)
class InvariantSubspace:
    """Orthonormal coordinates of span(rows of A, rows of W(0)), one basis per replica.

    For isotropic inputs the population gradient of w_i lies in that span, so descent never leaves
    it: W B (R, k, m) with m = min(d, k + r) has *the same* trajectory as W (R, k, d), at a cost
    that does not depend on d. The first r basis vectors span the rows of A and are the same for
    all replicas, hence so is A B; the components of W across A keep their full relative precision.

    `basis` is B (R, d, m) with orthonormal columns, `teacher` is A B.
    """

    basis: Tensor
    teacher: LinearTeacher

    @staticmethod
    def spanned(teacher: LinearTeacher, student: ReLUStudent) -> InvariantSubspace:
        """Return the subspace of these initial weights (float64, on the CPU)."""
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
        """Return A B (r, m) for another teacher whose rows span the same space."""
        r, m = self.teacher.A.shape
        return _reduced(teacher, self.basis[0, :, :r], m)

    def of(self, replicas: slice, teacher: LinearTeacher) -> InvariantSubspace:
        """Return the subspace of some replicas, which have this teacher."""
        return InvariantSubspace(self.basis[replicas], LinearTeacher(self.target(teacher)))

    def reduce(self, student: ReLUStudent) -> ReLUStudent:
        """Map W (R, k, d) to W B (R, k, m)."""
        return student.map_hidden(lambda W: W @ self.basis.to(W))

    def lift(self, student: ReLUStudent) -> ReLUStudent:
        """Map W B (R, k, m) back to W (R, k, d), also for the first few replicas alone."""
        return student.map_hidden(lambda W: W @ self.basis[: len(W)].to(W).mT)


def _reduced(teacher: LinearTeacher, directions: Tensor, m: int) -> Tensor:
    """Return A (r, m) in coordinates whose first r are along `directions` (d, r), the span of A."""
    A = torch.zeros(teacher.outputs, m, dtype=torch.float64)
    A[:, : teacher.outputs] = teacher.A @ directions
    return A
