"""The 1,797 handwritten digits that come with scikit-learn, as an autoencoder or a linear inverse
problem."""

from __future__ import annotations

import numpy as np

from reludyn.data.covariance import Covariance
from reludyn.system.arrays import Array
from reludyn.system.errors import ConfigError

SIDE = 8  # pixels


def read_digits(
    target: str = "identity", blur: float = 1.0, whiten: bool = False, samples: int | None = None
) -> tuple[Array, Array]:
    """X (n, 64) and Y (n, 64): centred images x, in units of their root mean variance.

    identity: Y = X. blur: Y = X B^T with the matrix B of a Gaussian blur. deblur: the inverse
    problem, X = images B^T, Y = images. With whiten the covariance of X is the identity on its span
    (three pixels are always black): X -> X Sigma^{-1/2}, before an identity target is taken.
    Raises ConfigError without scikit-learn.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ConfigError(
            "data", "digits", "needs scikit-learn", "Install it: pip install 'reludyn[digits]'"
        ) from error
    images = np.asarray(load_digits().data, dtype=np.float64)[:samples]
    images = images - images.mean(0)
    images /= np.sqrt(images.var(0).mean())
    blurred = images @ blur_matrix(blur).T
    X = blurred if target == "deblur" else images
    if whiten:
        X = whitened(X)
    labels = {"identity": X, "blur": blurred, "deblur": images}
    return X, labels[target]


def blur_matrix(width: float) -> Array:
    """B (64, 64): convolution with a Gaussian of that standard deviation in pixels, reflected at
    the edges."""
    from scipy.ndimage import gaussian_filter

    pixels = np.eye(SIDE**2).reshape(-1, SIDE, SIDE)
    columns = gaussian_filter(pixels, (0, width, width), mode="reflect")
    matrix: Array = columns.reshape(SIDE**2, SIDE**2).T
    return matrix


def whitened(X: Array) -> Array:
    """X Sigma^{-1/2} with the covariance Sigma of X, on the span of the rows of X."""
    U, s, Q = np.linalg.svd(X, full_matrices=False)
    kept = s > s[0] * 1e-10
    product: Array = np.sqrt(len(X)) * U[:, kept] @ Q[kept]
    return product


def sample_covariance(X: Array) -> Covariance:
    """That of X (n, d), whose mean is taken as zero."""
    values, vectors = np.linalg.eigh(X.T @ X / len(X))
    return Covariance((vectors * np.sqrt(values.clip(0))) @ vectors.T)
