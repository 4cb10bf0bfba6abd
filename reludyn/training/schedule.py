"""When to look, and where stretches of iterations end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np


def look_steps(steps: int, looks: int, spacing: Literal["log", "linear"] = "log") -> list[int]:
    """At most `looks` + 1 increasing iterations from 0 to `steps`, both included (looks >= 1).

    log: the first half of them are consecutive, the others spaced evenly in the logarithm, so that
    fast early changes are seen in full and long runs leave small files. linear: evenly spaced.
    Every iteration if looks >= steps.
    """
    if looks >= steps:
        return list(range(steps + 1))
    if spacing == "linear":
        return [steps * look // looks for look in range(looks + 1)]
    dense = looks // 2
    spaced = np.geomspace(max(dense, 1), steps, looks - dense + 1)[1:].round().astype(int)
    return sorted({*range(dense + 1), *spaced.tolist()})


def stretch_ends(looks: Sequence[int], stretch: int, after: int) -> Iterator[int]:
    """The iterations after `after` at which a stretch ends, increasing: those of the looks, and in
    between the multiples of `stretch`."""
    here = after
    for there in looks:
        while here < there:
            here = min(there, (here // stretch + 1) * stretch)
            yield here
