"""The lemmas along a trajectory: bounds.csv, and what was violated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reludyn.recording.look import Look
from reludyn.theory.lemmas import STATEMENTS
from reludyn.training.checkpoint import is_count

COLUMNS = (
    "step",
    "replica",
    "seed",
    "statement",
    "neuron",
    "left",
    "right",
    "margin",
    "applies",
    "holds",
)
MOST = 100_000  # rows of violations that are listed; all are counted
Row = dict[str, object]


@dataclass
class Tally:
    """Record of one statement over all replicas and looks."""

    checked: int = 0
    violated: int = 0
    first_violation: int | None = None  # the earliest step
    replicas: set[int] = field(default_factory=set)  # that violate it
    smallest_margin: float | None = None  # (right - left) / right

    def as_json(self) -> dict[str, object]:
        return {
            "checked": self.checked,
            "violated": self.violated,
            "replicas_violating": len(self.replicas),
            "first_violation": self.first_violation,
            "smallest_margin": self.smallest_margin,
        }


class BoundsTable:
    """Takes looks: every check of the first replicas, and every violation of any."""

    def __init__(self, seeds: Sequence[int], shown: int) -> None:
        self.seeds, self.shown = seeds, shown
        self.rows: list[Row] = []
        self.tallies = {name: Tally() for name in STATEMENTS}
        self.listed = 0  # violations of replicas that are not shown
        self.steps = np.full(len(seeds), -1)

    def saved(self) -> dict[str, object]:
        """Return all that it has taken, in plain values and arrays."""
        tallies = {
            name: vars(tally) | {"replicas": sorted(tally.replicas)}
            for name, tally in self.tallies.items()
        }
        rows = [[row[name] for name in COLUMNS] for row in self.rows]
        return {"rows": rows, "tallies": tallies, "listed": self.listed, "steps": self.steps}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Continue from what was saved. Raises ValueError, TypeError or KeyError for what is not
        that."""
        self.rows = [dict(zip(COLUMNS, row, strict=True)) for row in saved["rows"]]
        self.tallies = {
            name: Tally(**values | {"replicas": set(values["replicas"])})
            for name, values in saved["tallies"].items()
        }
        if self.tallies.keys() != {*STATEMENTS} or saved["steps"].shape != self.steps.shape:
            raise ValueError("the same lemmas and replicas")
        for tally in self.tallies.values():
            first, margin = tally.first_violation, tally.smallest_margin
            counts = [tally.checked, tally.violated, *tally.replicas, first or 0, saved["listed"]]
            if not all(map(is_count, counts)) or not (margin is None or np.isfinite(margin)):
                raise ValueError("counts and a margin")
        self.listed, self.steps = saved["listed"], saved["steps"]

    def close(self) -> None:
        """Do nothing: `reludyn.experiment.write` writes the table."""

    def record(self, look: Look) -> None:
        """Check every statement at a look."""
        steps = look.steps
        new = steps > self.steps  # a replica that has stopped is not checked again
        self.steps = steps
        for name, sides in look.beside.bounds.items():
            left, right, applies = (x.numpy() for x in sides)
            applies = applies & new[:, None]
            violated = applies & ~(left <= right)  # also where a side is not a number
            margin = right - left
            self._count(self.tallies[name], steps, right, margin, applies, violated)
            listed = new[:, None] & np.ones_like(applies)
            listed[self.shown :] = violated[self.shown :]
            for j, i in np.argwhere(listed).tolist():
                if j >= self.shown:
                    self.listed += 1
                    if self.listed > MOST:
                        continue
                on = bool(applies[j, i])
                numbers = [float(x[j, i]) for x in (left, right, margin)]
                neuron = i + 1 if left.shape[1] > 1 else None
                holds = not violated[j, i] if on else None
                place = (int(steps[j]), j, self.seeds[j], name, neuron)
                cells = (*place, *(_finite(x) for x in numbers), on, holds)
                self.rows.append(dict(zip(COLUMNS, cells, strict=True)))

    @property
    def violated(self) -> dict[str, Tally]:
        return {name: tally for name, tally in self.tallies.items() if tally.violated}

    @staticmethod
    def _count(
        tally: Tally,
        steps: NDArray[np.int64],
        right: NDArray[np.float64],
        margin: NDArray[np.float64],
        applies: NDArray[np.bool_],
        violated: NDArray[np.bool_],
    ) -> None:
        if not applies.any():
            return
        tally.checked += int(applies.sum())
        with np.errstate(divide="ignore", invalid="ignore"):
            relative = margin[applies] / np.abs(right[applies])
        earlier = [] if tally.smallest_margin is None else [tally.smallest_margin]
        seen = [*relative[np.isfinite(relative)].tolist(), *earlier]
        tally.smallest_margin = min(seen, default=None)
        if violated.any():
            replicas = violated.any(1)
            tally.violated += int(violated.sum())
            tally.replicas |= set(np.flatnonzero(replicas).tolist())
            first = int(steps[replicas].min())
            known = tally.first_violation
            tally.first_violation = first if known is None else min(first, known)


def _finite(x: float) -> float | None:
    return x if np.isfinite(x) else None
