"""Weights whose last bit another processor might have rounded otherwise."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from reludyn.network.student import ReLUStudent


def shaken(student: ReLUStudent, seed: int) -> ReLUStudent:
    """A third of all weights, chosen at random, moved by one unit in the last place up or down."""
    rng = np.random.default_rng(seed)

    def moved(layer: Tensor) -> Tensor:
        x = layer.numpy()
        towards = rng.choice([-np.inf, np.inf], x.shape)
        some = rng.random(x.shape) < 1 / 3
        return torch.from_numpy(np.where(some, np.nextafter(x, towards), x))

    return student.map(moved)
