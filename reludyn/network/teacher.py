"""The linear teacher y = A x."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from reludyn.numerics.random import stream
from reludyn.system.errors import ConfigError


@dataclass(frozen=True)
class LinearTeacher:
    """Teacher y = A x with A (r, d), r <= d, in float64 on the CPU.

    For r = 1 the paper writes y = a^T x; its single singular value is |a|.
    """

    A: Tensor

    def __post_init__(self) -> None:
        r, d = self.A.shape
        if r > d:
            raise ConfigError("data.outputs", r, f"must be at most data.dim={d}")

    @property
    def outputs(self) -> int:
        return self.A.shape[0]

    @property
    def inputs(self) -> int:
        return self.A.shape[1]

    @cached_property
    def zero_loss(self) -> float:
        """|A|_F^2 / 2, the population risk of the zero student: the unit of a loss."""
        return float(self.A.square().sum()) / 2

    @cached_property
    def singular_values(self) -> Tensor:
        """Singular values of A (r,), descending."""
        values: Tensor = torch.linalg.svdvals(self.A)
        return values

    @cached_property
    def smallest_scale(self) -> float:
        """Smallest non-zero singular value of A, that of the slowest direction; |a| for r = 1."""
        s = self.singular_values
        return float(s[s > s[0] * self.inputs * torch.finfo(s.dtype).eps].min())

    @cached_property
    def directions(self) -> Tensor:
        """Orthonormal columns (d, r) that span the rows of A.

        Their signs make the diagonal of A @ directions positive wherever A is a multiple of an
        orthonormal frame.
        """
        U, _, Q = torch.linalg.svd(self.A, full_matrices=False)
        frame = (U @ Q).mT  # the orthonormal factor of the polar decomposition, A = S (U Q)
        return torch.where(frame.abs() < torch.finfo(frame.dtype).eps, 0.0, frame)

    def __call__(self, x: Tensor) -> Tensor:
        """Map inputs (..., d) to outputs (..., r)."""
        return x @ self.A.mT.to(x)


def axis_teacher(r: int, d: int, norm: float = 1.0) -> LinearTeacher:
    """Return A = norm [e_1 .. e_r]^T: every singular value equals norm (the paper has norm = 1)."""
    return LinearTeacher(norm * torch.eye(r, d, dtype=torch.float64))


def least_squares_teacher(X: Tensor, Y: Tensor) -> LinearTeacher:
    """Return the A of minimal norm that minimises |X A^T - Y|_F, for X (n, d) and Y (n, r)."""
    return LinearTeacher((torch.linalg.pinv(X) @ Y).mT.contiguous())


def random_teacher(r: int, d: int, norm: float = 1.0, seed: int = 0) -> LinearTeacher:
    """Return norm times r orthonormal rows, uniform (Haar) among all frames."""
    gaussian = stream(seed, "target").standard_normal((d, r))
    Q, triangle = np.linalg.qr(gaussian)
    return LinearTeacher(norm * torch.from_numpy((Q * np.sign(np.diag(triangle))).T.copy()))
