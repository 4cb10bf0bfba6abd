"""The files of a run, each complete or absent: trajectory.npz, replicas.csv, summary.json, DONE."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reludyn.files import atomic, csv_file
from reludyn.recording.look import Look

Array = NDArray[Any]
SIZE_LIMIT = 2**28  # bytes of the trajectory kept: above it looks or replicas are thinned
# all that a run may leave beside its log
LEAVES = (
    "DONE", "summary.json", "replicas.csv", "trajectory.npz", "bounds.csv", "plane.npz",
    "stationary_points.csv", "stationary_points.npz", "margins.npz", "reconstructions.npz",
    "checkpoints", "tensorboard", "figures", ".hydra",
)  # fmt: skip
DENSE = 512  # looks for which neurons and weights must have room

_LOSSES = ("loss", "loss_linear", "loss_rectification", "loss_population")
_NEURONS = ("w_norm", "v_norm", "angle_to_target", "imbalance", "angle_between")


class Trajectory:
    """Keeps the looks of a run within a size limit.

    Neurons and weights are kept for as many of the first replicas as leave room for DENSE looks;
    whenever the limit is reached every second look is dropped. The first and the last look stay,
    and `thinned` says what was left out.
    """

    def __init__(self, looks: int, inputs: int, limit: int = SIZE_LIMIT) -> None:
        self.expected, self.inputs, self.limit = looks, inputs, limit
        self.rows: list[dict[str, Array]] = []
        self.pending: dict[str, Array] | None = None  # the latest look, if thinned away
        self.seen, self.stride, self.last_step = 0, 1, -1
        self.left_out: list[str] = []

    def record(self, look: Look) -> None:
        if self.seen == 0:
            self._plan(look)
        row = self._row(look)
        if self.seen % self.stride == 0:
            self.rows.append(row)
            self.pending = None
        else:
            self.pending = row
        self.seen, self.last_step = self.seen + 1, look.step
        if len(self.rows) > 2 and len(self.rows) * self.row_bytes > self.limit:
            self.stride *= 2
            kept = self.rows[::2]
            self.pending = None if kept[-1] is row else row
            self.rows = kept

    @property
    def thinned(self) -> str:
        """What is not in the file; empty where everything is."""
        looks = [f"every {self.stride}th look"] if self.stride > 1 else []
        return ", ".join([*looks, *self.left_out])

    def arrays(self, lift: Callable[[Array], Array], A: Array) -> dict[str, Array]:
        """The arrays of trajectory.npz; `lift` maps W (T, R', k, m) to (T, R', k, d)."""
        rows = self.rows if self.pending is None else [*self.rows, self.pending]
        arrays = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        arrays["W"] = lift(arrays["W"])
        return arrays | {"A": A, "thinned": np.array(self.thinned)}

    def _plan(self, first: Look) -> None:
        """How many replicas show their neurons and their weights: a quarter of the room each."""
        room = self.limit / min(self.expected, DENSE) / 4
        R, (kept, k, _) = len(first.loss), first.W.shape
        losses = sum(a.nbytes for a in _of_replicas(first).values())
        neurons = sum(a.nbytes for a in _of_neurons(first).values()) / R
        weights = first.W.itemsize * k * (self.inputs + first.V.shape[1])
        weights += sum(a.nbytes for a in _of_the_first(first).values()) / max(kept, 1)
        self.replicas = int(min(R, max(1, room // neurons)))  # the pictures need one
        self.weights = int(min(kept, room // weights))
        self.row_bytes = losses + self.replicas * neurons + self.weights * weights
        if self.replicas < R:
            self.left_out.append(f"neurons of {self.replicas} of {R} replicas")
        if self.weights < kept:
            self.left_out.append(f"weights of {self.weights} of {kept} replicas")

    def _row(self, look: Look) -> dict[str, Array]:
        row = {"step": np.array(look.step), "time": np.array(look.time), **_of_replicas(look)}
        row |= {name: a[: self.replicas].copy() for name, a in _of_neurons(look).items()}
        row |= {name: a[: self.weights].copy() for name, a in _of_the_first(look).items()}
        return row | {"W": look.W[: self.weights].copy(), "V": look.V[: self.weights].copy()}


def _of_replicas(look: Look) -> dict[str, Array]:
    """What has one number a replica."""
    return _present(look, _LOSSES) | {name: a for name, a in look.full.items() if a.ndim == 1}


def _of_neurons(look: Look) -> dict[str, Array]:
    """What has several."""
    return _present(look, _NEURONS) | {name: a for name, a in look.full.items() if a.ndim > 1}


def _of_the_first(look: Look) -> dict[str, Array]:
    """What is there for the replicas whose weights are kept."""
    return {**look.beside.predicted, **look.beside.spectrum}


def _present(look: Look, names: Sequence[str]) -> dict[str, Array]:
    arrays = {name: getattr(look, name) for name in names}
    return {name: a for name, a in arrays.items() if a is not None}


def write_npz(path: Path, arrays: Mapping[str, Array]) -> None:
    """Uncompressed, complete or not there at all."""
    with atomic(path) as file:
        np.savez(file, **dict(arrays))  # type: ignore[arg-type]  # NumPy's stub has allow_pickle


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, object]]) -> None:
    """One row a replica; None is empty, floats in full precision."""
    with csv_file(path, columns) as add:
        for row in rows:
            add([row[c] for c in columns])


def write_json(path: Path, values: Mapping[str, object]) -> None:
    """Indented; NaN is not JSON and must have become None."""
    with atomic(path) as file:
        file.write((json.dumps(values, indent=2, allow_nan=False) + "\n").encode())


def write_done(folder: Path, digest: str) -> None:
    """DONE, last of all: the run finished, with the config of this hash."""
    with atomic(folder / "DONE") as file:
        file.write(f"{digest}\n".encode())
