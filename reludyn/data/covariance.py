"""The covariance Sigma of the inputs, through its symmetric root."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reludyn.errors import ConfigError
from reludyn.files import UNREADABLE

Array = NDArray[np.float64]
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
    """Sigma (d, d) from an .npy file: finite, symmetric, positive definite; raises ConfigError."""
    allowed = f"must be an .npy file with a symmetric positive definite matrix ({d}, {d})"
    try:
        matrix = np.load(Path(path), allow_pickle=False).astype(np.float64)
    except UNREADABLE as error:
        raise ConfigError("data.covariance_path", path, f"{allowed}; it cannot be read") from error
    if matrix.shape != (d, d):
        raise ConfigError("data.covariance_path", path, f"{allowed}; its shape is {matrix.shape}")
    if not np.isfinite(matrix).all() or not np.allclose(matrix, matrix.T, rtol=1e-10, atol=0):
        raise ConfigError("data.covariance_path", path, f"{allowed}; it is not symmetric")
    eigenvalues, vectors = np.linalg.eigh(matrix)
    if eigenvalues[0] <= 0:
        least = f"its smallest eigenvalue is {eigenvalues[0]:.2e}"
        raise ConfigError("data.covariance_path", path, f"{allowed}; {least}")
    return Covariance((vectors * np.sqrt(eigenvalues)) @ vectors.T)
