"""Adam (Kingma, Ba 2015)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch

from reludyn.network.notation import Gradient
from reludyn.network.student import ReLUStudent
from reludyn.optim import SteppedRule


class Moments(NamedTuple):
    """Running means of the gradient and of its square, entry by entry."""

    first: Gradient
    second: Gradient


@dataclass(frozen=True)
class Adam(SteppedRule):
    """Adam: m <- beta1 m + (1 - beta1) G and s <- beta2 s + (1 - beta2) G^2 from zero.

    Iteration t makes W <- W - mu m/(1 - beta1^(t+1)) / (sqrt(s/(1 - beta2^(t+1))) + eps), entry by
    entry.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    def memory(self, student: ReLUStudent) -> Moments:
        """Return m = s = 0."""
        zero = Gradient(*map(torch.zeros_like, student))
        return Moments(zero, zero)

    def update(
        self, student: ReLUStudent, gradient: Gradient, memory: Moments, step: int
    ) -> tuple[ReLUStudent, Moments]:
        """Return weights, m and s after one update of all replicas."""
        layers = zip(gradient, *memory, strict=True)
        means = [
            (m.lerp(g, 1 - self.beta1), (self.beta2 * s).addcmul(g, g, value=1 - self.beta2))
            for g, m, s in layers
        ]
        first, second = (Gradient(*both) for both in zip(*means, strict=True))
        biases = 1 - self.beta1 ** (step + 1), math.sqrt(1 - self.beta2 ** (step + 1))
        direction = Gradient(*(m / biases[0] / (s.sqrt() / biases[1] + self.eps) for m, s in means))
        return self.sizes.moved(student, direction, step), Moments(first, second)
