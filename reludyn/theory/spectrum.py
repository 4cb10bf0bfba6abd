"""Eigenvalues of the Hessian of the population risk."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from reludyn.network.notation import Gradient
from reludyn.network.student import ReLUStudent
from reludyn.numerics.sizes import DENSE
from reludyn.numerics.surroundings import undisturbed
from reludyn.risk.hessian import Hessian, flatten, unflatten

ZERO = 1e-6  # eigenvalues that count as zero, in units of the largest one
BASIS = 80  # vectors that Lanczos iterations keep
ENDS = 4  # eigenvalues computed at either end beyond that


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues of R Hessians, ascending, each with its multiplicity.

    They are NaN where the risk is not twice differentiable. `values` (R, n), `multiplicity` (R, n);
    `complete`: all eigenvalues are there, else only some at either end.
    """

    values: Tensor
    multiplicity: Tensor
    complete: bool

    @property
    def sharpness(self) -> Tensor:
        """Largest eigenvalue, (R,): descent with step size mu is stable where it is below 2/mu."""
        return self.values[:, -1]

    @property
    def smallest(self) -> Tensor:
        """Smallest eigenvalue, (R,)."""
        return self.values[:, 0]

    def negative(self, tolerance: float = ZERO) -> Tensor:
        """Return how many eigenvalues are below -tolerance, (R,).

        The tolerance is in units of the largest |eigenvalue|. An incomplete spectrum counts those
        among its lower end, so there are at least as many.
        """
        return self._count(self.values < -self._zero(tolerance))

    def near_zero(self, tolerance: float = ZERO) -> Tensor:
        """Return how many eigenvalues are within the tolerance of zero, (R,); NaN if incomplete.

        The tolerance is in units of the largest |eigenvalue|. Every neuron has one at a stationary
        point, the rescaling v_i -> c v_i, w_i -> w_i / c.
        """
        found = self._count(self.values.abs() <= self._zero(tolerance))
        return found if self.complete else torch.full_like(found, math.nan)

    def _zero(self, tolerance: float) -> Tensor:
        rounding = 100 * torch.finfo(self.values.dtype).eps
        return max(tolerance, rounding) * self.values.abs().amax(-1, keepdim=True)

    def _count(self, chosen: Tensor) -> Tensor:
        count = torch.where(chosen, self.multiplicity, 0).sum(-1).to(self.values)
        return count.where(self.values.isfinite().all(-1), math.nan)


@undisturbed()
def spectrum(hessian: Hessian, inputs: int | None = None) -> Spectrum:
    """Return the eigenvalues of a Hessian in R^d, with their multiplicities.

    Students may be given in m <= d coordinates of a subspace that contains the rows of A and of W.
    Across the subspace H acts on the k neurons alone: the k eigenvalues of that matrix have the
    multiplicity d - m. (Not in the paper.) All eigenvalues are computed where the other k m + r k
    weights are at most 1500, else the 4 at either end, by Lanczos iterations (ARPACK).

    Args:
        hessian: second derivative at students W (R, k, m), V (R, r, k): `PopulationRisk.hessian`.
        inputs: d; None for d = m.

    Returns:
        Eigenvalues (R, n), ascending, with multiplicities (R, n).

    Examples:
        >>> import torch, reludyn
        >>> W = torch.tensor([[[1.0, 0.0], [-1.0, 0.0]]], dtype=torch.float64)
        >>> V = torch.tensor([[[1.0, -1.0]]], dtype=torch.float64)
        >>> risk = reludyn.PopulationRisk(torch.tensor([[1.0, 0.0]], dtype=torch.float64))
        >>> found = reludyn.spectrum(risk.hessian(reludyn.ReLUStudent(W, V)), inputs=10)
        >>> found.sharpness
        tensor([1.], dtype=torch.float64)
        >>> found.near_zero()  # one per neuron: v_i -> c v_i, w_i -> w_i / c
        tensor([2.], dtype=torch.float64)
    """
    R, _, m = hessian.student.W.shape
    copies = 0 if inputs is None else inputs - m
    N = flatten(hessian.student).shape[-1]
    dense = N <= DENSE
    exists = hessian.exists
    whole = _eigenvalues(hessian.matrix(), exists) if dense else _ends(hessian, exists)
    counts = torch.ones(R, whole.shape[1], dtype=torch.int64)
    if copies:
        beyond = _eigenvalues(across(hessian), exists)
        whole = torch.cat([whole, beyond], -1)
        counts = torch.cat([counts, torch.full(beyond.shape, copies)], -1)
    order = whole.argsort(-1)
    return Spectrum(whole.gather(-1, order), counts.to(order.device).gather(-1, order), dense)


def across(hessian: Hessian) -> Tensor:
    """Return H on weights along one direction orthogonal to all rows of A and W, (R, k, k)."""
    W, V = hessian.student
    (_, k, d), (r, _) = W.shape, hessian.A.shape
    wider = ReLUStudent(pad(W, (0, 1)).unsqueeze(1), V.unsqueeze(1))
    directions = torch.zeros(1, k, k, d + 1).to(W)
    directions[0, :, :, -1] = torch.eye(k)
    moved = replace(hessian, student=wider, A=pad(hessian.A, (0, 1))) @ Gradient(
        directions, torch.zeros(1, k, r, k).to(V)
    )
    matrix = moved.W[..., -1]
    return (matrix + matrix.mT) / 2


def _eigenvalues(matrices: Tensor, exists: Tensor) -> Tensor:
    """Return the eigenvalues (R, n) of matrices (R, n, n), NaN where a Hessian is not finite."""
    exists = exists & matrices.isfinite().all(-1).all(-1)
    eye = torch.eye(matrices.shape[-1]).to(matrices)
    values: Tensor = torch.linalg.eigvalsh(torch.where(exists.view(-1, 1, 1), matrices, eye))
    return values.where(exists.unsqueeze(-1), math.nan)


def _ends(hessian: Hessian, exists: Tensor) -> Tensor:
    """Return the ENDS smallest and largest eigenvalues of each replica, (R, 2 ENDS).

    They are NaN where they are not defined or not found.
    """
    from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh

    found = []
    _, k, d = hessian.student.W.shape
    N = flatten(hessian.student).shape[-1]
    for student, there in zip(hessian.student.split(1), exists.tolist(), strict=True):
        if not there:
            found.append(np.full(2 * ENDS, np.nan))
            continue
        one = replace(hessian, student=student)

        def product(z: NDArray[np.float64], one: Hessian = one) -> NDArray[np.float64]:
            direction = torch.from_numpy(z.reshape(1, -1)).to(one.student.W)
            moved: NDArray[np.float64] = flatten(one @ unflatten(direction, k, d))[0].cpu().numpy()
            return moved

        operator = LinearOperator((N, N), matvec=product, dtype=np.float64)
        start = np.random.default_rng(0).standard_normal(N)
        accuracy = 100 * torch.finfo(student.W.dtype).eps
        try:
            ends = [
                eigsh(
                    operator,
                    ENDS,
                    which=end,
                    v0=start,
                    return_eigenvectors=False,
                    ncv=min(N, BASIS),
                    tol=accuracy,
                )
                for end in ("SA", "LA")
            ]
            found.append(np.sort(np.concatenate(ends)))
        except ArpackError:  # overflow, or no convergence
            found.append(np.full(2 * ENDS, np.nan))
    return torch.from_numpy(np.stack(found)).to(hessian.student.W)
