"""Schedules of the step size."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """Step size of iteration t as a multiple of lr.

    Warm-up: (t + 1)/(warmup + 1) for t < warmup. Then constant: 1; cosine:
    (1 + cos(pi (t - warmup)/(steps - warmup)))/2, which is zero from t = steps on.
    """

    name: str = "constant"
    warmup: int = 0
    steps: int = 0

    @property
    def is_constant(self) -> bool:
        """Whether the step size never changes."""
        return self.name == "constant" and self.warmup == 0

    def __call__(self, t: int) -> float:
        """Return the factor of iteration t."""
        if t < self.warmup:
            return (t + 1) / (self.warmup + 1)
        if self.name == "constant":
            return 1.0
        done = (t - self.warmup) / (self.steps - self.warmup)
        return (1 + math.cos(math.pi * min(done, 1.0))) / 2
