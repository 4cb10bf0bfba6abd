"""Many replicas as one row: how many succeed, how long they take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import numpy as np

from reludyn.recording.columns import COLUMNS
from reludyn.statistics import wilson

QUANTITIES = ("T_align", "T_growth", "T_converged", "loss", "rate_measured")
QUANTILES = {"median": 0.5, "p10": 0.1, "p90": 0.9}
STATISTICS = (
    "jobs", "replicas", "success", "success_low", "success_high", "stuck", "diverged",
    *(f"{name}_{level}" for name in QUANTITIES for level in QUANTILES),
    "repeated", *(f"{name}_defined" for name in QUANTITIES),
)  # fmt: skip
_OUTCOME = COLUMNS.index("outcome")
_SEED, _SCALE = COLUMNS.index("seed"), COLUMNS.index("init_scale")
_PLACES = [COLUMNS.index(name) for name in QUANTITIES]
Replica = tuple[Any, ...]  # its outcome, then QUANTITIES, None where one is not defined
Statistics = dict[str, Any]  # numbers, None where nothing is defined


class Tally:
    """The replicas of some jobs, and of each the numbers whose quantiles are asked for. Replicas
    with the same settings, seed and scale are one and the same: only the first of them counts."""

    def __init__(self, settings: Iterable[str] = (), jobs: int = 0) -> None:
        """settings: the values of what is swept, but for the seed, of the rows that are added, and
        of how many jobs these are."""
        self.settings = tuple(settings)
        self.jobs = jobs
        self.repeated = 0  # rows that do not count
        self.replicas: dict[Hashable, Replica] = {}

    def add(self, row: Sequence[str]) -> None:
        """Add a replica: its cells in the order of COLUMNS."""
        numbers = (float(row[place]) if row[place] else None for place in _PLACES)
        own = (row[_SEED], row[_SCALE]) if row[_SEED] else len(self.replicas)
        self._count((self.settings, own), (row[_OUTCOME], *numbers))

    def join(self, other: Tally) -> None:
        """Add all its replicas."""
        self.jobs += other.jobs
        self.repeated += other.repeated
        for key, replica in other.replicas.items():
            self._count(key, replica)

    def _count(self, key: Hashable, replica: Replica) -> None:
        self.repeated += key in self.replicas
        self.replicas.setdefault(key, replica)

    def statistics(self) -> Statistics:
        """Return STATISTICS. success is the fraction at a global minimum, with its 95% Wilson
        interval; quantiles are over the replicas where a quantity is defined, None where there is
        none. `replicas` are those that count. Needs one replica."""
        outcomes, *columns = zip(*self.replicas.values(), strict=True)
        count, replicas = Counter(outcomes), len(outcomes)
        values: list[Any] = [
            self.jobs,
            replicas,
            *wilson(count["global_minimum"], replicas),
            count["non_strict_saddle"] / replicas,
            count["diverged"] / replicas,
        ]
        samples = [[x for x in column if x is not None] for column in columns]
        for sample in samples:
            if sample:
                values += np.quantile(sample, [*QUANTILES.values()]).tolist()
            else:
                values += [None] * len(QUANTILES)
        values += [self.repeated, *map(len, samples)]
        return dict(zip(STATISTICS, values, strict=True))
