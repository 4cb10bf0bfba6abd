"""Standard Gaussian inputs, labelled by the teacher."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from reludyn.randomness import stream
from reludyn.teacher import LinearTeacher


def gaussian_sample(teacher: LinearTeacher, n: int, seeds: Sequence[int]) -> tuple[Tensor, Tensor]:
    """X (R, n, d) with entries N(0, 1) and Y = X A^T (R, n, r): one sample a seed, float64, CPU."""
    X = np.empty((len(seeds), n, teacher.inputs))
    for sample, seed in zip(X, seeds, strict=True):
        stream(seed, "data").standard_normal(out=sample)
    inputs = torch.from_numpy(X)
    return inputs, teacher(inputs)
