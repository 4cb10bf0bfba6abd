"""The largest stable step size of each replica, by bisection of all of them in one batch."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from reludyn.experiment.build import Setup
from reludyn.experiment.memory import hessian_size
from reludyn.network.student import ReLUStudent
from reludyn.numerics.sizes import DENSE
from reludyn.recording.console.stages import Status, silent
from reludyn.recording.replica_rows import numbers
from reludyn.theory.spectrum import spectrum
from reludyn.training.engine import State

log = logging.getLogger(__name__)
COLUMNS = (
    "replica",
    "seed",
    "stable_lr",
    "unstable_lr",
    "above",
    "loss_above",
    "sharpness",
    "two_over_sharpness",
)
DOUBLINGS = 30  # beyond 2^30 times optimizer.lr nothing is tried
STRETCH = 256  # iterations after which replicas that are done are put aside
Row = Mapping[str, object]


def largest_stable(setup: Setup, state: State, say: Status = silent) -> list[Row]:
    """The rows of stability.csv.

    A step size is stable for initial weights if descent takes the loss below trainer.tolerance
    within trainer.steps. stable_lr and unstable_lr are one that is and a larger one that is not,
    closer than theory.precision to each other, with optimizer.output_lr, if it is given, in the
    same ratio throughout. From optimizer.lr on the step size is doubled until it is not stable,
    then bisected in the logarithm; so what is found is a boundary, not always the only one. Empty
    where optimizer.lr is not stable itself. `above` is what happens beyond, diverged or
    unconverged, loss_above the last loss there; two_over_sharpness the bound 2/lambda of linear
    stability at the minimum that optimizer.lr leads to, in the population limit.
    """
    lr, precision = setup.config.optimizer.lr, setup.config.theory.precision
    found = (state.clocks.converged >= 0).cpu()
    some = found.nonzero().squeeze(-1)
    low = torch.full((len(some),), math.log(lr), dtype=torch.float64)
    high, diverged = torch.full_like(low, math.inf), torch.zeros_like(some, dtype=torch.bool)
    loss, rounds = torch.full_like(low, math.nan), 0
    while True:
        wide = high - low > math.log1p(precision)
        open_ended = wide & high.isinf() & (low > math.log(lr) + DOUBLINGS * math.log(2) - 1e-9)
        left = (wide & open_ended.logical_not()).nonzero().squeeze(-1)
        if len(left) == 0:
            break
        say(f"bisecting {len(left):,} step sizes, round {rounds + 1}")
        middle = torch.where(high.isinf(), low + math.log(2), (low + high) / 2)[left]
        stable, gone, last = _descend(setup, some[left], middle.exp())
        low[left] = torch.where(stable, middle, low[left])
        high[left] = torch.where(stable, high[left], middle)
        diverged[left] = torch.where(stable, diverged[left], gone)
        loss[left] = torch.where(stable, loss[left], last)
        rounds += 1
    log.info("%d rounds of bisection of %d step sizes", rounds, len(some))
    return _rows(setup, state, some, (low.exp(), high.exp(), loss), diverged)


def bound(setup: Setup) -> float | None:
    """2/lambda at a balanced minimum of 2r neurons, the largest eigenvalue of whose Hessian is
    lambda: above this step size gradient descent is not stable there. None where the population
    risk has no closed form, or is too large.

    With A = sum_j s_j u_j x_j^T, w = +-sqrt(s_j / (1 + slope)) x_j and v = +-sqrt(...) u_j.
    """
    risk, A = setup.objective.population, setup.teacher.A
    if risk is None or 2 * len(A) * sum(A.shape) > DENSE:
        return None
    U, s, Xt = torch.linalg.svd(setup.A if setup.A.ndim == 2 else setup.A[0], full_matrices=False)
    size = (s / (1 + risk.activation.negative_slope)).sqrt().unsqueeze(-1)
    W, V = size * Xt, (U * size.mT)
    minimum = ReLUStudent(torch.cat([W, -W]).unsqueeze(0), torch.cat([V, -V], 1).unsqueeze(0))
    sharpness = float(spectrum(risk.hessian(minimum), setup.teacher.inputs).sharpness)
    return 2 / sharpness if math.isfinite(sharpness) and sharpness > 0 else None


def _descend(setup: Setup, replicas: Tensor, lr: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Whether descent with these step sizes converges, whether it diverges, and the last loss."""
    chosen = replicas.to(setup.plan.device)
    engine = setup.engine.select(chosen).with_lr(lr.to(setup.plan.device))
    state = engine.start(setup.student.map(lambda layer: layer[chosen]))
    steps = setup.config.trainer.steps
    while state.step < steps and bool(state.running.any()):
        state = engine.advance(state, min(STRETCH, steps - state.step))
    ends = (state.clocks.converged >= 0, state.diverged, state.evaluation.loss.double())
    stable, gone, loss = (end.cpu() for end in ends)
    return stable, gone, loss


def _rows(
    setup: Setup, state: State, found: Tensor, ends: Sequence[Tensor], diverged: Tensor
) -> list[Row]:
    R = len(setup.seeds)
    unknown = torch.full((R,), math.nan, dtype=torch.float64)
    low, high, loss = (unknown.index_copy(0, found, end) for end in ends)
    sharpness = unknown
    if setup.objective.population is not None and hessian_size(setup.config) <= DENSE:
        student = state.student.map(lambda layer: layer[found.to(layer.device)])
        hessian = setup.objective.population.hessian(student)
        values = spectrum(hessian, setup.teacher.inputs).sharpness.cpu().double()
        sharpness = unknown.index_copy(0, found, values)
    names: list[str | None] = [None] * R
    for j, gone, bounded in zip(found.tolist(), diverged.tolist(), ends[1].isfinite(), strict=True):
        names[j] = ("diverged" if gone else "unconverged") if bounded else None
    columns: dict[str, Sequence[object]] = {
        "replica": range(R),
        "seed": setup.seeds,
        "stable_lr": numbers(low),
        "unstable_lr": numbers(high),
        "above": names,
        "loss_above": numbers(loss),
        "sharpness": numbers(sharpness),
        "two_over_sharpness": numbers(2 / sharpness),
    }
    return [{name: columns[name][j] for name in COLUMNS} for j in range(R)]
