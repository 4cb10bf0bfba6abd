"""Confidence intervals, and numbers read from text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

Z = NormalDist().inv_cdf(0.975)


def wilson(count: int, of: int) -> tuple[float, float, float]:
    """Return a fraction p = count/of and the ends of its 95% Wilson interval.

    With z = 1.96 and n = `of` these are
    (p + z^2/2n -+ z sqrt(p (1 - p)/n + z^2/4n^2)) / (1 + z^2/n).
    """
    p, spread = count / of, Z**2 / of
    centre = p + spread / 2
    half = Z * math.sqrt(p * (1 - p) / of + spread / (4 * of))
    low, high = (centre - half) / (1 + spread), (centre + half) / (1 + spread)
    return p, low if count else 0.0, high if count < of else 1.0


def as_numbers(texts: Sequence[str]) -> list[float] | None:
    """Return the texts as numbers, or None if one of them is not a finite number."""
    try:
        values = [float(text) for text in texts]
    except ValueError:
        return None
    return values if all(map(math.isfinite, values)) else None
