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
from reludyn.dynamics.rays import MINIMUM
from reludyn.experiment.build import Setup
from reludyn.experiment.follow import Trained
from reludyn.experiment.instruments import Instruments
from reludyn.network.initialization import replica_scales
from reludyn.network.notation import Loss
from reludyn.network.outcomes import Outcome, Reason
from reludyn.recording import lemma_table, replica_rows
from reludyn.recording.console import milestones
from reludyn.risk import EmpiricalRisk
from reludyn.theory.predictions import Prediction
from reludyn.training.engine import State
from reludyn.training.trainer import stopped_because

log = logging.getLogger(__name__)
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Results:
    """What came out of a run, before it is written."""

    setup: Setup
    trained: Trained
    arrays: Arrays  # trajectory.npz
    rows: list[replica_rows.Row]  # replicas.csv
    bounds: lemma_table.BoundsTable | None
    summary: dict[str, object]
    events: Path | None  # where TensorBoard's are

    @property
    def reason(self) -> Reason:
        """The reason why training ended."""
        return self.trained.reason


def collect(setup: Setup, trained: Trained, instruments: Instruments) -> Results:
    """Return what came out of one job."""
    state, reason, prediction = trained.state, trained.reason, trained.prediction
    config = setup.config
    log.info("stopped after %d steps: %s", int(state.steps.max()), reason)
    arrays = instruments.arrays()
    if prediction is not None:
        half = prediction.T_direction.double()
        arrays["predicted_T_direction"] = half.where(half >= 0, math.nan).numpy()
    pairs = None
    if config.data.outputs > 1 and 1 < config.model.width <= PAIRED:
        pairs = pair_neurons(state.student)
        arrays["partner"] = pairs.partner.cpu().numpy()
    rows = _rows(setup, state, reason, arrays, prediction, pairs)
    for line in milestones.of_rows(rows):
        log.info(line)
    summary: dict[str, object] = {
        "version": version("reludyn"),
        "experiment": config.name,
        "device": str(setup.plan.device),
        "precision": config.precision,
        "wall_seconds": instruments.seconds,
        "steps": int(state.steps.max()),
        "replicas": config.replicas,
        "stopped_because": reason,
        **replica_rows.summarise(rows),
        "loss_resolution": setup.objective.risk.resolution,
    }
    if setup.objective.read is not None:
        summary["data"] = asdict(setup.objective.read)
    lemmas = instruments.lemmas
    if lemmas is not None:
        summary["bounds"] = {name: tally.as_json() for name, tally in lemmas.tallies.items()}
        for name, tally in lemmas.violated.items():
            many, first = len(tally.replicas), tally.first_violation
            log.warning("%s is violated by %d replicas, first at step %d", name, many, first)
    return Results(setup, trained, arrays, rows, lemmas, summary, instruments.events)


def _rows(
    setup: Setup,
    state: State,
    reason: Reason,
    arrays: Arrays,
    prediction: Prediction | None,
    pairs: Pairs | None,
) -> list[replica_rows.Row]:
    """The rows of replicas.csv."""
    objective, config = setup.objective, setup.config
    loss = objective.risk.loss(state.student)
    rate = contraction_rate(
        arrays["step"], arrays["loss"], state.steps.cpu().numpy(), 2 * objective.zero_loss
    )
    given: dict[str, Sequence[object]] = {
        "seed": setup.seeds,
        "init_scale": replica_scales(
            config.init.scale, config.init.scale_to, config.replicas
        ).tolist(),
        "stopped_because": stopped_because(state, reason),
        "steps": state.steps.tolist(),
        "last_finite_loss": replica_rows.numbers(_last_finite(setup, state, loss.total)),
    }
    if objective.beside is not None:
        given["loss_population"] = objective.beside.loss(state.student).total.tolist()
    if prediction is not None:
        given |= replica_rows.predicted_columns(prediction)
        if len(setup.A) == 1:
            given |= replica_rows.rule_columns(setup.student, setup.A)
    return replica_rows.replica_rows(
        state.student,
        setup.A,
        objective.risk.activation,
        loss,
        state.clocks,
        outcomes(setup, state, loss),
        rate,
        pairs,
        given,
    )


def _last_finite(setup: Setup, state: State, loss: torch.Tensor) -> torch.Tensor:
    """Return the loss (R,) where each replica diverged or, if that is not finite, one iteration
    earlier; NaN for the others."""
    last = loss.where(loss.isfinite(), setup.objective.risk.loss(state.previous).total)
    return last.where(state.diverged, math.nan)


def outcomes(setup: Setup, state: State, loss: Loss) -> list[Outcome]:
    """What each replica arrived at (`reludyn.dynamics.phases.classify`)."""
    objective = setup.objective
    below = max(MINIMUM * objective.zero_loss, setup.config.trainer.tolerance)
    converged = (state.clocks.converged >= 0) | (loss.total < below)
    sampling, risk = 0.0, objective.risk
    if isinstance(risk, EmpiricalRisk):
        sampling = 3 * math.sqrt(setup.teacher.inputs / risk.n)
    evaluation = state.evaluation
    if objective.batches is not None:  # that of the last batch
        evaluation = risk.evaluate(state.student)
    return classify(
        state.student,
        evaluation,
        loss,
        converged,
        state.diverged,
        setup.A,
        objective.zero_loss,
        1e-3 + sampling,
        objective.risk.activation,
    )
