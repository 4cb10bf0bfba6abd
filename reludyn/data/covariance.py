"""The covariance Sigma of the inputs, through its symmetric root."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from reludyn.arrays import Array, read_matrix
from reludyn.errors import ConfigError

Rows = TypeVar("Rows", Array, Tensor)


@dataclass(frozen=True)
class Covariance:
    """Sigma^{1/2}: (d,) where Sigma is diagonal, else symmetric (d, d); float64."""

    root: Array

    def colour(self, rows: Rows) -> Rows:
        """rows Sigma^{1/2}: (..., d) -> (..., d), an array or a tensor."""
        root = self.root
        if isinstance(rows, Tensor):
            tensor = torch.from_numpy(root).to(rows)
            return rows * tensor if tensor.ndim == 1 else rows @ tensor
        return rows * root if root.ndim == 1 else rows @ root


def power_law(d: int, exponent: float) -> Covariance:
    """Sigma diagonal, eigenvalue i proportional to i^-exponent, with mean 1."""
    eigenvalues = np.arange(1, d + 1, dtype=np.float64) ** -exponent
    return Covariance(np.sqrt(eigenvalues / eigenvalues.mean()))


def covariance_from_file(path: str, d: int) -> Covariance:
    """Sigma (d, d): finite, symmetric, positive definite; raises ConfigError."""
    key = "data.covariance_path"
    matrix = read_matrix(path, key, "Sigma", (d, d))
    if not np.allclose(matrix, matrix.T, rtol=1e-10, atol=0):
        raise ConfigError(key, path, "Sigma must be symmetric")
    eigenvalues, vectors = np.linalg.eigh(matrix)
    if eigenvalues[0] <= 0:
        least = f"its smallest eigenvalue is {eigenvalues[0]:.2e}"
        raise ConfigError(key, path, f"Sigma must be positive definite; {least}")
    return Covariance((vectors * np.sqrt(eigenvalues)) @ vectors.T)
