"""Who takes the looks of a run: the instruments of one job, or a batch of jobs for all of them."""

from __future__ import annotations

import logging
import time
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from reludyn.assembly import Experiment
from reludyn.live import LivePicture
from reludyn.recording import bounds
from reludyn.recording.look import Look, Share
from reludyn.recording.trajectory import Parts, Trajectory, parts_of
from reludyn.resume import Begin
from reludyn.settings import Config, Trainer
from reludyn.training.schedule import look_steps

if TYPE_CHECKING:
    from reludyn.recording.tensorboard import TensorBoard

log = logging.getLogger(__name__)
Array = NDArray[Any]


def steps_of(trainer: Trainer) -> list[int]:
    """The iterations at which a run is looked at."""
    spacing: Any = trainer.spacing
    return look_steps(trainer.steps, trainer.looks, spacing)


class Instrument(Protocol):
    """Anything that takes looks."""

    @property
    def last_step(self) -> int:
        """Of the latest look."""

    def record(self, look: Look) -> None: ...


class Looks:
    """All looks of a batch; each job takes its own when the batch has come to its end."""

    def __init__(self) -> None:
        self.seen: list[Look] = []

    @property
    def last_step(self) -> int:
        return self.seen[-1].step if self.seen else -1

    def record(self, look: Look) -> None:
        self.seen.append(look)

    @cached_property
    def _stacked(self) -> tuple[Array, Array, Array, Parts]:
        """steps, times, going (T, R), and what was seen (T, ...)."""
        steps, times, going = (
            np.stack([getattr(look, name) for look in self.seen])
            for name in ("steps", "times", "going")
        )
        parts = [parts_of(look) for look in self.seen]
        columns = (
            {name: np.stack([part[i][name] for part in parts]) for name in parts[0][i]}
            for i in range(3)
        )
        return steps, times, going, Parts(*columns)

    def show(self, share: Share, desk: Desk) -> None:
        """To the instruments of one job, until the look at which none of its replicas goes on:
        there it would have ended."""
        steps, times, going, parts = self._stacked
        on: Array = np.any(going[:, share.replicas], axis=1)
        T = len(on) if on.all() else int(on.argmin()) + 1
        its_own = Parts(
            {name: x[:T, share.replicas] for name, x in parts.replicas.items()},
            {name: x[:T, share.replicas] for name, x in parts.neurons.items()},
            {name: x[:T, share.kept] for name, x in parts.kept.items()},
        )
        steps, times = (x[:T, share.replicas].max(1) for x in (steps, times))
        desk.trajectory.fill(steps, times, its_own)
        if desk.board is not None:
            for look in self.seen[:T]:
                desk.board.record(look.of(share))


def events_folder(config: Config, folder: Path, alone: bool) -> Path | None:
    """Where TensorBoard's events of a run go, in its folder. A job of a sweep has none unless
    `logger.jobs` asks for them: TensorBoard deselects all of more than 40 runs, and the sweep
    shows what came out of its jobs."""
    wanted = config.logger.name == "tensorboard" and (alone or config.logger.jobs)
    return folder / "tensorboard" if wanted else None


class Desk:
    """The instruments of one job; with a folder for events, TensorBoard's go there. Those of a run
    that goes on have what they had recorded when its checkpoint was written."""

    def __init__(self, parts: Experiment, events: Path | None, begin: Begin | None = None) -> None:
        self.began, self.parts = time.perf_counter(), parts
        config, trainer = parts.config, parts.config.trainer
        looks = steps_of(trainer)
        self.trajectory = Trajectory(len(looks), config.data.dim)
        shown = min(trainer.keep_weights, config.replicas)
        self.checks = bounds.BoundsTable(parts.seeds, shown) if config.theory.bounds else None
        self.board: TensorBoard | None = None
        self.picture: LivePicture | None = None
        if begin is not None:
            self._restore(begin)
        if events is not None:
            from reludyn.recording.dashboard import opening
            from reludyn.recording.tensorboard import TensorBoard

            earlier = None if begin is None else _events(begin)
            self.board = TensorBoard(events, config, looks, shown, earlier)
            if begin is None or earlier is None or begin.changes:
                self.board.open(max(self.last_step, 0), opening(config, parts.device))
            if config.figures:
                self.picture = LivePicture(config, self.board.add_image)

    def _restore(self, begin: Begin) -> None:
        self.began -= begin.seen["seconds"]
        self.trajectory.restore(begin.seen["trajectory"])
        if self.checks is not None:
            self.checks.restore(begin.seen["checks"])

    def replace(self) -> None:
        """What an earlier part of the run left in the same folder, and is here, too, goes."""
        if self.board is not None:
            self.board.replace()

    def saved(self) -> dict[str, Any]:
        """What all instruments have recorded, in plain values and arrays."""
        saved: dict[str, Any] = {"seconds": self.seconds, "trajectory": self.trajectory.saved()}
        if self.checks is not None:
            saved["checks"] = self.checks.saved()
        if self.board is not None:
            saved["board"] = self.board.saved()
        return saved

    @property
    def last_step(self) -> int:
        return self.trajectory.last_step

    @property
    def seconds(self) -> float:
        """Since it was set up."""
        return time.perf_counter() - self.began

    def record(self, look: Look) -> None:
        if self.board is not None:
            self.board.record(look)
        if self.checks is not None:
            self.checks.record(look)
        self.trajectory.record(look)  # a look is complete once it is there
        if self.board is not None:
            self.board.mark()
        if self.picture is not None:
            self.picture.record(look, self.arrays)

    def arrays(self) -> dict[str, Array]:
        """Those of trajectory.npz, of the looks so far, the weights in all inputs."""
        return self.trajectory.arrays(self._lift, self.parts.teacher.A.numpy())

    def close(self) -> None:
        if self.board is not None:
            self.board.close()

    def _lift(self, W: Array) -> Array:
        """(T, R', k, m) -> (T, R', k, d)."""
        subspace = self.parts.subspace
        if subspace is None:
            return W
        basis = subspace.basis[: W.shape[1]].numpy().astype(W.dtype)
        lifted: Array = np.matmul(W, basis.swapaxes(-1, -2))
        return lifted


def _events(begin: Begin) -> tuple[dict[str, Any], Path] | None:
    """What TensorBoard's files begin with, and where it is."""
    folder = None if begin.folder is None else begin.folder / "tensorboard"
    if "board" in begin.seen and folder is not None and folder.is_dir():
        return begin.seen["board"], folder
    log.warning("there are no events of the earlier part: the curves begin here")
    return None
