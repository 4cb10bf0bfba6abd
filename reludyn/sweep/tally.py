"""Many replicas as one row: how many succeed, how long they take."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Hashable, Sequence
from sys import intern
from typing import Any

import numpy as np

from reludyn.network.outcomes import Event, Outcome
from reludyn.numerics.statistics import wilson
from reludyn.runs.columns import COLUMNS

QUANTITIES = (*Event, "loss", "rate_measured")
QUANTILES = {"median": 0.5, "p10": 0.1, "p90": 0.9}
STATISTICS = (
    "jobs",
    "replicas",
    "success",
    "success_low",
    "success_high",
    "stuck",
    "diverged",
    *(f"{name}_{level}" for name in QUANTITIES for level in QUANTILES),
    "repeated",
    *(f"{name}_defined" for name in QUANTITIES),
)
_OUTCOME = COLUMNS.index("outcome")
_SEED, _SCALE = COLUMNS.index("seed"), COLUMNS.index("init_scale")
_PLACES = [COLUMNS.index(name) for name in QUANTITIES]
Statistics = dict[str, Any]  # numbers, None where they are not defined


class Tally:
    """Counter of replicas that keeps the numbers whose quantiles are needed.

    It takes rows of replicas.csv. Replicas with the same settings, seed and scale are one and the
    same: only the first of them counts.
    """

    def __init__(self, jobs: int = 0, settings: Hashable = None) -> None:
        """Begin with a number of jobs, whose settings tell their replicas from those of others."""
        self.jobs, self.settings = jobs, settings
        self.repeated = 0  # rows that do not count
        self.replicas: dict[Hashable, tuple[str, array[float]]] = {}  # outcome, NaN: not defined

    def add(self, row: Sequence[str]) -> None:
        """Add a replica: its cells in the order of COLUMNS."""
        seed = row[_SEED] or object()  # missing in files of a version that did not write it
        values = array("d", (float(row[place] or "nan") for place in _PLACES))
        self._count((self.settings, seed, row[_SCALE]), (intern(row[_OUTCOME]), values))

    def join(self, other: Tally) -> None:
        """Add all replicas of another tally."""
        self.jobs += other.jobs
        self.repeated += other.repeated
        for which, found in other.replicas.items():
            self._count(which, found)

    def _count(self, which: Hashable, found: tuple[str, array[float]]) -> None:
        self.repeated += which in self.replicas
        self.replicas.setdefault(which, found)

    def statistics(self) -> Statistics:
        """Return STATISTICS. Needs one replica.

        success is the fraction at a global minimum, with its 95% Wilson interval. Quantiles are
        over the replicas where a quantity is defined, None where there are none. `replicas` are
        those that count.
        """
        count = Counter(outcome for outcome, _ in self.replicas.values())
        replicas = count.total()
        values: list[Any] = [
            self.jobs,
            replicas,
            *wilson(count[Outcome.GLOBAL_MINIMUM], replicas),
            count[Outcome.NON_STRICT_SADDLE] / replicas,
            count[Outcome.DIVERGED] / replicas,
        ]
        table = np.array([found for _, found in self.replicas.values()])
        samples = [column[~np.isnan(column)] for column in table.T]
        for sample in samples:
            if len(sample):
                values += np.quantile(sample, [*QUANTILES.values()]).tolist()
            else:
                values += [None] * len(QUANTILES)
        values += [self.repeated, *map(len, samples)]
        return dict(zip(STATISTICS, values, strict=True))
