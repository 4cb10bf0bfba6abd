"""An experiment: the parts that a config names (`reludyn.experiment.build`), run under the eyes
of all instruments, and the files that it leaves."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import torch
from rich.console import Console

from reludyn.config.schema import Config
from reludyn.experiment import stability
from reludyn.experiment.build import Experiment, build
from reludyn.experiment.expectations import predicted, theory_observer
from reludyn.experiment.instruments import Desk, Instrument, Looks, events_folder, steps_of
from reludyn.experiment.memory import explained
from reludyn.experiment.results import Record, measure
from reludyn.experiment.resume import (
    Begin,
    Origin,
    begin,
    check_fits,
    compare_makers,
    goes_on_in,
    shared,
)
from reludyn.experiment.write import checkpoint_of, leave
from reludyn.optim.gradient_descent import BEGINNING
from reludyn.recording.console import interruption
from reludyn.recording.console.progress import ProgressReport
from reludyn.recording.console.report import PLAIN, print_report
from reludyn.recording.console.stages import Stages
from reludyn.recording.look import Observer
from reludyn.runs.folder import LAST, claim
from reludyn.system.environment import describe
from reludyn.system.files import provide_scratch
from reludyn.system.signals import check, held
from reludyn.theory.predictions import Prediction
from reludyn.training.checkpoint import Checkpoints
from reludyn.training.distributed import ranks
from reludyn.training.engine import State
from reludyn.training.trainer import StoppedBecause, reason_of, train

log = logging.getLogger(__name__)


def run(origin: Origin, folder: Path, alone: bool = True, quiet: bool = False) -> StoppedBecause:
    """Train, leave all files of a run in `folder` (DONE last), and print what came out, unless it
    is quiet."""
    config = origin.config
    began, console = time.perf_counter(), Console(quiet=quiet)
    claim(folder, goes_on=goes_on_in(config.resume, folder))
    start = begin(config, folder)
    if start is not None:
        origin, began = replace(origin, changes=start.changes), began - start.seen["seconds"]
    provide_scratch(folder)
    record = experiment(config, console, folder, origin, start, alone)
    with Stages(console, "writing the files") as say:
        pictures, summary = leave(record, origin, folder, began, alone, say)
    print_report(console, folder, summary, record.rows, pictures)
    if record.reason == "interrupted":
        console.print("\n".join(interruption.left(folder, alone)), **PLAIN)
    if record.reason == "diverged":
        log.error("%s", _diverged(record))
    return record.reason


def _diverged(record: Record) -> str:
    """What is said of a run in which every replica has diverged."""
    lr, bound = record.parts.config.optimizer.lr, stability.bound(record.parts)
    steps = record.state.steps.min()
    known = f": a balanced minimum is stable below {bound:.3g} (2/sharpness)" if bound else ""
    return (
        f"every replica diverged, the first at step {steps:,}. Use a smaller optimizer.lr "
        f"than {lr:g}{known}"
    )


def experiment(
    config: Config,
    console: Console,
    folder: Path | None = None,
    origin: Origin | None = None,
    start: Begin | None = None,
    alone: bool = True,
) -> Record:
    """Train and measure, from a checkpoint on if there is one; with a folder, checkpoints and
    TensorBoard's events go there (see `events_folder` for a run that is not alone)."""
    with explained(config):
        return _experiment(config, console, folder, origin, start, alone)


def _experiment(
    config: Config,
    console: Console,
    folder: Path | None,
    origin: Origin | None,
    start: Begin | None,
    alone: bool,
) -> Record:
    if config.resume is not None:
        start = shared(start)
    with Stages(console, "setting up"):
        parts = build(config, since=BEGINNING if start is None else start.since)
    if start is not None:
        check_fits(start, parts)
    _say_where(parts)
    if parts.objective.read is not None:
        console.print(str(parts.objective.read), **PLAIN)
    events = None if folder is None else events_folder(config, folder, alone)
    with closing(Desk(parts, events, start)) as desk:
        checkpoints = None
        if folder is not None and origin is not None:
            checkpoints = _checkpoints(parts, folder / LAST, origin, desk, start)
            if start is not None:
                checkpoints.save()  # before the files that it speaks of are replaced
            desk.replace()
        state, reason, prediction = follow(parts, console, desk, folder, checkpoints, start)
    return measure(parts, state, reason, desk, prediction)


def _checkpoints(
    parts: Experiment, file: Path, origin: Origin, instrument: Instrument, start: Begin | None
) -> Checkpoints:
    """Return what saves a run, or a batch, in a file, from where it resumes on."""
    trainer = parts.config.trainer
    checkpoints = Checkpoints(
        file,
        lambda state: checkpoint_of(parts, origin, state, instrument),
        trainer.checkpoint_steps or math.inf,
        60 * (trainer.checkpoint_minutes or math.inf),
    )
    if start is not None:
        compare_makers(start, origin.described(parts.device))
        checkpoints.begin(start.checkpoint.state)
    return checkpoints


@dataclass(frozen=True)
class Together:
    """Several jobs that were trained as one batch."""

    parts: Experiment
    state: State
    reason: StoppedBecause
    looks: Looks
    prediction: Prediction | None

    def record(self, place: int, folder: Path | None = None) -> Record:
        """What came out of a job, by its place, as if it had been alone. Nothing is logged of it
        before, and its events are written now."""
        job = self.parts.jobs[place]
        replicas, alone = job.share.replicas, self.parts.of(job)
        part = self.state.take(torch.arange(replicas.start, replicas.stop, device=alone.device))
        reason = self.reason if part.running.any() else reason_of(part)
        prediction = None if self.prediction is None else self.prediction.of(replicas)
        _say_where(alone)
        events = None if folder is None else events_folder(alone.config, folder, alone=False)
        with closing(Desk(alone, events)) as desk:
            self.looks.show(job.share, desk)
        return measure(alone, part, reason, desk, prediction)


def train_together(
    configs: Sequence[Config],
    console: Console,
    file: Path | None = None,
    origin: Origin | None = None,
    start: Begin | None = None,
) -> Together:
    """Train several jobs as one batch, from a checkpoint on if there is one; with a file, its
    checkpoints go there."""
    parts, checkpoints = build(*configs), None
    if start is not None:
        check_fits(start, parts)
    looks = Looks(len(steps_of(parts.config.trainer)), start)
    if file is not None and origin is not None:
        checkpoints = _checkpoints(parts, file, origin, looks, start)
    state, reason, prediction = follow(parts, console, looks, None, checkpoints, start)
    return Together(parts, state, reason, looks, prediction)


def follow(
    parts: Experiment,
    console: Console,
    instrument: Instrument,
    folder: Path | None = None,
    checkpoints: Checkpoints | None = None,
    start: Begin | None = None,
) -> tuple[State, StoppedBecause, Prediction | None]:
    """Predict, and train under the eyes of an instrument. The folder is where the files will be."""
    config, objective, engine = parts.config, parts.objective, parts.engine
    theory = start is None or start.has_theory
    observer = Observer(
        objective.risk,
        parts.A,
        parts.student,
        [job.share for job in parts.jobs],
        objective.beside,
        config.trainer.observables == "full",
        objective.test,
        theory_observer(parts, theory),
    )
    seconds = math.inf if config.trainer.max_seconds is None else config.trainer.max_seconds
    seconds -= 0.0 if start is None else start.seen["seconds"]
    if ranks().several:
        ranks().checkpoints = checkpoints
    with ProgressReport(console, steps_of(config.trainer), seconds) as progress:
        progress.expect(prediction := predicted(parts) if theory else None)
        if start is None:
            state = engine.start(parts.student)
        else:
            state = engine.go_on(start.checkpoint.state)
            instrument.check(here := observer.look(state), start)
            progress.go_on(state.step, here)
        if checkpoints is not None:
            checkpoints.begin(state)

        def look(state: State) -> None:
            if instrument.last_step < int(state.steps.max()):
                progress.made(state.step)
                seen = observer.look(state)
                with held():
                    instrument.record(seen)
                progress.record(seen)

        def made(state: State) -> None:
            check()
            progress.made(state.step)
            if checkpoints is not None:
                with held():
                    if checkpoints.follow(state):
                        ranks().note()

        state, reason = train(
            engine, state, steps_of(config.trainer), parts.stretch, look, seconds, ranks(), made
        )
        if reason == "interrupted":
            with suppress(OSError):  # nobody reads it: it is saved all the same
                said = interruption.announced(int(state.steps.max()), len(parts.jobs), folder)
                progress.say(said)
        if checkpoints is not None:
            checkpoints.begin(state)
            checkpoints.save()
            ranks().note()
        look(state)  # of one that was interrupted, or ran out of time
    return state, reason, prediction


def _say_where(parts: Experiment) -> None:
    log.info("reludyn %s, %s", version("reludyn"), describe(parts.device))
    if parts.objective.read is not None:
        log.info("%s", parts.objective.read)
