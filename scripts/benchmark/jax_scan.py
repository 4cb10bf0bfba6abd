"""Contenders in JAX: jit of vmap of lax.scan in float64, with gradients written by hand.

The best case for JAX: no derivative is left to it, and the population risk is trained in the
coordinates of the invariant subspace, m = min(d, k + r).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from reludyn.network.student import ReLUStudent
from reludyn.network.subspace import InvariantSubspace
from reludyn.network.teacher import LinearTeacher
from scripts.benchmark.contender import Array, Problem, Unavailable

try:
    import jax
    import jax.numpy as jnp
except ImportError:
    jax = None

MISSING = "jax is not installed: pip install 'reludyn[bench]'"
Traced = Any  # an array of JAX while it is being compiled
Gradient = Callable[..., tuple[Traced, Traced]]


def matmul_gradient(W: Traced, V: Traced, A: Traced) -> tuple[Traced, Traced]:
    """Return the gradient of `reludyn.risk.population` for ReLU: W (k, m), V (r, k), A (r, m)."""
    norm = jnp.sqrt((W * W).sum(1))
    gram, area, S = W @ W.T, jnp.outer(norm, norm), V.T @ V
    cosine = jnp.clip(gram / area, -1, 1)
    sine, complement = jnp.sqrt(1 - cosine * cosine), jnp.arcsin(cosine)
    turn = (S * complement) @ W + ((S * sine) @ norm / norm)[:, None] * W
    J = 2 / math.pi * (area * sine + complement * gram)
    residual = A - V @ W / 2
    return turn / (2 * math.pi) - V.T @ residual / 2, V @ J / 4 - residual @ W.T / 2


def pairs_gradient(W: Traced, V: Traced, A: Traced) -> tuple[Traced, Traced]:
    """Return the same from a list of the pairs i < j, gathered by index and scattered back; for a
    neuron with itself turn_ii = pi/2 |v_i|^2 w_i and J_ii = |w_i|^2."""
    i, j = np.triu_indices(len(W), 1)
    norm = jnp.sqrt((W * W).sum(1))
    one, other, v, u = W[i], W[j], V[:, i], V[:, j]
    gram, area, S = (one * other).sum(1), norm[i] * norm[j], (v * u).sum(0)
    cosine = jnp.clip(gram / area, -1, 1)
    sine, complement = jnp.sqrt(1 - cosine * cosine), jnp.arcsin(cosine)
    J = 2 / math.pi * (area * sine + complement * gram)
    along, across = S * sine, (S * complement)[:, None]
    radial = jnp.zeros_like(norm).at[i].add(along * norm[j]).at[j].add(along * norm[i])
    turn = (math.pi / 2 * (V * V).sum(0) + radial / norm)[:, None] * W
    turn = turn.at[i].add(across * other).at[j].add(across * one)
    kernel = (V * norm**2).at[:, i].add(J * u).at[:, j].add(J * v)
    residual = A - V @ W / 2
    return turn / (2 * math.pi) - V.T @ residual / 2, kernel / 4 - residual @ W.T / 2


def empirical_gradient(W: Traced, V: Traced, X: Traced, Y: Traced) -> tuple[Traced, Traced]:
    """Return grad_W = (E V masked by H > 0)^T X / n and grad_V = E^T H / n, where
    H = relu(X W^T) and E = H V^T - Y. W (k, d), V (r, k), X (n, d), Y (n, r)."""
    hidden = jnp.maximum(X @ W.T, 0)
    error = hidden @ V.T - Y
    back = jnp.where(hidden > 0, error @ V, 0)
    return back.T @ X / len(X), error.T @ hidden / len(X)


class Scan:
    """Contender that makes all steps of all replicas in one compiled call.

    It is compiled once for each number of steps.
    """

    def __init__(self, gradient: Gradient, problem: Problem) -> None:
        if jax is None:
            raise Unavailable(MISSING)
        jax.config.update("jax_enable_x64", True)
        jax.config.update("jax_platforms", "cpu")  # where all other contenders run
        self.replicas = problem.case.replicas
        self.subspace, W, data = None, problem.W, problem.data
        if problem.case.risk == "population":
            teacher = LinearTeacher(torch.from_numpy(data[0]))
            student = ReLUStudent(torch.from_numpy(W), torch.from_numpy(problem.V))
            self.subspace = InvariantSubspace.spanned(teacher, student)
            W, data = self.subspace.reduce(student).W.numpy(), (self.subspace.teacher.A.numpy(),)
        self.initial = jnp.asarray(W), jnp.asarray(problem.V)
        self.data = tuple(jnp.asarray(x) for x in data)

        def descend(W: Traced, V: Traced, *data: Traced, steps: int) -> Traced:
            def step(layers: Traced, _: None) -> tuple[Traced, None]:
                slopes = gradient(*layers, *data)
                pairs = zip(layers, slopes, strict=True)
                return tuple(x - problem.lr * slope for x, slope in pairs), None

            return jax.lax.scan(step, (W, V), None, length=steps)[0]

        axes = (0, 0, *(problem.axis for _ in data))

        def all_replicas(*arrays: Traced, steps: int) -> Traced:
            return jax.vmap(lambda *one: descend(*one, steps=steps), in_axes=axes)(*arrays)

        self.compiled = jax.jit(all_replicas, static_argnames="steps")
        self.start()

    def start(self) -> None:
        self.layers = self.initial

    def advance(self, steps: int) -> None:
        self.layers = jax.block_until_ready(self.compiled(*self.layers, *self.data, steps=steps))

    def weights(self) -> tuple[Array, Array]:
        W, V = (np.array(layer) for layer in self.layers)
        if self.subspace is not None:
            both = ReLUStudent(torch.from_numpy(W), torch.from_numpy(V))
            W = self.subspace.lift(both).W.numpy()
        return W, V
