"""The population risk of narrow networks with every sum written out, for a compiler.

Each weight of all replicas is one vector (R,), and nothing but such vectors is added and
multiplied: a compiler turns a whole step into one loop over replicas and keeps it in registers.
The formulas are those of `reludyn.risk.population`; pairs are symmetric, so each is visited once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from reludyn.network.activation import LeakyReLU

Vectors = list[list[Tensor]]
MOST = 900  # products per step up to which it is written out: about a minute to compile


class Point(NamedTuple):
    """Value, gradient and order parameters at the weights w[i][c] and v[i][o], (R,) each."""

    loss: Tensor
    grad_w: Vectors  # [i][c]
    grad_v: Vectors  # [i][o]
    inner: list[Tensor]  # [i]: <w_i, A^T v_i> odd
    target: list[Tensor]  # [i]: |A^T v_i| odd
    w_norm: list[Tensor]
    v_norm: list[Tensor]


def products(k: int, m: int, r: int) -> int:
    """Return about how many products of two vectors a step has."""
    return k * (k - 1) // 2 * (m + r + 14) + k * k * (m + r) + k * r * r


def evaluate(
    w: Vectors, v: Vectors, A: Sequence[Sequence[Tensor]], zero: Tensor, activation: LeakyReLU
) -> Point:
    """Return value and gradient.

    A (r, r) holds numbers, in coordinates where it has no further columns; zero is the loss
    |A|_F^2 / 2 of the zero student.
    """
    k, r = len(w), len(A)
    pull = [[activation.odd * x for x in row] for row in A]
    tiny = torch.finfo(w[0][0].dtype).tiny
    odd2, c = activation.odd**2, 2 * activation.even**2 / math.pi
    across = activation.square  # q_ii
    targets = [[dot(v[i], [row[j] for row in pull]) for j in range(r)] for i in range(k)]
    along = [[dot(row, w[i][:r]) for row in pull] for i in range(k)]
    inner = [dot(v[i], along[i]) for i in range(k)]
    square = [dot(x, x) for x in w]
    length = [x.sqrt() for x in square]
    inverse = [1 / x.clamp_min(tiny) for x in length]

    S = [dot(x, x) for x in v]
    loss = zero
    for i in range(k):
        loss = loss - inner[i] + (across / 2) * S[i] * square[i]
    radial = [across * x for x in S]  # the coefficient of w_i
    q: dict[tuple[int, int], Tensor] = {}
    P: dict[tuple[int, int], Tensor] = {}
    for i in range(k):
        for j in range(i):
            gram, s = dot(w[i], w[j]), dot(v[i], v[j])
            cosine = (gram * inverse[i] * inverse[j]).clamp(-1, 1)
            sine = (1 - cosine * cosine).sqrt() * c
            weight = odd2 + torch.asin(cosine) * c
            kernel = weight * gram + length[i] * length[j] * sine
            swing = s * sine
            radial[i] = radial[i] + swing * length[j] * inverse[i]
            radial[j] = radial[j] + swing * length[i] * inverse[j]
            q[i, j] = q[j, i] = s * weight
            P[i, j] = P[j, i] = kernel
            loss = loss + s * kernel
    grad_w = [[radial[i] * x for x in w[i]] for i in range(k)]
    grad_v = [[across * square[i] * x for x in v[i]] for i in range(k)]
    for i, j in q:
        grad_w[i] = [x + q[i, j] * y for x, y in zip(grad_w[i], w[j], strict=True)]
        grad_v[i] = [x + P[i, j] * y for x, y in zip(grad_v[i], v[j], strict=True)]
    for i in range(k):
        grad_w[i][:r] = [x - y for x, y in zip(grad_w[i], targets[i], strict=False)]
        grad_v[i] = [x - y for x, y in zip(grad_v[i], along[i], strict=True)]
    return Point(
        loss, grad_w, grad_v, inner, [_length(t) for t in targets], length, [_length(x) for x in v]
    )


def dot(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """Return the sum of products, added in their order."""
    total = a[0] * b[0]
    for x, y in zip(a[1:], b[1:], strict=True):
        total = total + x * y
    return total


def _length(x: Sequence[Tensor]) -> Tensor:
    return x[0].abs() if len(x) == 1 else dot(x, x).sqrt()
