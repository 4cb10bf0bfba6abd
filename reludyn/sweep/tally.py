"""Many replicas as one row: how many succeed, how long they take."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from reludyn.recording.columns import COLUMNS
from reludyn.statistics import wilson

QUANTITIES = ("T_align", "T_growth", "T_converged", "loss", "rate_measured")
QUANTILES = {"median": 0.5, "p10": 0.1, "p90": 0.9}
STATISTICS = (
    "jobs", "replicas", "success", "success_low", "success_high", "stuck", "diverged",
    *(f"{name}_{level}" for name in QUANTITIES for level in QUANTILES),
)  # fmt: skip
_OUTCOME = COLUMNS.index("outcome")
_PLACES = [COLUMNS.index(name) for name in QUANTITIES]
Statistics = dict[str, Any]  # numbers, None where nothing is defined


class Tally:
    """Takes rows of replicas.csv, keeps the numbers whose quantiles are asked for."""

    def __init__(self, jobs: int = 0) -> None:
        """Of so many jobs; those that are joined are added."""
        self.jobs = jobs
        self.outcomes: Counter[str] = Counter()
        self.values = [(place, array("d")) for place in _PLACES]

    def add(self, row: Sequence[str]) -> None:
        """A replica: its cells in the order of COLUMNS."""
        self.outcomes[row[_OUTCOME]] += 1
        for place, values in self.values:
            if row[place]:
                values.append(float(row[place]))

    def join(self, other: Tally) -> None:
        """Add all its replicas."""
        self.jobs += other.jobs
        self.outcomes += other.outcomes
        for (_, values), (_, others) in zip(self.values, other.values, strict=True):
            values.extend(others)

    def statistics(self) -> Statistics:
        """STATISTICS. success is the fraction at a global minimum, with its 95% Wilson interval;
        quantiles are over the replicas where a quantity is defined, None where there is none.
        Needs one replica."""
        count = self.outcomes
        replicas = count.total()
        values: list[Any] = [
            self.jobs,
            replicas,
            *wilson(count["global_minimum"], replicas),
            count["non_strict_saddle"] / replicas,
            count["diverged"] / replicas,
        ]
        for _, sample in self.values:
            if sample:
                values += np.quantile(sample, [*QUANTILES.values()]).tolist()
            else:
                values += [None] * len(QUANTILES)
        return dict(zip(STATISTICS, values, strict=True))
