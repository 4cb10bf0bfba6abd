"""Sums of products with twice the working precision (Dekker 1971; Ogita, Rump, Oishi 2005).

Near a minimum the residual A - V W / 2 is a difference of nearly equal numbers. Plain arithmetic
leaves only rounding noise of it below 1e-16, and a loss of 1e-26 lives there.
"""

from __future__ import annotations

import torch
from torch import Tensor


def two_sum(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return (s, e) with s = fl(a + b) and a + b = s + e exactly (Knuth)."""
    s = a + b
    z = s - a
    return s, (a - (s - z)) + (b - z)


def two_product(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return (p, e) with p = fl(a b) and a b = p + e, exact without under- or overflow (Dekker)."""
    p = a * b
    a1, a2 = _split(a)
    b1, b2 = _split(b)
    return p, ((a1 * b1 - p) + a1 * b2 + a2 * b1) + a2 * b2


def sum_of_products(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return (s, e) with sum_j a_j b_j = s + e over the *first* axis: (K, ...) -> (...).

    The relative error is eps^2 cond, where the plain sum has eps cond. Other axes broadcast.
    """
    term, error = two_product(a, b)
    while term.shape[0] > 1:  # pairwise: log2 K passes, each over all other axes at once
        if term.shape[0] % 2:
            nothing = torch.zeros_like(term.narrow(0, 0, 1))
            term, error = torch.cat([term, nothing]), torch.cat([error, nothing])
        (left, right), errors = term.chunk(2), error.chunk(2)
        term, rounding = two_sum(left, right)
        error = errors[0] + errors[1] + rounding
    return term.squeeze(0), error.squeeze(0)


def _split(a: Tensor) -> tuple[Tensor, Tensor]:
    """Return halves of the significand, a = a1 + a2 exactly (Veltkamp)."""
    c = a * (2**27 + 1 if a.dtype == torch.float64 else 2**12 + 1)
    a1 = c - (c - a)
    return a1, a - a1
