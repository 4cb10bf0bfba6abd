"""What a run is seen by: a list of instruments that take its looks, or a batch that keeps all."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from reludyn.experiment.build import Setup
from reludyn.experiment.live_picture import LivePicture
from reludyn.experiment.resume import ResumePoint
from reludyn.recording.lemma_table import BoundsTable
from reludyn.recording.look import Look, Share
from reludyn.recording.trajectory import Parts, Rows, Trajectory, parts_of
from reludyn.training.checkpoint import is_count

log = logging.getLogger(__name__)
Array = NDArray[Any]


class Instrument(Protocol):
    """Anything that takes the looks of a run and resumes from what a checkpoint holds of it."""

    def record(self, look: Look) -> None:
        """Take a look."""

    def saved(self) -> Mapping[str, Any]:
        """Return what a checkpoint keeps, in plain values and arrays; empty: nothing."""

    def restore(self, saved: Any) -> None:
        """Resume from there. Raises ValueError, TypeError or KeyError for anything else."""

    def close(self) -> None:
        """Take no further look."""


class Instruments:
    """The instruments of one job, by the names that a checkpoint has for them. The trajectory
    comes after the others of which a checkpoint speaks: with it a look is complete."""

    def __init__(
        self, setup: Setup, events: Path | None = None, start: ResumePoint | None = None
    ) -> None:
        """events: the folder of TensorBoard's events, if there are any; start: what the
        instruments resume from. Raises ConfigError where that is not of this run."""
        self.began, self.setup, self.events = time.perf_counter(), setup, events
        config = setup.config
        shown = min(config.trainer.keep_weights, config.replicas)
        self.lemmas = BoundsTable(setup.seeds, shown) if config.theory.bounds else None
        self.trajectory = Trajectory(len(setup.plan.looks), config.data.dim)
        self.every: dict[str, Instrument] = {}
        if self.lemmas is not None:
            self.every["checks"] = self.lemmas
        self.every["trajectory"] = self.trajectory
        if start is not None:
            self.began -= start.seen["seconds"]
            for name, instrument in self.every.items():
                with start.checked():
                    instrument.restore(start.seen[name])
        if events is not None:
            self._watch(events, shown, start)

    def _watch(self, events: Path, shown: int, start: ResumePoint | None) -> None:
        """Add TensorBoard, before the others, and the picture of a long run, behind them."""
        from reludyn.recording.tensorboard.dashboard import opening
        from reludyn.recording.tensorboard.writer import TensorBoard

        setup, config = self.setup, self.setup.config
        board = TensorBoard(events, config, setup.plan.looks, shown)
        earlier = None if start is None else _events(start)
        if earlier is not None:
            board.restore(earlier)
        if start is None or earlier is None or start.changes:
            first = max(self.last_step, 0)
            board.open(first, opening(config, setup.plan.device, setup.objective.read))
        self.every = {"board": board, **self.every}
        if config.figures:
            self.every["picture"] = LivePicture(config, board.add_image, self.arrays)

    @property
    def last_step(self) -> int:
        """The iteration of the latest look, -1 before the first one."""
        return self.trajectory.last_step

    @property
    def seconds(self) -> float:
        """The time since the run was set up, without the time between its parts."""
        return time.perf_counter() - self.began

    def record(self, look: Look) -> None:
        """Show a look to all instruments."""
        for instrument in self.every.values():
            instrument.record(look)

    def fits(self, look: Look) -> bool:
        """Return whether the looks that were restored are of the run of this one."""
        return self.trajectory.fits(look)

    def saved(self) -> dict[str, Any]:
        """Return what a checkpoint keeps of all instruments."""
        parts = {name: instrument.saved() for name, instrument in self.every.items()}
        return {"seconds": self.seconds, **{name: part for name, part in parts.items() if part}}

    def arrays(self) -> dict[str, Array]:
        """Return the arrays of trajectory.npz so far, the weights in all inputs."""
        return self.trajectory.arrays(self._lift, self.setup.teacher.A.numpy())

    def close(self) -> None:
        """Close all instruments."""
        for instrument in self.every.values():
            instrument.close()

    def _lift(self, W: Array) -> Array:
        """Return W (T, R', k, m) as (T, R', k, d)."""
        subspace = self.setup.subspace
        if subspace is None:
            return W
        basis = subspace.basis[: W.shape[1]].numpy().astype(W.dtype)
        lifted: Array = np.matmul(W, basis.swapaxes(-1, -2))
        return lifted


class BatchLooks:
    """All looks of a batch, at most so many; each job takes its own when the batch has ended. A
    batch that resumes begins with the looks of its checkpoint."""

    def __init__(self, looks: int, start: ResumePoint | None = None) -> None:
        self.began, self.room, self.rows = time.perf_counter(), looks + 1, Rows()
        if start is not None:
            self.began -= start.seen["seconds"]
            self.rows.fill(start.seen["trajectory"]["columns"])

    @property
    def last_step(self) -> int:
        """The iteration of the latest look, -1 before the first one."""
        return self._look(-1).step if self.rows.count else -1

    @property
    def seconds(self) -> float:
        """The time since the batch was set up, without the time between its parts."""
        return time.perf_counter() - self.began

    def record(self, look: Look) -> None:
        """Keep a look."""
        self.rows.put(self.rows.count, look.columns, self.room)

    def fits(self, look: Look) -> bool:
        """Return whether the looks that were restored are of the batch of this one."""
        kept, younger = self.rows.columns, look.measured.keys() - {"loss"}  # than the checkpoint
        return look.columns.keys() - younger <= kept.keys() and all(
            (kept[name].shape[1:], kept[name].dtype) == (x.shape, x.dtype)
            for name, x in look.columns.items()
            if name in kept
        )

    def saved(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"seconds": self.seconds, "trajectory": {"columns": self.rows.columns}}

    def show(self, share: Share, instruments: Instruments) -> None:
        """Show the looks to the instruments of one job, until the one at which none of its replicas
        is running: there the job would have ended."""
        columns, names = self.rows.columns, parts_of(self._look(0))
        on: Array = np.any(columns["going"][:, share.replicas], axis=1)
        T = len(on) if on.all() else int(on.argmin()) + 1
        its_own = Parts(
            {name: columns[name][:T, share.replicas] for name in names.replicas},
            {name: columns[name][:T, share.replicas] for name in names.neurons},
            {name: columns[name][:T, share.kept] for name in names.kept},
        )
        steps, times = (columns[name][:T, share.replicas].max(1) for name in ("steps", "times"))
        instruments.trajectory.fill(steps, times, its_own)
        if (board := instruments.every.get("board")) is not None:
            for place in range(T):
                board.record(self._look(place).of(share))

    def _look(self, place: int) -> Look:
        return Look.of_columns({name: x[place] for name, x in self.rows.columns.items()})


def _events(start: ResumePoint) -> tuple[dict[str, Any], Path] | None:
    """Return what TensorBoard's files begin with, and where it is."""
    folder = None if start.folder is None else start.folder / "tensorboard"
    if "board" in start.seen and folder is not None and folder.is_dir():
        board = start.seen["board"]
        if not all(map(_is_file, board.values() if isinstance(board, dict) else [board])):
            raise start.refused()
        return board, folder
    log.warning("there are no events of the earlier part: the curves begin here")
    return None


def _is_file(entry: object) -> bool:
    """Return whether an entry is the name of a file and its bytes."""
    match entry:
        case [str(name), size]:
            return Path(name).name == name and is_count(size)
    return False
