"""Initialisations: how one replica draws its weights, and how a batch is made of them.

An initialisation is a function (draw, k, d, r, scale) -> (W (k, d), V (r, k)) of a NumPy generator;
the decorator `initialization` gives it the name that `init=NAME` selects. The batch draws replica
j from its own seed, so that replica j equals a run alone with that seed, bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from reludyn.errors import ConfigError
from reludyn.randomness import stream
from reludyn.student import ReLUStudent

Array = NDArray[np.float64]
Initialization = Callable[[np.random.Generator, int, int, int, float], tuple[Array, Array]]
Signs = Literal["random", "alternating", "same"]

INITIALIZATIONS: dict[str, Initialization] = {}


def initialization(name: str) -> Callable[[Initialization], Initialization]:
    """Register an initialisation under the name used by `init=NAME`."""

    def register(function: Initialization) -> Initialization:
        INITIALIZATIONS[name] = function
        return function

    return register


@initialization("xavier_normal")
def xavier_normal(
    draw: np.random.Generator, k: int, d: int, r: int, scale: float
) -> tuple[Array, Array]:
    """Entries scale * N(0, 2/(fan_in + fan_out)): variance 2/(d + k) for W, 2/(k + r) for V
    (Glorot, Bengio 2010; the paper's experiments, with scale = sigma)."""
    W = draw.standard_normal((k, d)) * math.sqrt(2 / (d + k))
    V = draw.standard_normal((r, k)) * math.sqrt(2 / (k + r))
    return scale * W, scale * V


@initialization("theorem")
def theorem(draw: np.random.Generator, k: int, d: int, r: int, scale: float) -> tuple[Array, Array]:
    """w_i ~ N(0, scale^2/d I_d), |v_i| ~ scale/sqrt(d) chi_d, directions of v_i uniform (Theorem 2;
    for r = 1 the direction is a random sign). |v_i| and |w_i| have the same law."""
    W = draw.standard_normal((k, d)) * (scale / math.sqrt(d))
    length = np.sqrt(draw.chisquare(d, k)) * (scale / math.sqrt(d))
    direction = draw.standard_normal((r, k))
    return W, length * direction / np.linalg.norm(direction, axis=0)


def with_signs(V: Array, signs: Signs) -> Array:
    """V (1, k) with the sign pattern: random leaves the drawn signs, alternating gives +, -, +, ...
    (the paper's (+, -) for k = 2), same gives all +. Patterns need r = 1."""
    if signs == "random":
        return V
    if V.shape[0] != 1:
        raise ConfigError(
            "init.signs", signs, f"must be random when data.outputs={V.shape[0]} > 1",
            "A sign pattern belongs to scalar output weights",
        )  # fmt: skip
    pattern = np.ones(V.shape[1])
    if signs == "alternating":
        pattern[1::2] = -1
    return np.abs(V) * pattern


def draw_students(
    name: str, seeds: Sequence[int], k: int, d: int, r: int, scale: float, signs: Signs = "random"
) -> ReLUStudent:
    """R = len(seeds) students, W (R, k, d) and V (R, r, k), float64 on the CPU.

    Replica j depends on seeds[j] alone. Raises ConfigError for an unknown name or a sign pattern
    with r > 1.
    """
    if name not in INITIALIZATIONS:
        raise ConfigError("init.name", name, f"must be one of {', '.join(sorted(INITIALIZATIONS))}")
    draw = INITIALIZATIONS[name]
    W, V = np.empty((len(seeds), k, d)), np.empty((len(seeds), r, k))
    for j, seed in enumerate(seeds):
        W[j], v = draw(stream(seed, "weights"), k, d, r, scale)
        V[j] = with_signs(v, signs)
    return ReLUStudent(torch.from_numpy(W), torch.from_numpy(V))
