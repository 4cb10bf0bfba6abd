"""Handwritten digits: an autoencoder or a linear inverse problem.

The 1,797 images of 8 x 8 pixels come with scikit-learn.
"""

from __future__ import annotations

import numpy as np

from reludyn.data.covariance import Covariance
from reludyn.system.arrays import Array
from reludyn.system.errors import ConfigError

SIDE = 8  # pixels


def read_digits(
    target: str = "identity", blur: float = 1.0, whiten: bool = False, samples: int | None = None
) -> tuple[Array, Array]:
    """Return X (n, 64) and Y (n, 64) from centred images in units of their root mean variance.

    With target identity Y = X; with blur Y = X B^T for the matrix B of a Gaussian blur; with
    deblur, the inverse problem, X = images B^T and Y = images. With whiten the covariance of X is
    the identity on its span (three pixels are always black): X -> X Sigma^{-1/2}, before an
    identity target is taken. Raises ConfigError without scikit-learn.
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
    """Return B (64, 64), the convolution with a Gaussian, reflected at the edges.

    Its standard deviation `width` is in pixels.
    """
    from scipy.ndimage import gaussian_filter

    pixels = np.eye(SIDE**2).reshape(-1, SIDE, SIDE)
    columns = gaussian_filter(pixels, (0, width, width), mode="reflect")
    matrix: Array = columns.reshape(SIDE**2, SIDE**2).T
    return matrix


def whitened(X: Array) -> Array:
    """Return X Sigma^{-1/2} with the covariance Sigma of X, on the span of the rows of X."""
    U, s, Q = np.linalg.svd(X, full_matrices=False)
    kept = s > s[0] * 1e-10
    product: Array = np.sqrt(len(X)) * U[:, kept] @ Q[kept]
    return product


def sample_covariance(X: Array) -> Covariance:
    """Return the covariance of X (n, d), whose mean is taken as zero."""
    values, vectors = np.linalg.eigh(X.T @ X / len(X))
    return Covariance((vectors * np.sqrt(values.clip(0))) @ vectors.T)
