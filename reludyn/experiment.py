"""An experiment: the parts that a config names (`reludyn.assembly`), run under the eyes of all
instruments, and the files that it leaves."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Protocol

import torch
from numpy.typing import NDArray
from rich.console import Console

from reludyn import __version__
from reludyn.assembly import Experiment, build
from reludyn.combinations import has_theory
from reludyn.files import claim
from reludyn.initialization import replica_scales
from reludyn.notation import Loss
from reludyn.phases import classify, contraction_rate
from reludyn.recording import run_files
from reludyn.recording.look import Look, Observer
from reludyn.recording.progress import ProgressReport
from reludyn.recording.report import print_report
from reludyn.recording.results import COLUMNS, Row, predicted_columns, replica_rows, summarise
from reludyn.recording.system import describe
from reludyn.risk import EmpiricalRisk
from reludyn.settings import Config
from reludyn.theory.predictions import Prediction, curves, predict
from reludyn.theory.rays import MINIMUM, Outcome
from reludyn.training.checkpoint import save_checkpoint
from reludyn.training.engine import State
from reludyn.training.schedule import look_steps
from reludyn.training.trainer import StoppedBecause, stopped_because, train

log = logging.getLogger(__name__)
Arrays = dict[str, NDArray[Any]]
CURVES = 5000  # the longest run whose predicted curves are kept


def run(config: Config, digest: str, folder: Path) -> StoppedBecause:
    """Train, leave all files of a run in `folder` (DONE last), and print what came out."""
    began = time.perf_counter()
    console = Console()
    claim(folder)
    parts = build(config)
    config = parts.config
    log.info("reludyn %s, %s", __version__, describe(parts.device))
    state, reason, trajectory = follow(parts, folder, console)
    log.info("stopped after %d steps: %s", int(state.steps.max()), reason)

    basis = None if parts.subspace is None else parts.subspace.basis
    save_checkpoint(folder / "checkpoints" / "last.pt", state, basis, digest)
    arrays = trajectory.arrays(lambda W: _lift(parts, W), parts.teacher.A.numpy())
    if has_theory(parts.config):
        arrays |= _predicted_curves(parts, arrays)
    run_files.write_npz(folder / "trajectory.npz", arrays)
    rows = results(parts, state, reason, arrays)
    run_files.write_csv(folder / "replicas.csv", COLUMNS, rows)
    pictures = draw(config, folder)
    summary = {
        "version": __version__,
        "experiment": config.name,
        "device": str(parts.device),
        "precision": config.precision,
        "wall_seconds": time.perf_counter() - began,
        "steps": int(state.steps.max()),
        "replicas": config.replicas,
        "stopped_because": reason,
        **summarise(rows),
        "loss_resolution": parts.objective.risk.resolution,
    }
    run_files.write_json(folder / "summary.json", summary)
    if reason != "interrupted":
        run_files.write_done(folder, digest)
    print_report(console, folder, summary, rows, pictures)
    return reason


def follow(
    parts: Experiment, folder: Path, console: Console
) -> tuple[State, StoppedBecause, run_files.Trajectory]:
    """Train under the eyes of all instruments."""
    config, trainer = parts.config, parts.config.trainer
    looks = look_steps(trainer.steps, trainer.looks, trainer.spacing)
    objective = parts.objective
    observer = Observer(
        objective.risk, parts.A, parts.student, trainer.keep_weights, objective.beside,
        trainer.observables == "full", objective.test,
    )  # fmt: skip
    trajectory = run_files.Trajectory(len(looks), config.data.dim)
    with ExitStack() as stack:
        progress = ProgressReport(console, trainer.steps, config.replicas)
        instruments: list[Instrument] = [stack.enter_context(progress)]
        if config.logger.name == "tensorboard":
            from reludyn.recording.tensorboard import TensorBoard

            board = TensorBoard(folder / "tensorboard", parts.seeds, config.logger.replicas)
            instruments.append(stack.enter_context(closing(board)))
        instruments.append(trajectory)  # last: a look is complete once it is there

        def look(state: State) -> None:
            seen = observer.look(state)
            for instrument in instruments:
                instrument.record(seen)

        seconds = math.inf if trainer.max_seconds is None else trainer.max_seconds
        state, reason = train(parts.engine, parts.student, looks, look, seconds)
        if trajectory.last_step != int(state.steps.max()):  # interrupted before it was looked at
            look(state)
    return state, reason, trajectory


def results(parts: Experiment, state: State, reason: StoppedBecause, arrays: Arrays) -> list[Row]:
    """The rows of replicas.csv."""
    objective = parts.objective
    loss = objective.risk.loss(state.student)
    rate = contraction_rate(
        arrays["step"], arrays["loss"], state.steps.cpu().numpy(), 2 * objective.zero_loss
    )
    given: dict[str, Sequence[object]] = {
        "seed": parts.seeds,
        "init_scale": replica_scales(parts.config.init, parts.config.replicas).tolist(),
        "stopped_because": stopped_because(state, reason),
    }
    if objective.beside is not None:
        given["loss_population"] = objective.beside.loss(state.student).total.tolist()
    if has_theory(parts.config):
        given |= predicted_columns(_predict(parts))
    return replica_rows(
        state.student, parts.A, objective.risk.activation, loss, state.clocks,
        outcomes(parts, state, loss), rate, given,
    )  # fmt: skip


def _predict(parts: Experiment) -> Prediction:
    """What theory says of the population limit, from the initial weights alone."""
    student, A = parts.student.to("cpu", torch.float64), parts.A.to("cpu", torch.float64)
    trainer, lr = parts.config.trainer, parts.config.optimizer.lr
    activation = parts.objective.risk.activation
    return predict(student, A, lr, trainer.tolerance, trainer.steps, activation)


def _predicted_curves(parts: Experiment, arrays: Arrays) -> Arrays:
    """predicted_loss (T, R'), _w_norm, _v_norm and _angle_to_target (T, R', k) of the replicas
    whose weights are kept, in runs of at most CURVES iterations."""
    steps, kept = arrays["step"], arrays["W"].shape[1]
    if kept == 0 or steps[-1] > CURVES:
        return {}
    student, A = parts.student.to("cpu", torch.float64), parts.A.to("cpu", torch.float64)
    first, lr = student.map(lambda layer: layer[:kept]), parts.config.optimizer.lr
    found = curves(first, A, lr, steps.tolist(), parts.objective.risk.activation)
    return {f"predicted_{name}": x for name, x in found._asdict().items() if name != "step"}


class Instrument(Protocol):
    """Anything that takes looks."""

    def record(self, look: Look) -> None: ...


def outcomes(parts: Experiment, state: State, loss: Loss) -> list[Outcome]:
    """What each replica arrived at (`reludyn.phases.classify`)."""
    objective = parts.objective
    below = max(MINIMUM * objective.zero_loss, parts.config.trainer.tolerance)
    converged = (state.clocks.converged >= 0) | (loss.total < below)
    sampling, risk = 0.0, objective.risk
    if isinstance(risk, EmpiricalRisk):
        sampling = 3 * math.sqrt(parts.teacher.inputs / risk.samples.n)
    evaluation = state.evaluation
    if objective.batches is not None:  # that of the last batch
        evaluation = risk.evaluate(state.student)
    return classify(
        state.student, evaluation, loss, converged, state.diverged,
        parts.A, objective.zero_loss, 1e-3 + sampling,
        objective.risk.activation,
    )  # fmt: skip


def draw(config: Config, folder: Path) -> list[Path]:
    """The pictures of the run, if any are asked for."""
    if not config.figures:
        return []
    from reludyn.figures.phases import draw_phases  # imports matplotlib

    return draw_phases(folder)


def _lift(parts: Experiment, W: NDArray[Any]) -> NDArray[Any]:
    """(T, R', k, m) -> (T, R', k, d)."""
    if parts.subspace is None:
        return W
    basis = parts.subspace.basis[: W.shape[1]].numpy().astype(W.dtype)
    lifted: NDArray[Any] = W @ basis.swapaxes(-1, -2)
    return lifted
