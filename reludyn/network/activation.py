"""The activation: leaky ReLU, written as an odd and an even part."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class LeakyReLU:
    """Activation phi(z) = z for z > 0 and s z otherwise, with a slope s in [0, 1].

    Slope 0 is ReLU, slope 1 the identity. As a sum of an odd and an even function

        phi(z) = odd z + even |z|,    odd = (1 + s)/2,    even = (1 - s)/2,

    and the closed forms of the risk need these two numbers only.

    Args:
        negative_slope: the slope s for z <= 0.

    Examples:
        >>> import torch, reludyn
        >>> phi = reludyn.LeakyReLU(0.5)
        >>> phi(torch.tensor([-2.0, 3.0]))
        tensor([-1.,  3.])
        >>> phi.odd, phi.even
        (0.75, 0.25)
    """

    negative_slope: float = 0.0

    @property
    def odd(self) -> float:
        """(1 + s)/2, the slope of the odd part."""
        return (1 + self.negative_slope) / 2

    @property
    def even(self) -> float:
        """(1 - s)/2, the slope of the even part."""
        return (1 - self.negative_slope) / 2

    @property
    def square(self) -> float:
        """odd^2 + even^2, which is E phi(z)^2 for z ~ N(0, 1)."""
        return self.odd**2 + self.even**2

    @property
    def best_ray(self) -> float:
        """odd / square, the c for which c phi(a.x) is nearest to a.x; 1 for ReLU."""
        return self.odd / self.square

    def __call__(self, z: Tensor) -> Tensor:
        """Return phi(z), entry by entry."""
        return (
            z.relu() if self.negative_slope == 0 else torch.where(z > 0, z, self.negative_slope * z)
        )

    def derivative(self, z: Tensor) -> Tensor:
        """Return phi'(z), with the left derivative s at 0."""
        return torch.where(z > 0, torch.ones_like(z), self.negative_slope)


RELU = LeakyReLU()
