"""Input laws: x = Sigma^{1/2} z with z of unit covariance."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reludyn.data.covariance import Covariance

Array = NDArray[np.float64]


@dataclass(frozen=True)
class InputLaw:
    """Law of x = Sigma^{1/2} z with a symmetric z of mean 0 and covariance I.

    gaussian: N(0, I). rademacher: independent signs. student_t: independent Student t with
    `freedom` > 2 degrees of freedom, scaled by sqrt((freedom - 2)/freedom). uniform_sphere: uniform
    on the sphere of radius sqrt(d).
    """

    name: str = "gaussian"
    freedom: float = 5.0
    covariance: Covariance | None = None  # None: the identity

    def sample(self, rng: np.random.Generator, n: int, d: int) -> Array:
        """Draw n rows, (n, d)."""
        z = LAWS[self.name](rng, n, d, self.freedom)
        return z if self.covariance is None else self.covariance.colour(z)


def _gaussian(rng: np.random.Generator, n: int, d: int, _: float) -> Array:
    return rng.standard_normal((n, d))


def _rademacher(rng: np.random.Generator, n: int, d: int, _: float) -> Array:
    return (2 * rng.integers(0, 2, (n, d)) - 1).astype(np.float64)


def _student_t(rng: np.random.Generator, n: int, d: int, freedom: float) -> Array:
    z: Array = rng.standard_t(freedom, (n, d)) * math.sqrt((freedom - 2) / freedom)
    return z


def _uniform_sphere(rng: np.random.Generator, n: int, d: int, _: float) -> Array:
    z: Array = rng.standard_normal((n, d))
    z *= math.sqrt(d) / np.linalg.norm(z, axis=1, keepdims=True)
    return z


LAWS: dict[str, Callable[[np.random.Generator, int, int, float], Array]] = {
    "gaussian": _gaussian,
    "rademacher": _rademacher,
    "student_t": _student_t,
    "uniform_sphere": _uniform_sphere,
}
