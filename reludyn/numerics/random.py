"""Random streams: one independent generator for each seed and purpose.

A draw depends on (seed, purpose, index) alone: not on the device, the number of replicas, the order
of the runs or any global state. All draws are made in float64 on the CPU.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

Purpose = Literal["weights", "data", "target", "directions", "noise", "batches", "test"]
_STREAM: dict[Purpose, int] = {
    "weights": 0,
    "data": 1,
    "target": 2,
    "directions": 3,
    "noise": 4,
    "batches": 5,
    "test": 6,
}


def stream(seed: int, purpose: Purpose, *index: int) -> np.random.Generator:
    """Return the generator of a purpose for a seed >= 0, or that of one block or step of it."""
    sequence = np.random.SeedSequence(seed, spawn_key=(_STREAM[purpose], *index))
    return np.random.Generator(np.random.PCG64(sequence))
