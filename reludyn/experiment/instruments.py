"""Who takes the looks of a run: the instruments of one job, or a batch of jobs for all of them."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from reludyn.config.schema import Config, Trainer
from reludyn.experiment.build import Experiment
from reludyn.experiment.live_picture import LivePicture
from reludyn.experiment.resume import Begin
from reludyn.recording import lemma_table
from reludyn.recording.look import Look, Share
from reludyn.recording.trajectory import Parts, Rows, Trajectory, parts_of
from reludyn.system.errors import ConfigError
from reludyn.training.checkpoint import is_count
from reludyn.training.schedule import look_steps

if TYPE_CHECKING:
    from reludyn.recording.tensorboard.writer import TensorBoard

log = logging.getLogger(__name__)
Array = NDArray[Any]


def steps_of(trainer: Trainer) -> list[int]:
    """The iterations at which a run is looked at."""
    spacing: Any = trainer.spacing
    return look_steps(trainer.steps, trainer.looks, spacing)


class Instrument(Protocol):
    """Anything that takes looks, and can be restored from what a checkpoint holds of it."""

    @property
    def last_step(self) -> int:
        """Of the latest look."""

    def record(self, look: Look) -> None: ...

    def check(self, look: Look, begin: Begin) -> None:
        """Raise ConfigError where the looks that were restored are not of the run of this one."""

    def saved(self) -> dict[str, Any]:
        """Return all that it has recorded, in plain values and arrays: its `seconds`, and under
        `trajectory` the `columns` of its looks."""


class Looks:
    """All looks of a batch, at most so many; each job takes its own when the batch has come to its
    end. Those of a batch that resumes begin with the ones that its checkpoint holds."""

    def __init__(self, looks: int, begin: Begin | None = None) -> None:
        self.began, self.room, self.rows = time.perf_counter(), looks + 1, Rows()
        if begin is not None:
            self.began -= begin.seen["seconds"]
            self.rows.fill(begin.seen["trajectory"]["columns"])

    @property
    def last_step(self) -> int:
        return self._look(-1).step if self.rows.count else -1

    @property
    def seconds(self) -> float:
        """Since the batch was set up, without the time between its parts."""
        return time.perf_counter() - self.began

    def record(self, look: Look) -> None:
        self.rows.put(self.rows.count, look.columns, self.room)

    def check(self, look: Look, begin: Begin) -> None:
        kept = self.rows.columns
        fits = look.columns.keys() <= kept.keys() and all(
            (kept[name].shape[1:], kept[name].dtype) == (x.shape, x.dtype)
            for name, x in look.columns.items()
        )
        if not fits:
            raise _of_another(begin)

    def saved(self) -> dict[str, Any]:
        return {"seconds": self.seconds, "trajectory": {"columns": self.rows.columns}}

    def show(self, share: Share, desk: Desk) -> None:
        """Show the looks to the instruments of one job, until the one at which none of its replicas
        goes on: there it would have ended."""
        columns, names = self.rows.columns, parts_of(self._look(0))
        on: Array = np.any(columns["going"][:, share.replicas], axis=1)
        T = len(on) if on.all() else int(on.argmin()) + 1
        its_own = Parts(
            {name: columns[name][:T, share.replicas] for name in names.replicas},
            {name: columns[name][:T, share.replicas] for name in names.neurons},
            {name: columns[name][:T, share.kept] for name in names.kept},
        )
        steps, times = (columns[name][:T, share.replicas].max(1) for name in ("steps", "times"))
        desk.trajectory.fill(steps, times, its_own)
        if desk.board is not None:
            for place in range(T):
                desk.board.record(self._look(place).of(share))

    def _look(self, place: int) -> Look:
        return Look.of_columns({name: x[place] for name, x in self.rows.columns.items()})


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
        self.checks = lemma_table.BoundsTable(parts.seeds, shown) if config.theory.bounds else None
        self.board: TensorBoard | None = None
        self.picture: LivePicture | None = None
        if begin is not None:
            self._restore(begin)
        if events is not None:
            from reludyn.recording.tensorboard.dashboard import opening
            from reludyn.recording.tensorboard.writer import TensorBoard

            earlier = None if begin is None else _events(begin)
            self.board = TensorBoard(events, config, looks, shown, earlier)
            if begin is None or earlier is None or begin.changes:
                self.board.open(
                    max(self.last_step, 0), opening(config, parts.device, parts.objective.read)
                )
            if config.figures:
                self.picture = LivePicture(config, self.board.add_image)

    def _restore(self, begin: Begin) -> None:
        self.began -= begin.seen["seconds"]
        try:
            self.trajectory.restore(begin.seen["trajectory"])
            if self.checks is not None:
                self.checks.restore(begin.seen["checks"])
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise _of_another(begin) from error

    def check(self, look: Look, begin: Begin) -> None:
        if not self.trajectory.fits(look):
            raise _of_another(begin)

    def replace(self) -> None:
        """Take away the events of an earlier part in the same folder, which are here, too, and of
        an attempt that saved nothing."""
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


def _of_another(begin: Begin) -> ConfigError:
    allowed = "what its checkpoint has recorded is not of this run"
    return ConfigError("resume", begin.folder or ..., allowed, "Start the run anew")


def _events(begin: Begin) -> tuple[dict[str, Any], Path] | None:
    """What TensorBoard's files begin with, and where it is."""
    folder = None if begin.folder is None else begin.folder / "tensorboard"
    if "board" in begin.seen and folder is not None and folder.is_dir():
        board = begin.seen["board"]
        if not all(map(_is_file, board.values() if isinstance(board, dict) else [board])):
            raise _of_another(begin)
        return board, folder
    log.warning("there are no events of the earlier part: the curves begin here")
    return None


def _is_file(entry: object) -> bool:
    """Whether it is the name of a file and its bytes."""
    match entry:
        case [str(name), size]:
            return Path(name).name == name and is_count(size)
    return False
