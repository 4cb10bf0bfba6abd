"""An experiment: the parts that a config names (`reludyn.experiment.build`), run under the eyes
of all instruments, and the files that it leaves."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from reludyn import __version__
from reludyn.config.rules import has_theory
from reludyn.config.schema import Config
from reludyn.experiment import analyses, stability
from reludyn.experiment.build import Experiment, build, own
from reludyn.experiment.instruments import Desk, Instrument, Looks, events_folder, steps_of
from reludyn.experiment.memory import explained
from reludyn.experiment.results import Record, measure
from reludyn.experiment.resume import (
    Begin,
    Change,
    Origin,
    begin,
    check_fits,
    compare_makers,
    goes_on_in,
    shared,
)
from reludyn.network.notation import of_replicas
from reludyn.network.student import ReLUStudent
from reludyn.optim.gradient_descent import BEGINNING
from reludyn.recording import lemma_table, replica_rows
from reludyn.recording.console import interruption
from reludyn.recording.console.progress import ProgressReport
from reludyn.recording.console.report import PLAIN, print_report
from reludyn.recording.console.stages import Say, Stages, silent
from reludyn.recording.look import Observer, kept_replicas
from reludyn.recording.theory_observer import Checked, TheoryObserver
from reludyn.runs.folder import LAST, claim, write_done
from reludyn.system.environment import describe
from reludyn.system.errors import why
from reludyn.system.files import provide_scratch, write_csv, write_json, write_npz
from reludyn.system.signals import check, held
from reludyn.theory.predictions import Prediction, forecast, predict
from reludyn.training.checkpoint import Checkpoint, Checkpoints, save_checkpoint
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


def leave(
    record: Record, origin: Origin, folder: Path, began: float, alone: bool = False,
    say: Say = silent,
) -> tuple[list[Path], dict[str, object]]:  # fmt: skip
    """Write all files of a run, the results before the pictures, DONE last; returns its pictures
    and its summary. A run that is alone has a row in HPARAMS; those of a sweep have it with the
    sweep's table."""
    parts = record.parts
    write_npz(folder / "trajectory.npz", record.arrays)
    write_csv(folder / "replicas.csv", replica_rows.COLUMNS, record.rows)
    if record.bounds is not None:
        write_csv(folder / "bounds.csv", lemma_table.COLUMNS, record.bounds.rows)
    if record.reason != "interrupted":
        _survey(record, folder, say)
    summary = record.summary | {"wall_seconds": time.perf_counter() - began}
    if origin.changes:
        summary["changes"] = [_said(change) for change in origin.changes]
    write_json(folder / "summary.json", summary)
    pictures: list[Path] = []
    if record.reason != "interrupted" and parts.config.figures:
        say("drawing the figures")
        pictures = draw(folder, parts.config.picture)
    if record.events is not None:
        _complete_board(record, record.events, pictures, summary, alone)
    if record.reason != "interrupted":
        if not (folder / LAST).exists():  # it did not train alone
            save_checkpoint(folder / LAST, _checkpoint(parts, origin, record.state))
        write_done(folder, origin.digest)
    return pictures, summary


def experiment(
    config: Config, console: Console, folder: Path | None = None, origin: Origin | None = None,
    start: Begin | None = None, alone: bool = True,
) -> Record:  # fmt: skip
    """Train and measure, from a checkpoint on if there is one; with a folder, checkpoints and
    TensorBoard's events go there (see `events_folder` for a run that is not alone)."""
    with explained(config):
        return _experiment(config, console, folder, origin, start, alone)


def _experiment(
    config: Config, console: Console, folder: Path | None, origin: Origin | None,
    start: Begin | None, alone: bool,
) -> Record:  # fmt: skip
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
        lambda state: _checkpoint(parts, origin, state, instrument),
        trainer.checkpoint_steps or math.inf,
        60 * (trainer.checkpoint_minutes or math.inf),
    )
    if start is not None:
        compare_makers(start, origin.described(parts.device))
        checkpoints.begin(start.checkpoint.state)
    return checkpoints


def _checkpoint(
    parts: Experiment, origin: Origin, state: State, instrument: Instrument | None = None
) -> Checkpoint:
    basis = None if parts.subspace is None else parts.subspace.basis
    described = origin.described(parts.device)
    return Checkpoint(state, basis, described, {} if instrument is None else instrument.saved())


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
        memory = self.parts.engine.optimizer.memory_of(self.state.memory, replicas)
        reason = self.reason if part.running.any() else reason_of(part)
        prediction = None if self.prediction is None else self.prediction.of(replicas)
        _say_where(alone)
        events = None if folder is None else events_folder(alone.config, folder, alone=False)
        with closing(Desk(alone, events)) as desk:
            self.looks.show(job.share, desk)
        return measure(alone, replace(part, memory=memory), reason, desk, prediction)


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
    parts: Experiment, console: Console, instrument: Instrument, folder: Path | None = None,
    checkpoints: Checkpoints | None = None, start: Begin | None = None,
) -> tuple[State, StoppedBecause, Prediction | None]:  # fmt: skip
    """Predict, and train under the eyes of an instrument. The folder is where the files will be."""
    config, objective, engine = parts.config, parts.objective, parts.engine
    theory = start is None or start.has_theory
    observer = Observer(
        objective.risk, parts.A, parts.student, [job.share for job in parts.jobs],
        objective.beside, config.trainer.observables == "full", objective.test,
        _theory_observer(parts, theory),
    )  # fmt: skip
    seconds = math.inf if config.trainer.max_seconds is None else config.trainer.max_seconds
    seconds -= 0.0 if start is None else start.seen["seconds"]
    if ranks().several:
        ranks().checkpoints = checkpoints
    with ProgressReport(console, steps_of(config.trainer), seconds) as progress:
        progress.expect(prediction := _predict(parts) if theory else None)
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


def draw(folder: Path, picture: str) -> list[Path]:
    """Return the pictures of a run; each that cannot be drawn is a line in the log."""

    def failed(name: str, error: Exception) -> None:
        trace = log.isEnabledFor(logging.DEBUG)
        log.warning("there is no picture %s: %s", name, why(error), exc_info=trace)

    try:
        from reludyn import figures  # imports matplotlib

        return figures.draw(folder, picture, failed=failed)
    except Exception as error:
        failed(picture, error)
        return []


def _complete_board(
    record: Record, folder: Path, pictures: Sequence[Path], summary: Mapping[str, Any], alone: bool
) -> None:
    """Add to TensorBoard's events what is known at the end."""
    from reludyn.recording.tensorboard import hparams
    from reludyn.recording.tensorboard.writer import finish

    session = None
    if alone:
        success = record.reason not in ("diverged", "interrupted", "stuck")
        outcomes = [str(row["outcome"]) for row in record.rows]
        results = hparams.results_of(outcomes, summary["median"])
        seconds = summary["wall_seconds"]
        session = hparams.session(record.parts.config, results, seconds, success)
    finish(folder, summary["steps"], pictures, session)


def _survey(record: Record, folder: Path, say: Say) -> None:
    """The files of what is asked for around the run."""
    theory = record.parts.config.theory
    if theory.stationary:
        say("searching stationary points")
        points = analyses.stationary_points(record.parts, record.state)
        write_csv(folder / "stationary_points.csv", analyses.COLUMNS, points.rows)
        write_npz(folder / "stationary_points.npz", points.arrays)
    if theory.plane != "none":
        say("computing the loss on a plane")
        arrays = analyses.plane(record.parts, record.state)
        if arrays:
            write_npz(folder / "plane.npz", arrays)
        else:
            log.warning("no plane: every replica diverged")
    if record.parts.config.data.name == "digits":
        images = analyses.reconstructions(record.parts, record.state)
        write_npz(folder / "reconstructions.npz", images)
    if theory.stability:
        rows = stability.largest_stable(record.parts, record.state, say)
        write_csv(folder / "stability.csv", stability.COLUMNS, rows)
    if theory.margins:
        write_npz(folder / "margins.npz", analyses.margins())


def _said(change: Change) -> dict[str, object]:
    """As JSON has it."""
    time = change["time"]
    return {**change, "time": float(time)}


def _say_where(parts: Experiment) -> None:
    log.info("reludyn %s, %s", __version__, describe(parts.device))
    if parts.objective.read is not None:
        log.info("%s", parts.objective.read)


def _predict(parts: Experiment) -> Prediction | None:
    """What theory says of the population limit, where it speaks."""
    config = parts.config
    if not has_theory(config):
        return None
    initial, A = _on_host(parts)
    lr, tolerance = (
        own(parts.jobs, key, A.device) for key in ("optimizer.lr", "trainer.tolerance")
    )
    activation = parts.objective.risk.activation
    return predict(initial, A, lr, tolerance, config.trainer.steps, activation)


def _theory_observer(parts: Experiment, predicts: bool) -> TheoryObserver:
    config, population = parts.config, parts.objective.population
    kept, checked, expected = kept_replicas([job.share for job in parts.jobs]), None, None
    if predicts and has_theory(config) and len(kept):
        initial, A = _on_host(parts)
        lr = of_replicas(own(parts.jobs, "optimizer.lr", A.device), kept)
        A = A if A.ndim == 2 else A[kept]
        some = initial.map(lambda layer: layer[kept])
        expected = forecast(some, A, lr, parts.objective.risk.activation)
    if config.theory.bounds:
        assert population is not None
        lr, n = config.optimizer.lr, config.data.samples
        checked = Checked(parts.student, population, lr, n)
    of = population if config.theory.spectrum and len(kept) else None
    return TheoryObserver(expected, of, kept, parts.teacher.inputs, checked)


def _on_host(parts: Experiment) -> tuple[ReLUStudent, torch.Tensor]:
    """Initial weights and target, where theory computes."""
    return parts.student.to("cpu", torch.float64), parts.A.to("cpu", torch.float64)
