"""The activation: leaky ReLU, as an odd and an even part."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class LeakyReLU:
    """phi(z) = z for z > 0, s z otherwise, with slope s in [0, 1]: 0 is ReLU, 1 the identity.

    phi(z) = odd z + even |z| with odd = (1 + s)/2, even = (1 - s)/2: the closed forms need these
    two numbers only.
    """

    negative_slope: float = 0.0

    @property
    def odd(self) -> float:
        return (1 + self.negative_slope) / 2

    @property
    def even(self) -> float:
        return (1 - self.negative_slope) / 2

    @property
    def square(self) -> float:
        """odd^2 + even^2 = E phi(z)^2 for z ~ N(0, 1)."""
        return self.odd**2 + self.even**2

    @property
    def best_ray(self) -> float:
        """odd / square, the slope of the multiple of phi(a.x) nearest to a.x: 1 for ReLU."""
        return self.odd / self.square

    def __call__(self, z: Tensor) -> Tensor:
        return (
            z.relu() if self.negative_slope == 0 else torch.where(z > 0, z, self.negative_slope * z)
        )

    def derivative(self, z: Tensor) -> Tensor:
        """phi'(z), with the left derivative s at 0."""
        return torch.where(z > 0, torch.ones_like(z), self.negative_slope)


RELU = LeakyReLU()
