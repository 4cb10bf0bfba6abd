"""How many numbers are held at once: sizes that keep a computation within caches and memory."""

from __future__ import annotations

CHUNK = 2**22  # numbers in a chunk of samples and all that is computed from it
BLOCK = 2**20  # numbers of pairs of neurons that a cache holds
DENSE = 1500  # weights up to which a Hessian is held as a matrix


def numbers_per_row(k: int, d: int, r: int) -> int:
    """Return how many numbers a row of samples, and a step on it, hold for one replica."""
    return d + 4 * k + 2 * r
