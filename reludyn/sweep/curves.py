"""The curves of several jobs as one: bands over all their replicas, from their files."""

from __future__ import annotations

from collections.abc import Container, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from reludyn.network.outcomes import Event
from reludyn.recording.quantities import CORE
from reludyn.recording.registry import numbers_of
from reludyn.recording.tensorboard.bands import quantiles
from reludyn.runs.read import arrays_of
from reludyn.runs.table import Table

POINTS = 200  # points of a curve
REPLICAS = 2000  # replicas that are read: the error of their median is 3% of a standard deviation
EVENTS = {
    "fraction/aligned": Event.ALIGNED,
    "fraction/grown": Event.GROWN,
}  # columns of replicas.csv
Array = NDArray[Any]


class Curves(NamedTuple):
    """Values (T,) by tag at steps (T,), and the number of jobs that were left out."""

    steps: Array
    values: dict[str, Array]
    left_out: int


def curves(folders: Sequence[Path]) -> Curves:
    """Return bands over the replicas of all these jobs, and the fraction past each event.

    At most REPLICAS are read, the first ones of each job. The steps are looks of the longest job; a
    replica has the value of its last look up to there, and keeps its last value once it has
    stopped. Jobs are left out whose trajectory.npz has been removed, or is damaged.
    """
    some = folders[:: -(-len(folders) // REPLICAS)]
    looks = [found["step"] for folder in some if (found := _read(folder, ["step"]))]
    if not looks:
        return Curves(np.empty(0, int), {}, len(some))
    longest = max(looks, key=lambda steps: (steps[-1], len(steps)))
    steps = longest[np.unique(np.linspace(0, len(longest) - 1, POINTS).round().astype(int))]
    jobs = [_job(folder, steps, max(1, REPLICAS // len(some))) for folder in some]
    read = [job for job in jobs if job]
    joined = {
        tag: np.concatenate([job[tag] for job in read if tag in job], axis=1)
        for tag in dict.fromkeys(tag for job in read for tag in job)
    }
    fractions = {tag: x.mean(1) for tag, x in joined.items() if tag in EVENTS}
    bands = {
        f"{tag}/{level}": values
        for tag, x in joined.items()
        if tag not in EVENTS
        for level, values in quantiles(x).items()
    }
    return Curves(steps, bands | fractions, len(jobs) - len(read))


def _job(folder: Path, steps: Array, replicas: int) -> dict[str, Array]:
    """Return by tag what the first replicas of a job have at these steps, (T, R)."""
    found = _read(folder, ["step", *CORE])
    if not found:
        return {}
    at = np.searchsorted(found.pop("step"), steps, side="right") - 1
    table = Table.read(folder / "replicas.csv")
    return numbers_of(CORE, {name: x[at, :replicas] for name, x in found.items()}) | {
        tag: table[name][:replicas] <= steps[:, None] for tag, name in EVENTS.items()
    }


def _read(folder: Path, names: Container[str]) -> dict[str, Array]:
    """Return arrays of trajectory.npz; none where it cannot be read."""
    try:
        return arrays_of(folder / "trajectory.npz", names)
    except (OSError, ValueError):
        return {}
