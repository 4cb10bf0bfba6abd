"""Numbers out of samples and out of text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

Z = NormalDist().inv_cdf(0.975)


def wilson(count: int, of: int) -> tuple[float, float, float]:
    """A fraction p = count/of and its 95% Wilson interval: with z = 1.96 and n = `of`,
    (p + z^2/2n -+ z sqrt(p (1 - p)/n + z^2/4n^2)) / (1 + z^2/n)."""
    p, spread = count / of, Z**2 / of
    centre = p + spread / 2
    half = Z * math.sqrt(p * (1 - p) / of + spread / (4 * of))
    low, high = (centre - half) / (1 + spread), (centre + half) / (1 + spread)
    return p, low if count else 0.0, high if count < of else 1.0


def as_numbers(texts: Sequence[str]) -> list[float] | None:
    """The texts as numbers, or None if one of them is no finite number."""
    try:
        values = [float(text) for text in texts]
    except ValueError:
        return None
    return values if all(map(math.isfinite, values)) else None
