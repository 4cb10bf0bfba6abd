"""Many replicas as one row: how many succeed, how long they take."""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
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
    "repeated", *(f"{name}_defined" for name in QUANTITIES),
)  # fmt: skip
_OUTCOME = COLUMNS.index("outcome")
_SEED, _SCALE = COLUMNS.index("seed"), COLUMNS.index("init_scale")
_PLACES = [COLUMNS.index(name) for name in QUANTITIES]
Statistics = dict[str, Any]  # numbers, None where nothing is defined


class Tally:
    """Takes rows of replicas.csv of jobs that differ by their seed alone, keeps the numbers whose
    quantiles are asked for. Replicas with the same seed and scale are one and the same: only the
    first of them counts."""

    def __init__(self) -> None:
        self.jobs = 0
        self.repeated = 0  # rows that do not count
        self.seeds = defaultdict[str, set[int]](set)  # that were met, by init_scale
        self.outcomes: Counter[str] = Counter()
        self.values = [(place, array("d")) for place in _PLACES]

    def add(self, row: Sequence[str]) -> None:
        """A replica: its cells in the order of COLUMNS."""
        if row[_SEED]:
            met, seed = self.seeds[row[_SCALE]], int(row[_SEED])
            if seed in met:
                self.repeated += 1
                return
            met.add(seed)
        self.outcomes[row[_OUTCOME]] += 1
        for place, values in self.values:
            if row[place]:
                values.append(float(row[place]))

    def statistics(self) -> Statistics:
        """STATISTICS. success is the fraction at a global minimum, with its 95% Wilson interval;
        quantiles are over the replicas where a quantity is defined, None where there is none.
        `replicas` are those that count. Needs one replica."""
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
        values += [self.repeated, *(len(sample) for _, sample in self.values)]
        return dict(zip(STATISTICS, values, strict=True))
