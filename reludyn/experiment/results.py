"""What came out of a run, measured at its end and before any file is written."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from reludyn.dynamics.pairing import PAIRED, Pairs, pair_neurons
from reludyn.dynamics.phases import classify, contraction_rate
from reludyn.dynamics.rays import MINIMUM, Outcome
from reludyn.experiment.build import Experiment
from reludyn.experiment.instruments import Desk
from reludyn.network.initialization import replica_scales
from reludyn.network.notation import Loss
from reludyn.recording import lemma_table, replica_rows
from reludyn.recording.console import milestones
from reludyn.risk import EmpiricalRisk
from reludyn.theory.predictions import Prediction
from reludyn.training.engine import State
from reludyn.training.trainer import StoppedBecause, stopped_because

log = logging.getLogger(__name__)
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Record:
    """What came out of a run, before it is written."""

    parts: Experiment
    state: State
    reason: StoppedBecause
    arrays: Arrays  # trajectory.npz
    rows: list[replica_rows.Row]  # replicas.csv
    bounds: lemma_table.BoundsTable | None
    summary: dict[str, object]
    events: Path | None  # where TensorBoard's are


def measure(
    parts: Experiment,
    state: State,
    reason: StoppedBecause,
    desk: Desk,
    prediction: Prediction | None,
) -> Record:
    """What came out of one job."""
    config = parts.config
    log.info("stopped after %d steps: %s", int(state.steps.max()), reason)
    arrays = desk.arrays()
    if prediction is not None:
        half = prediction.T_direction.double()
        arrays["predicted_T_direction"] = half.where(half >= 0, math.nan).numpy()
    pairs = None
    if config.data.outputs > 1 and 1 < config.model.width <= PAIRED:
        pairs = pair_neurons(state.student)
        arrays["partner"] = pairs.partner.cpu().numpy()
    rows = _rows(parts, state, reason, arrays, prediction, pairs)
    for line in milestones.of_rows(rows):
        log.info(line)
    summary: dict[str, object] = {
        "version": version("reludyn"),
        "experiment": config.name,
        "device": str(parts.device),
        "precision": config.precision,
        "wall_seconds": desk.seconds,
        "steps": int(state.steps.max()),
        "replicas": config.replicas,
        "stopped_because": reason,
        **replica_rows.summarise(rows),
        "loss_resolution": parts.objective.risk.resolution,
    }
    if parts.objective.read is not None:
        summary["data"] = asdict(parts.objective.read)
    if desk.checks is not None:
        summary["bounds"] = {name: tally.as_json() for name, tally in desk.checks.tallies.items()}
        for name, tally in desk.checks.violated.items():
            log.warning(
                "%s is violated by %d replicas, first at step %d",
                name,
                len(tally.replicas),
                tally.first_violation,
            )
    events_in = None if desk.board is None else desk.board.folder
    return Record(parts, state, reason, arrays, rows, desk.checks, summary, events_in)


def _rows(
    parts: Experiment,
    state: State,
    reason: StoppedBecause,
    arrays: Arrays,
    prediction: Prediction | None,
    pairs: Pairs | None,
) -> list[replica_rows.Row]:
    """The rows of replicas.csv."""
    objective, config = parts.objective, parts.config
    loss = objective.risk.loss(state.student)
    rate = contraction_rate(
        arrays["step"], arrays["loss"], state.steps.cpu().numpy(), 2 * objective.zero_loss
    )
    given: dict[str, Sequence[object]] = {
        "seed": parts.seeds,
        "init_scale": replica_scales(
            config.init.scale, config.init.scale_to, config.replicas
        ).tolist(),
        "stopped_because": stopped_because(state, reason),
        "steps": state.steps.tolist(),
        "last_finite_loss": replica_rows.numbers(_last_finite(parts, state, loss.total)),
    }
    if objective.beside is not None:
        given["loss_population"] = objective.beside.loss(state.student).total.tolist()
    if prediction is not None:
        given |= replica_rows.predicted_columns(prediction)
        if len(parts.A) == 1:
            given |= replica_rows.rule_columns(parts.student, parts.A)
    return replica_rows.replica_rows(
        state.student,
        parts.A,
        objective.risk.activation,
        loss,
        state.clocks,
        outcomes(parts, state, loss),
        rate,
        pairs,
        given,
    )


def _last_finite(parts: Experiment, state: State, loss: torch.Tensor) -> torch.Tensor:
    """Of each replica that diverged the loss where it did or, if that is not finite, one iteration
    earlier, (R,); NaN of the others."""
    last = loss.where(loss.isfinite(), parts.objective.risk.loss(state.previous).total)
    return last.where(state.diverged, math.nan)


def outcomes(parts: Experiment, state: State, loss: Loss) -> list[Outcome]:
    """What each replica arrived at (`reludyn.dynamics.phases.classify`)."""
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
        state.student,
        evaluation,
        loss,
        converged,
        state.diverged,
        parts.A,
        objective.zero_loss,
        1e-3 + sampling,
        objective.risk.activation,
    )
