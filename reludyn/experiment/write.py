"""The files of a run: results before pictures, DONE last."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reludyn.experiment import analyses, stability
from reludyn.experiment.checkpoints import checkpoint_of
from reludyn.experiment.results import Results
from reludyn.experiment.resume import Change, Provenance
from reludyn.network.outcomes import Reason
from reludyn.recording import lemma_table, replica_rows
from reludyn.recording.console.stages import Status, silent
from reludyn.runs.folder import LAST, write_done
from reludyn.system.errors import why
from reludyn.system.files import write_csv, write_json, write_npz
from reludyn.training.checkpoint import save_checkpoint

log = logging.getLogger(__name__)


def write_files(
    results: Results,
    provenance: Provenance,
    folder: Path,
    began: float,
    alone: bool = False,
    status: Status = silent,
) -> tuple[list[Path], dict[str, object]]:
    """Write all files of a run, the results before the pictures, DONE last; return its pictures
    and its summary. A run that is alone has a row in HPARAMS; the jobs of a sweep have theirs with
    the sweep's table."""
    setup = results.setup
    write_npz(folder / "trajectory.npz", results.arrays)
    write_csv(folder / "replicas.csv", replica_rows.COLUMNS, results.rows)
    if results.bounds is not None:
        write_csv(folder / "bounds.csv", lemma_table.COLUMNS, results.bounds.rows)
    if results.reason != Reason.INTERRUPTED:
        _survey(results, folder, status)
    summary = results.summary | {"wall_seconds": time.perf_counter() - began}
    if provenance.changes:
        summary["changes"] = [_said(change) for change in provenance.changes]
    write_json(folder / "summary.json", summary)
    pictures: list[Path] = []
    if results.reason != Reason.INTERRUPTED and setup.config.figures:
        status("drawing the figures")
        pictures = draw(folder, setup.config.picture)
    if results.events is not None:
        _complete_board(results, results.events, pictures, summary, alone)
    if results.reason != Reason.INTERRUPTED:
        if not (folder / LAST).exists():  # it did not train alone
            save_checkpoint(folder / LAST, checkpoint_of(setup, provenance, results.trained.state))
        write_done(folder, provenance.digest)
    return pictures, summary


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
    results: Results,
    folder: Path,
    pictures: Sequence[Path],
    summary: Mapping[str, Any],
    alone: bool,
) -> None:
    """Add to TensorBoard's events what is known at the end."""
    from reludyn.recording.tensorboard import hparams
    from reludyn.recording.tensorboard.writer import finish

    session = None
    if alone:
        success = results.reason not in (Reason.DIVERGED, Reason.INTERRUPTED, Reason.STUCK)
        outcomes = [str(row["outcome"]) for row in results.rows]
        found = hparams.results_of(outcomes, summary["median"])
        seconds = summary["wall_seconds"]
        session = hparams.session(results.setup.config, found, seconds, success)
    finish(folder, summary["steps"], pictures, session)


def _survey(results: Results, folder: Path, status: Status) -> None:
    """The files of what is asked for around the run."""
    theory = results.setup.config.theory
    if theory.stationary:
        status("searching stationary points")
        points = analyses.stationary_points(results.setup, results.trained.state)
        write_csv(folder / "stationary_points.csv", analyses.COLUMNS, points.rows)
        write_npz(folder / "stationary_points.npz", points.arrays)
    if theory.plane != "none":
        status("computing the loss on a plane")
        arrays = analyses.plane(results.setup, results.trained.state)
        if arrays:
            write_npz(folder / "plane.npz", arrays)
        else:
            log.warning("no plane: every replica diverged")
    if results.setup.config.data.name == "digits":
        images = analyses.reconstructions(results.setup, results.trained.state)
        write_npz(folder / "reconstructions.npz", images)
    if theory.stability:
        rows = stability.largest_stable(results.setup, results.trained.state, status)
        write_csv(folder / "stability.csv", stability.COLUMNS, rows)
    if theory.margins:
        write_npz(folder / "margins.npz", analyses.margins())


def _said(change: Change) -> dict[str, object]:
    """Return a change in values that JSON has."""
    time = change["time"]
    return {**change, "time": float(time)}
