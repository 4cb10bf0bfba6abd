"""The population risk from a list of the pairs of neurons, for a compiler.

The replica axis comes last, so that every operation takes as many replicas at once as a processor
does. Each pair is visited once: what two neurons share is an entry in a list of k (k - 1)/2 pairs
(and one of k neurons behind it), to which the sums over j refer by a table. The formulas are those
of `reludyn.risk.population`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from reludyn.network.activation import LeakyReLU

TOGETHER = 5  # rows of the gradient that are summed side by side, reading each neuron once


class Point(NamedTuple):
    """Value, gradient and order parameters at the weights W (k, m, R) and V (k, r, R)."""

    loss: Tensor  # (R,)
    grad_W: Tensor
    grad_V: Tensor
    inner: Tensor  # (k, R): <w_i, A^T v_i> odd
    target: Tensor  # (k, R): |A^T v_i| odd
    w_norm: Tensor  # (k, R)
    v_norm: Tensor


def evaluate(W: Tensor, V: Tensor, A: Tensor, zero: Tensor, activation: LeakyReLU) -> Point:
    """Return value and gradient for W (k, m, R) and V (k, r, R).

    A is (r, r), or (r, r, R): the target in coordinates where it has no further columns. zero is
    the loss |A|_F^2 / 2 of the zero student.
    """
    k, r, tiny = len(W), len(A), torch.finfo(W.dtype).tiny
    first, second = map(list, zip(*((i, j) for i in range(k) for j in range(i)), strict=True))
    at = {pair: place for place, pair in enumerate(zip(first, second, strict=True))}
    table = [at.get((max(i, j), min(i, j)), len(at) + i) for i in range(k) for j in range(k)]
    odd2, c, across = activation.odd**2, 2 * activation.even**2 / math.pi, activation.square

    square, norms = W.square().sum(1), V.square().sum(1)  # (k, R)
    length = square.sqrt()
    inverse = 1 / length.clamp_min(tiny)
    gram, S = (W[first] * W[second]).sum(1), (V[first] * V[second]).sum(1)
    cosine = (gram * inverse[first] * inverse[second]).clamp(-1, 1)
    sine = (1 - cosine * cosine).sqrt() * c
    weight = odd2 + torch.asin(cosine) * c
    kernel = weight * gram + length[first] * length[second] * sine
    swing = torch.cat([S * sine, torch.zeros_like(norms)])[table].unflatten(0, (k, k))
    radial = across * norms + (swing * length).sum(1) * inverse
    pull = activation.odd * (A if A.ndim == 3 else A.unsqueeze(-1))
    target = (V.unsqueeze(2) * pull).sum(1)  # (k, r, R)
    along = (W[:, None, :r] * pull).sum(2)
    inner = (V * along).sum(1)
    of_W = _times(torch.cat([S * weight, radial]), W, table)
    of_V = _times(torch.cat([kernel, across * square]), V, table)
    return Point(
        zero + (S * kernel).sum(0) + (across / 2 * norms * square - inner).sum(0),
        of_W - pad(target, (0, 0, 0, W.shape[1] - r)),
        of_V - along,
        inner,
        target.square().sum(1).sqrt(),
        length,
        norms.sqrt(),
    )


def _times(pairs: Tensor, rows: Tensor, table: list[int]) -> Tensor:
    """Return sum_j P_ij rows_j, (k, ., R), with P_ij = pairs[table[k i + j]]."""
    k = len(rows)
    count = -(-k // TOGETHER)
    filled = table + table[-k:] * (count * TOGETHER - k)
    parts = (filled[i * count * k : (i + 1) * count * k] for i in range(TOGETHER))
    sums = [(pairs[part].unflatten(0, (count, k)).unsqueeze(2) * rows).sum(1) for part in parts]
    return torch.cat(sums)[:k]
