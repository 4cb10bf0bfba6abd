"""A run, from its config to its files."""

from __future__ import annotations

import logging
import time
from contextlib import closing
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

from rich.console import Console

from reludyn.config.schema import Config
from reludyn.experiment import stability
from reludyn.experiment.build import Setup, build
from reludyn.experiment.checkpoints import make_checkpoints
from reludyn.experiment.follow import follow
from reludyn.experiment.instruments import Instruments
from reludyn.experiment.memory import explained
from reludyn.experiment.results import Results, collect
from reludyn.experiment.resume import Provenance, ResumePoint, find_resume_point, shared
from reludyn.experiment.write import write_files
from reludyn.network.outcomes import Reason
from reludyn.recording.console import interruption
from reludyn.recording.console.report import PLAIN, print_report
from reludyn.recording.console.stages import Stages
from reludyn.runs.folder import LAST
from reludyn.system.environment import describe
from reludyn.system.files import provide_scratch
from reludyn.training.distributed import ALONE, Ranks

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Place:
    """Where a run leaves its files, what they say of its origin, and whether it is no job of a
    sweep."""

    folder: Path
    provenance: Provenance
    alone: bool = True


def run(place: Place, quiet: bool = False, ranks: Ranks = ALONE) -> Reason:
    """Train, leave all files of a run in its folder (DONE last), and print what came out, unless
    it is quiet."""
    config, folder = place.provenance.config, place.folder
    began, console = time.perf_counter(), Console(quiet=quiet)
    start = find_resume_point(config, folder)
    if start is not None:
        place = replace(place, provenance=replace(place.provenance, changes=start.changes))
        began -= start.seen["seconds"]
    provide_scratch(folder)
    results = execute(config, console, ranks, start, place)
    with Stages(console, "writing the files") as say:
        pictures, summary = write_files(results, place.provenance, folder, began, place.alone, say)
    print_report(console, folder, summary, results.rows, pictures)
    if results.reason == Reason.INTERRUPTED:
        console.print("\n".join(interruption.left(folder, place.alone)), **PLAIN)
    if results.reason == Reason.DIVERGED:
        log.error("%s", _diverged(results))
    return results.reason


def execute(
    config: Config,
    console: Console,
    ranks: Ranks = ALONE,
    start: ResumePoint | None = None,
    place: Place | None = None,
) -> Results:
    """Set up, train and measure a run, from a resume point on if there is one; with a place,
    checkpoints and TensorBoard's events go there."""
    with explained(config):
        if config.resume is not None:
            start = shared(start, ranks)
        with Stages(console, "setting up"):
            setup = build(config, ranks=ranks, start=start)
        log_setup(setup)
        if setup.objective.read is not None:
            console.print(str(setup.objective.read), **PLAIN)
        events = None if place is None else events_folder(config, place.folder, place.alone)
        with closing(Instruments(setup, events, start)) as instruments:
            checkpoints = folder = None
            if place is not None:
                folder = place.folder
                file = folder / LAST
                checkpoints = make_checkpoints(setup, file, place.provenance, instruments, start)
                if start is not None:
                    checkpoints.save()  # before the files that it speaks of are replaced
            trained = follow(setup, instruments, console, folder, checkpoints, start)
        return collect(setup, trained, instruments)


def events_folder(config: Config, folder: Path, alone: bool) -> Path | None:
    """Return where TensorBoard's events of a run go, in its folder. A job of a sweep has none
    unless `logger.jobs` asks for them: TensorBoard deselects all of more than 40 runs, and the
    sweep shows what came out of its jobs."""
    wanted = config.logger.name == "tensorboard" and (alone or config.logger.jobs)
    return folder / "tensorboard" if wanted else None


def log_setup(setup: Setup) -> None:
    """Log with what a run is made, and what was read from files."""
    log.info("reludyn %s, %s", version("reludyn"), describe(setup.plan.device))
    if setup.objective.read is not None:
        log.info("%s", setup.objective.read)


def _diverged(results: Results) -> str:
    """Return what is reported of a run in which every replica has diverged."""
    lr, bound = results.setup.config.optimizer.lr, stability.bound(results.setup)
    steps = results.trained.state.steps.min()
    known = f": a balanced minimum is stable below {bound:.3g} (2/sharpness)" if bound else ""
    return (
        f"every replica diverged, the first at step {steps:,}. Use a smaller optimizer.lr "
        f"than {lr:g}{known}"
    )
