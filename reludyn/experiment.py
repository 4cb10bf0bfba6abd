"""An experiment: the parts that a config names (`reludyn.assembly`), run under the eyes of all
instruments, and the files that it leaves."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from reludyn import __version__, survey
from reludyn.assembly import Experiment, build
from reludyn.combinations import has_theory
from reludyn.files import claim
from reludyn.initialization import replica_scales
from reludyn.notation import Loss
from reludyn.pairing import PAIRED, Pairs, pair_neurons
from reludyn.phases import classify, contraction_rate
from reludyn.recording import bounds, results, run_files
from reludyn.recording.look import Look, Observer
from reludyn.recording.progress import ProgressReport
from reludyn.recording.report import print_report
from reludyn.recording.system import describe
from reludyn.recording.theory import Checked, TheoryObserver
from reludyn.risk import EmpiricalRisk
from reludyn.settings import Config
from reludyn.student import ReLUStudent
from reludyn.theory.predictions import Prediction, forecast, predict
from reludyn.theory.rays import MINIMUM, Outcome
from reludyn.training.checkpoint import save_checkpoint
from reludyn.training.distributed import ranks
from reludyn.training.engine import State
from reludyn.training.schedule import look_steps
from reludyn.training.trainer import StoppedBecause, stopped_because, train

log = logging.getLogger(__name__)
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Record:
    """What came out of a run, before it is written."""

    parts: Experiment
    state: State
    reason: StoppedBecause
    arrays: Arrays  # trajectory.npz
    rows: list[results.Row]  # replicas.csv
    bounds: bounds.BoundsTable | None
    summary: dict[str, object]


def run(config: Config, digest: str, folder: Path) -> StoppedBecause:
    """Train, leave all files of a run in `folder` (DONE last), and print what came out."""
    began, console = time.perf_counter(), Console()
    claim(folder)
    record = experiment(config, console, folder)
    config, state, subspace = record.parts.config, record.state, record.parts.subspace
    basis = None if subspace is None else subspace.basis
    save_checkpoint(folder / "checkpoints" / "last.pt", state, basis, digest)
    run_files.write_npz(folder / "trajectory.npz", record.arrays)
    run_files.write_csv(folder / "replicas.csv", results.COLUMNS, record.rows)
    if record.bounds is not None:
        run_files.write_csv(folder / "bounds.csv", bounds.COLUMNS, record.bounds.rows)
    _survey(record, folder)
    pictures = draw(folder, config.picture) if config.figures else []
    summary = record.summary | {"wall_seconds": time.perf_counter() - began}
    run_files.write_json(folder / "summary.json", summary)
    if record.reason != "interrupted":
        run_files.write_done(folder, digest)
    print_report(console, folder, summary, record.rows, pictures)
    return record.reason


def experiment(config: Config, console: Console, folder: Path | None = None) -> Record:
    """Train and measure; with a folder, TensorBoard's events go there."""
    began = time.perf_counter()
    parts = build(config)
    config, objective = parts.config, parts.objective
    log.info("reludyn %s, %s", __version__, describe(parts.device))
    state, reason, trajectory, checks = follow(parts, console, folder)
    log.info("stopped after %d steps: %s", int(state.steps.max()), reason)
    arrays = trajectory.arrays(lambda W: _lift(parts, W), parts.teacher.A.numpy())
    prediction = _predict(parts)
    if prediction is not None:
        half = prediction.T_direction.double()
        arrays["predicted_T_direction"] = half.where(half >= 0, math.nan).numpy()
    pairs = None
    if config.data.outputs > 1 and 1 < config.model.width <= PAIRED:
        pairs = pair_neurons(state.student)
        arrays["partner"] = pairs.partner.cpu().numpy()
    rows = replica_rows(parts, state, reason, arrays, prediction, pairs)
    summary: dict[str, object] = {
        "version": __version__,
        "experiment": config.name,
        "device": str(parts.device),
        "precision": config.precision,
        "wall_seconds": time.perf_counter() - began,
        "steps": int(state.steps.max()),
        "replicas": config.replicas,
        "stopped_because": reason,
        **results.summarise(rows),
        "loss_resolution": objective.risk.resolution,
    }
    if checks is not None:
        summary["bounds"] = {name: tally.as_json() for name, tally in checks.tallies.items()}
        for name, tally in checks.violated.items():
            log.warning(
                "%s is violated by %d replicas, first at step %d",
                name, len(tally.replicas), tally.first_violation,
            )  # fmt: skip
    return Record(parts, state, reason, arrays, rows, checks, summary)


def follow(
    parts: Experiment, console: Console, folder: Path | None
) -> tuple[State, StoppedBecause, run_files.Trajectory, bounds.BoundsTable | None]:
    """Train under the eyes of all instruments."""
    config, trainer = parts.config, parts.config.trainer
    looks = look_steps(trainer.steps, trainer.looks, trainer.spacing)
    objective = parts.objective
    observer = Observer(
        objective.risk, parts.A, parts.student, trainer.keep_weights, objective.beside,
        trainer.observables == "full", objective.test, _theory_observer(parts),
    )  # fmt: skip
    trajectory = run_files.Trajectory(len(looks), config.data.dim)
    shown = min(trainer.keep_weights, config.replicas)
    checks = bounds.BoundsTable(parts.seeds, shown) if config.theory.bounds else None
    with ExitStack() as stack:
        progress = ProgressReport(console, trainer.steps, config.replicas)
        instruments: list[Instrument] = [stack.enter_context(progress)]
        if config.logger.name == "tensorboard" and folder is not None:
            from reludyn.recording.tensorboard import TensorBoard

            board = TensorBoard(
                folder / "tensorboard", parts.seeds, config.logger.replicas,
                shown if has_theory(config) or config.theory.spectrum else 0, config.optimizer.lr,
            )  # fmt: skip
            instruments.append(stack.enter_context(closing(board)))
        if checks is not None:
            instruments.append(checks)
        instruments.append(trajectory)  # last: a look is complete once it is there

        def look(state: State) -> None:
            seen = observer.look(state)
            for instrument in instruments:
                instrument.record(seen)

        seconds = math.inf if trainer.max_seconds is None else trainer.max_seconds
        state, reason = train(parts.engine, parts.student, looks, look, seconds, ranks())
        if trajectory.last_step != int(state.steps.max()):  # interrupted before it was looked at
            look(state)
    return state, reason, trajectory, checks


class Instrument(Protocol):
    """Anything that takes looks."""

    def record(self, look: Look) -> None: ...


def replica_rows(
    parts: Experiment, state: State, reason: StoppedBecause, arrays: Arrays,
    prediction: Prediction | None, pairs: Pairs | None,
) -> list[results.Row]:  # fmt: skip
    """The rows of replicas.csv."""
    objective, config = parts.objective, parts.config
    loss = objective.risk.loss(state.student)
    rate = contraction_rate(
        arrays["step"], arrays["loss"], state.steps.cpu().numpy(), 2 * objective.zero_loss
    )
    given: dict[str, Sequence[object]] = {
        "seed": parts.seeds,
        "init_scale": replica_scales(config.init, config.replicas).tolist(),
        "stopped_because": stopped_because(state, reason),
    }
    if objective.beside is not None:
        given["loss_population"] = objective.beside.loss(state.student).total.tolist()
    if prediction is not None:
        given |= results.predicted_columns(prediction)
        if len(parts.A) == 1:
            given |= results.rule_columns(parts.student, parts.A)
    return results.replica_rows(
        state.student, parts.A, objective.risk.activation, loss, state.clocks,
        outcomes(parts, state, loss), rate, pairs, given,
    )  # fmt: skip


def outcomes(parts: Experiment, state: State, loss: Loss) -> list[Outcome]:
    """What each replica arrived at (`reludyn.phases.classify`)."""
    objective = parts.objective
    below = max(MINIMUM * objective.zero_loss, parts.config.trainer.tolerance)
    converged = (state.clocks.converged >= 0) | (loss.total < below)
    sampling, risk = 0.0, objective.risk
    if isinstance(risk, EmpiricalRisk):
        sampling = 3 * math.sqrt(parts.teacher.inputs / risk.n)
    evaluation = state.evaluation
    if objective.batches is not None:  # that of the last batch
        evaluation = risk.evaluate(state.student)
    return classify(
        state.student, evaluation, loss, converged, state.diverged,
        parts.A, objective.zero_loss, 1e-3 + sampling,
        objective.risk.activation,
    )  # fmt: skip


def draw(folder: Path, picture: str) -> list[Path]:
    """The pictures of a run."""
    from reludyn import figures  # imports matplotlib

    return figures.draw(folder, picture)


def _survey(record: Record, folder: Path) -> None:
    """The files of what is asked for around the run."""
    theory = record.parts.config.theory
    if theory.stationary:
        points = survey.stationary_points(record.parts, record.state)
        run_files.write_csv(folder / "stationary_points.csv", survey.COLUMNS, points.rows)
        run_files.write_npz(folder / "stationary_points.npz", points.arrays)
    if theory.plane != "none":
        arrays = survey.plane(record.parts, record.state)
        if arrays:
            run_files.write_npz(folder / "plane.npz", arrays)
        else:
            log.warning("no plane: every replica diverged")
    if record.parts.config.data.name == "digits":
        images = survey.reconstructions(record.parts, record.state)
        run_files.write_npz(folder / "reconstructions.npz", images)
    if theory.margins:
        run_files.write_npz(folder / "margins.npz", survey.margins())


def _predict(parts: Experiment) -> Prediction | None:
    """What theory says of the population limit, where it speaks."""
    config = parts.config
    if not has_theory(config):
        return None
    initial, A = _on_host(parts)
    return predict(
        initial, A, config.optimizer.lr, config.trainer.tolerance, config.trainer.steps,
        parts.objective.risk.activation,
    )  # fmt: skip


def _theory_observer(parts: Experiment) -> TheoryObserver:
    config, population = parts.config, parts.objective.population
    first, checked, expected = min(config.trainer.keep_weights, config.replicas), None, None
    if has_theory(config) and first:
        initial, A = _on_host(parts)
        some = initial.map(lambda layer: layer[:first])
        expected = forecast(some, A, config.optimizer.lr, parts.objective.risk.activation)
    if config.theory.bounds:
        assert population is not None
        lr, n = config.optimizer.lr, config.data.samples
        checked = Checked(parts.student, population, lr, n)
    of = population if config.theory.spectrum and first else None
    return TheoryObserver(expected, of, first, parts.teacher.inputs, checked)


def _on_host(parts: Experiment) -> tuple[ReLUStudent, torch.Tensor]:
    """Initial weights and target, where theory computes."""
    return parts.student.to("cpu", torch.float64), parts.A.to("cpu", torch.float64)


def _lift(parts: Experiment, W: NDArray[Any]) -> NDArray[Any]:
    """(T, R', k, m) -> (T, R', k, d)."""
    if parts.subspace is None:
        return W
    basis = parts.subspace.basis[: W.shape[1]].numpy().astype(W.dtype)
    lifted: NDArray[Any] = np.matmul(W, basis.swapaxes(-1, -2))
    return lifted
