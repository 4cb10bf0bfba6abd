"""Who takes the looks of a run: the instruments of one job, or a batch of jobs for all of them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from reludyn.assembly import Experiment
from reludyn.combinations import has_theory
from reludyn.recording import bounds, run_files
from reludyn.recording.look import Look, Share
from reludyn.settings import Trainer
from reludyn.training.schedule import look_steps

if TYPE_CHECKING:
    from reludyn.recording.tensorboard import TensorBoard


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
    """All looks of a batch, to be shown to one job after the other."""

    def __init__(self) -> None:
        self.seen: list[Look] = []

    @property
    def last_step(self) -> int:
        return self.seen[-1].step

    def record(self, look: Look) -> None:
        self.seen.append(look)

    def replay(self, share: Share, desk: Desk) -> None:
        """Until the look at which no replica of the job goes on: there it would have ended."""
        for look in self.seen:
            part = look.of(share)
            desk.record(part)
            if not part.running:
                break


class Desk:
    """The instruments of one job; with a folder, TensorBoard's events go there."""

    def __init__(self, parts: Experiment, folder: Path | None) -> None:
        self.began = time.perf_counter()
        config, trainer = parts.config, parts.config.trainer
        self.trajectory = run_files.Trajectory(len(steps_of(trainer)), config.data.dim)
        shown = min(trainer.keep_weights, config.replicas)
        self.checks = bounds.BoundsTable(parts.seeds, shown) if config.theory.bounds else None
        self.board: TensorBoard | None = None
        if config.logger.name == "tensorboard" and folder is not None:
            from reludyn.recording.tensorboard import TensorBoard

            self.board = TensorBoard(
                folder / "tensorboard", parts.seeds, config.logger.replicas,
                shown if has_theory(config) or config.theory.spectrum else 0, config.optimizer.lr,
            )  # fmt: skip

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
        self.trajectory.record(look)  # last: a look is complete once it is there

    def close(self) -> None:
        if self.board is not None:
            self.board.close()
