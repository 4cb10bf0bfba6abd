"""Training under the eyes of all instruments, with predictions, progress and checkpoints."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console

from reludyn.experiment.build import Setup
from reludyn.experiment.expectations import predicted, theory_observer
from reludyn.experiment.resume import ResumePoint
from reludyn.network.outcomes import Reason
from reludyn.recording.console import interruption
from reludyn.recording.console.progress import ProgressReport
from reludyn.recording.look import Look, Observer
from reludyn.system.signals import check, held
from reludyn.theory.predictions import Prediction
from reludyn.training.checkpoint import Checkpoints
from reludyn.training.engine import State
from reludyn.training.trainer import train


class Watcher(Protocol):
    """What takes the looks of a run or of a batch (`reludyn.experiment.instruments`)."""

    @property
    def last_step(self) -> int:
        """The iteration of the latest look, -1 before the first one."""

    def record(self, look: Look) -> None:
        """Take a look."""

    def fits(self, look: Look) -> bool:
        """Return whether the looks that were restored are of the run of this one."""

    def saved(self) -> dict[str, Any]:
        """Return what a checkpoint keeps: `seconds`, and the `columns` of the `trajectory`."""


@dataclass(frozen=True)
class Trained:
    """Where training ended, why, and what had been predicted."""

    state: State
    reason: Reason
    prediction: Prediction | None


class Recorder:
    """What happens between two stretches of iterations: looks, checkpoints, progress."""

    def __init__(
        self,
        setup: Setup,
        watcher: Watcher,
        progress: ProgressReport,
        checkpoints: Checkpoints | None,
    ) -> None:
        self.watcher, self.progress, self.checkpoints = watcher, progress, checkpoints
        self.ranks, objective = setup.plan.ranks, setup.objective
        self.observer = Observer(
            objective.risk,
            setup.A,
            setup.student,
            [job.share for job in setup.jobs],
            objective.beside,
            setup.config.trainer.observables == "full",
            objective.test,
            theory_observer(setup),
        )

    def resume(self, state: State, start: ResumePoint) -> None:
        """Check that a state is of the run that has left it, and show where it resumes."""
        here = self.observer.look(state)
        if not self.watcher.fits(here):
            raise start.refused()
        self.progress.go_on(state.step, here)

    def look(self, state: State) -> None:
        """Look at a state, unless it has been looked at."""
        if self.watcher.last_step < int(state.steps.max()):
            self.progress.made(state.step)
            seen = self.observer.look(state)
            with held():
                self.watcher.record(seen)
            self.progress.record(seen)

    def between(self, state: State) -> None:
        """End the run where a signal has asked for it; save it where that is due."""
        check()
        self.progress.made(state.step)
        if self.checkpoints is not None:
            with held():
                if self.checkpoints.follow(state):
                    self.ranks.note(self.checkpoints)

    def end(self, state: State) -> None:
        """Save the last state, and look at it where the run was interrupted or ran out of time."""
        if self.checkpoints is not None:
            self.checkpoints.begin(state)
            self.checkpoints.save()
            self.ranks.note(self.checkpoints)
        self.look(state)


def follow(
    setup: Setup,
    watcher: Watcher,
    console: Console,
    folder: Path | None = None,
    checkpoints: Checkpoints | None = None,
    start: ResumePoint | None = None,
) -> Trained:
    """Predict and train, from a resume point on if there is one. The folder, which is named where
    the run is interrupted, is the one of its files."""
    plan, engine = setup.plan, setup.engine
    with ProgressReport(console, plan.looks, plan.seconds) as progress:
        progress.expect(prediction := predicted(setup))
        recorder = Recorder(setup, watcher, progress, checkpoints)
        if start is None:
            state = engine.start(setup.student)
        else:
            state = engine.resume(start.checkpoint.state)
            recorder.resume(state, start)
        if checkpoints is not None:
            checkpoints.begin(state)
        plan.ranks.checkpoints = checkpoints if plan.ranks.several else None
        state, reason = train(
            engine,
            state,
            plan.looks,
            plan.stretch,
            recorder.look,
            plan.seconds,
            plan.ranks,
            recorder.between,
        )
        if reason == Reason.INTERRUPTED:
            with suppress(OSError):  # nobody reads it: the run is saved all the same
                step, jobs = int(state.steps.max()), len(setup.jobs)
                progress.say(interruption.announced(step, jobs, folder))
        recorder.end(state)
    return Trained(state, reason, prediction)
