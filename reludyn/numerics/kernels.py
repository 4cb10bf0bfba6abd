"""Gaussian expectations of pairs of neurons, robust near angles 0 and pi.

For x ~ N(0, I) and vectors p, q at angle t:

    E[relu(p.x) relu(q.x)] = |p||q| (sin t + (pi - t) cos t) / (2 pi) = (p.q + J(p, q)) / 4
    J(p, q) = E|p.x||q.x| = (2/pi) |p||q| (sin t + (pi/2 - t) cos t)

(the arc-cosine kernel of order one; paper, population closed forms). Singular geometry is decided:
the unit vector of a zero vector is zero, and an angle with a zero vector is pi/2.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from reludyn.numerics.sizes import BLOCK


def norm(p: Tensor) -> Tensor:
    """Return the Euclidean norm over the last axis: (..., d) -> (...)."""
    length: Tensor = torch.linalg.vector_norm(p, dim=-1)
    return length


def unit(p: Tensor) -> Tensor:
    """Return p / |p| over the last axis, zero for p = 0: (..., d) -> (..., d)."""
    length = norm(p).unsqueeze(-1)
    return torch.where(length > 0, p / length, torch.zeros_like(p))


def angle(p: Tensor, q: Tensor) -> Tensor:
    """Return the angle in [0, pi] between p and q, broadcast: (..., d), (..., d) -> (...).

    It is 2 atan2(|u - v|, |u + v|) for the unit vectors u and v, with full relative precision near
    0 and near pi, where the arc cosine loses half the digits (Kahan, 2006); pi/2 where p or q is
    zero.
    """
    u, v = unit(p), unit(q)
    theta = 2 * torch.atan2(norm(u - v), norm(u + v))
    nonzero = (norm(p) > 0) & (norm(q) > 0)
    return torch.where(nonzero, theta, torch.full_like(theta, math.pi / 2))


def angles(p: Tensor, q: Tensor) -> Tensor:
    """Return the angles of `angle` between all rows of p and all rows of q.

    (..., a, d), (..., b, d) -> (..., a, b).
    """
    u, v = unit(p), unit(q)
    exact = "donot_use_mm_for_euclid_dist"  # matrix products would lose small differences
    difference = torch.cdist(u, v, compute_mode=exact)
    theta = 2 * torch.atan2(difference, torch.cdist(u, -v, compute_mode=exact))
    zero = (norm(p) == 0).unsqueeze(-1) | (norm(q) == 0).unsqueeze(-2)
    return theta.masked_fill(zero, math.pi / 2)


def pairwise_angle(w: Tensor) -> Tensor:
    """Return the angles between all rows, zero on the diagonal: (..., k, d) -> (..., k, k)."""
    diagonal = torch.eye(w.shape[-2], dtype=torch.bool, device=w.device)
    return angles(w, w).masked_fill(diagonal, 0.0)


def rows_at_once(W: Tensor) -> int:
    """Return how many rows of W (R, k, d) to compare with all k rows at once.

    The (R, b, k) numbers of such a comparison then fit into the cache; b is at least 64.
    """
    R, k, _ = W.shape
    return k if k <= 64 else max(64, BLOCK // (R * k))


def relu_kernel(p: Tensor, q: Tensor) -> Tensor:
    """Return E[relu(p.x) relu(q.x)], broadcast over leading axes: (..., d), (..., d) -> (...)."""
    return ((p * q).sum(-1) + abs_kernel(p, q)) / 4


def abs_kernel(p: Tensor, q: Tensor) -> Tensor:
    """Return J(p, q) = E|p.x||q.x|, broadcast over leading axes: (..., d), (..., d) -> (...)."""
    theta = angle(p, q)
    acute = torch.minimum(theta, math.pi - theta)
    return (p * q).sum(-1).abs() + (2 / math.pi) * norm(p) * norm(q) * bend(acute)


def bend(a: Tensor) -> Tensor:
    """Return sin a - a cos a for a in [0, pi/2] to full relative precision.

    Near 0 it is a^3/3 - a^5/30 + ... With a the acute angle between two *lines*,
    J(p, q) = |p.q| + (2/pi) |p||q| bend(a): the excess of the kernel over that of parallel vectors.
    """
    square = a * a
    series = torch.zeros_like(a)
    for j in range(7, 0, -1):  # the coefficient of a^(2j+1) is (-1)^(j+1) 2j/(2j+1)!
        series = series * square + (-1) ** (j + 1) * 2 * j / math.factorial(2 * j + 1)
    return torch.where(a < 0.5, series * square * a, torch.sin(a) - a * torch.cos(a))
