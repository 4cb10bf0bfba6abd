"""The files of a run: results before pictures, DONE last."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reludyn.experiment import analyses, stability
from reludyn.experiment.build import Experiment
from reludyn.experiment.instruments import Instrument
from reludyn.experiment.results import Record
from reludyn.experiment.resume import Change, Origin
from reludyn.recording import lemma_table, replica_rows
from reludyn.recording.console.stages import Say, silent
from reludyn.runs.folder import LAST, write_done
from reludyn.system.errors import why
from reludyn.system.files import write_csv, write_json, write_npz
from reludyn.training.checkpoint import Checkpoint, save_checkpoint
from reludyn.training.engine import State

log = logging.getLogger(__name__)


def leave(
    record: Record,
    origin: Origin,
    folder: Path,
    began: float,
    alone: bool = False,
    say: Say = silent,
) -> tuple[list[Path], dict[str, object]]:
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
            save_checkpoint(folder / LAST, checkpoint_of(parts, origin, record.state))
        write_done(folder, origin.digest)
    return pictures, summary


def checkpoint_of(
    parts: Experiment, origin: Origin, state: State, instrument: Instrument | None = None
) -> Checkpoint:
    basis = None if parts.subspace is None else parts.subspace.basis
    described = origin.described(parts.device)
    return Checkpoint(state, basis, described, {} if instrument is None else instrument.saved())


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
