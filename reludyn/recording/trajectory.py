"""The trajectory of a run, as trajectory.npz keeps it: its looks within a size limit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from reludyn.recording.look import Look
from reludyn.recording.registry import Array
from reludyn.training.checkpoint import is_count, is_duration

Columns = dict[str, Array]
SIZE_LIMIT = 2**28  # bytes of the trajectory kept: above it looks or replicas are thinned
DENSE = 512  # looks for which neurons and weights must have room

_PLAN = ("whole", "seen", "stride", "last_step", "left_out", "replicas", "weights", "row_bytes")


class Parts(NamedTuple):
    """Arrays of a look by name: one number per replica; several per replica; those of the replicas
    whose weights are kept. The arrays of T looks have a further axis T in front."""

    replicas: Columns
    neurons: Columns
    kept: Columns

    def map(self, change: Callable[[Array], Array]) -> Parts:
        """Return all arrays after the same change."""
        return Parts(*({name: change(x) for name, x in columns.items()} for columns in self))


def parts_of(look: Look) -> Parts:
    """Return what is kept of a look."""
    return Parts(
        {name: x for name, x in look.measured.items() if x.ndim == 1},
        {name: x for name, x in look.measured.items() if x.ndim > 1},
        {**look.beside.predicted, **look.beside.spectrum, "W": look.W, "V": look.V},
    )


class Rows:
    """Rows of the same names, each name in one piece of memory, of which only what has been filled
    is used. A quantity that a row lacks is not a number there."""

    def __init__(self) -> None:
        self.held: Columns = {}
        self.count = 0

    @property
    def columns(self) -> Columns:
        """(T, ...) each: views."""
        return {name: x[: self.count] for name, x in self.held.items()}

    def fill(self, columns: Columns) -> None:
        """Take all rows at once."""
        self.held, self.count = dict(columns), len(next(iter(columns.values())))

    def put(self, place: int, row: Columns, room: int) -> None:
        """Make this the last row, with room for so many rows in all."""
        for name, x in row.items():
            if name not in self.held:
                self.held[name] = np.empty((room, *x.shape), x.dtype)
                if place:
                    self.held[name][:place] = np.nan
        for name, x in self.held.items():
            if place == len(x):
                x = np.concatenate([x, np.empty_like(x, shape=(room, *x.shape[1:]))])
                self.held[name] = x
            x[place] = row.get(name, np.nan)
        self.count = place + 1

    def halve(self) -> int:
        """Keep every second row, and the last one. Return how many are left without the last one,
        if it is not one of them."""
        left = -(-self.count // 2)
        for x in self.held.values():
            last = x[self.count - 1].copy()
            x[:left] = x[: self.count : 2]
            x[left] = last
        self.count = left + (self.count % 2 == 0)
        return left


class Trajectory:
    """Keeps the looks of a run within a size limit.

    Neurons and weights are kept for as many of the first replicas as leave room for DENSE looks;
    whenever the limit is reached every second look is dropped. The first and the last look stay,
    and `thinned` says what was left out.
    """

    def __init__(self, looks: int, inputs: int, limit: int = SIZE_LIMIT) -> None:
        self.expected, self.inputs, self.limit = looks, inputs, limit
        self.rows = Rows()
        self.whole = 0  # rows that stay; a further one is the latest look, if it is thinned away
        self.seen, self.stride, self.last_step = 0, 1, -1
        self.replicas, self.weights, self.row_bytes = 0, 0, 0.0  # what there is room for
        self.left_out: list[str] = []

    def record(self, look: Look) -> None:
        """Take one look after the other."""
        parts = parts_of(look)
        if self.seen == 0:
            self._plan(parts)
        step, time = np.array(look.step), np.array(look.time)
        self.rows.put(self.whole, self._cut(step, time, parts), self._room)
        self.whole += self.seen % self.stride == 0
        self.seen, self.last_step = self.seen + 1, look.step
        if self._too_many(self.whole):
            self.stride *= 2
            self.whole = self.rows.halve()

    def fill(self, steps: Array, times: Array, parts: Parts) -> None:
        """Take all looks at once: steps and times (T,), and what was seen."""
        self._plan(parts.map(lambda x: x[0]))
        self.seen, self.last_step = len(steps), int(steps[-1])
        while self._too_many(-(-self.seen // self.stride)):
            self.stride *= 2
        columns = self._cut(steps, times, parts, slice(None))
        if self.stride > 1:
            at = sorted({*range(0, self.seen, self.stride), self.seen - 1})
            columns = {name: x[at] for name, x in columns.items()}
        self.rows.fill(columns)

    def saved(self) -> dict[str, Any]:
        """Return all that it has kept and needs to continue, in plain values and arrays."""
        plan = {name: getattr(self, name) for name in _PLAN}
        return plan | {"columns": self.rows.columns}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Continue from what was saved. Raises ValueError, TypeError or KeyError for what is not
        that."""
        counts = [saved[name] for name in _PLAN if name not in ("left_out", "row_bytes")]
        if not all(map(is_count, counts)) or not is_duration(saved["row_bytes"]):
            raise TypeError("numbers of looks, replicas and bytes")
        if not all(isinstance(text, str) for text in saved["left_out"]):
            raise TypeError("words")
        for name in _PLAN:
            setattr(self, name, saved[name])
        self.rows.fill(saved["columns"])

    def close(self) -> None:
        """Do nothing: `reludyn.experiment.write` writes the arrays."""

    def fits(self, look: Look) -> bool:
        """Return whether what was kept has the form of this look, which is of the same run. A
        quantity that the version which saved it did not know is not a number up to here."""
        kept = self.rows.columns
        row = self._cut(np.array(look.step), np.array(look.time), parts_of(look))
        same = all(
            (kept[name].shape[1:], kept[name].dtype) == (x.shape, x.dtype)
            if (x := row.get(name)) is not None
            else kept[name].dtype.kind == "f"
            for name in kept
        )
        complete = {"step", "time", "loss", "W", "V"} <= {*kept}  # others may be younger than it
        counted = self.whole <= self.rows.count <= self.whole + 1 and self.seen >= self.whole > 0
        known = self.last_step == kept["step"][-1] <= look.step and self.stride > 0
        return bool(same and complete and counted and known and self.row_bytes > 0)

    @property
    def thinned(self) -> str:
        """Description of what is not in the file; empty where everything is."""
        looks = [f"every {self.stride}th look"] if self.stride > 1 else []
        return ", ".join([*looks, *self.left_out])

    def arrays(self, lift: Callable[[Array], Array], A: Array) -> Columns:
        """Return the arrays of trajectory.npz; `lift` maps W (T, R', k, m) to (T, R', k, d)."""
        arrays = self.rows.columns
        return arrays | {"W": lift(arrays["W"]), "A": A, "thinned": np.array(self.thinned)}

    @property
    def _room(self) -> int:
        """Rows that there will be at once, at most."""
        return int(min(self.expected, max(2, self.limit // self.row_bytes))) + 1

    def _too_many(self, rows: int) -> bool:
        return rows > 2 and rows * self.row_bytes > self.limit

    def _plan(self, first: Parts) -> None:
        """Decide how many replicas show their neurons and their weights: a quarter of the room
        each."""
        room = self.limit / min(self.expected, DENSE) / 4
        W, V = first.kept["W"], first.kept["V"]
        R, (kept, k, _) = len(first.replicas["loss"]), W.shape
        losses = sum(x.nbytes for x in first.replicas.values())
        neurons = sum(x.nbytes for x in first.neurons.values()) / R
        beside = sum(x.nbytes for x in first.kept.values()) - W.nbytes - V.nbytes
        weights = W.itemsize * k * (self.inputs + V.shape[1]) + beside / max(kept, 1)
        self.replicas = int(min(R, max(1, room // neurons)))  # the pictures need one
        self.weights = int(min(kept, room // weights))
        self.row_bytes = losses + self.replicas * neurons + self.weights * weights
        if self.replicas < R:
            self.left_out.append(f"neurons of {self.replicas} of {R} replicas")
        if self.weights < kept:
            self.left_out.append(f"weights of {self.weights} of {kept} replicas")

    def _cut(self, step: Array, time: Array, parts: Parts, *looks: slice) -> Columns:
        """Return what there is room for, of one look or, with a slice for their axis, of
        several."""
        neurons, kept = (*looks, slice(self.replicas)), (*looks, slice(self.weights))
        return {
            "step": step,
            "time": time,
            **parts.replicas,
            **{name: x[neurons] for name, x in parts.neurons.items()},
            **{name: x[kept] for name, x in parts.kept.items()},
        }
