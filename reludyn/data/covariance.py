"""The covariance Sigma of the inputs, through its symmetric root."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from reludyn.system.arrays import Array, read_matrix
from reludyn.system.errors import ConfigError


@dataclass(frozen=True)
class Covariance:
    """Root Sigma^{1/2} of a covariance, float64: (d,) if Sigma is diagonal, else (d, d)."""

    root: Array

    def colour(self, rows: Array) -> Array:
        """Return rows Sigma^{1/2}: (..., d) -> (..., d)."""
        return rows * self.root if self.root.ndim == 1 else rows @ self.root

    def on(self, like: Tensor) -> Callable[[Tensor], Tensor]:
        """Return `colour` for tensors, on the device and in the precision of another tensor."""
        root = torch.from_numpy(self.root).to(like)
        return (lambda rows: rows * root) if root.ndim == 1 else (lambda rows: rows @ root)


def power_law(d: int, exponent: float) -> Covariance:
    """Return a diagonal Sigma whose eigenvalue i is proportional to i^-exponent, with mean 1."""
    eigenvalues = np.arange(1, d + 1, dtype=np.float64) ** -exponent
    return Covariance(np.sqrt(eigenvalues / eigenvalues.mean()))


def covariance_from_file(path: str, d: int) -> Covariance:
    """Read Sigma (d, d). Raises ConfigError unless finite, symmetric and positive definite."""
    key = "data.covariance_path"
    matrix = read_matrix(path, key, "Sigma", (d, d))
    difference = np.abs(matrix - matrix.T).max()
    if difference > 1e-10 * np.abs(matrix).max():
        allowed = f"Sigma must be symmetric; it differs from its transpose by {difference:.1e}"
        raise ConfigError(key, path, allowed)
    eigenvalues, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    if eigenvalues[0] <= 0:
        least = f"its smallest eigenvalue is {eigenvalues[0]:.2e}"
        raise ConfigError(key, path, f"Sigma must be positive definite; {least}")
    return Covariance((vectors * np.sqrt(eigenvalues)) @ vectors.T)
