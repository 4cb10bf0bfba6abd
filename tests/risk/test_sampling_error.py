"""Descent on samples tends to descent on the population, with an error of order n^(-1/2)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from reludyn.data.laws import InputLaw
from reludyn.data.samples import Source, Streamed
from reludyn.dynamics.phases import PhaseRule
from reludyn.network.activation import RELU
from reludyn.network.student import ReLUStudent
from reludyn.network.teacher import axis_teacher
from reludyn.optim import StepSizes
from reludyn.optim.gradient_descent import GradientDescent
from reludyn.risk import Batches, EmpiricalRisk, FreshSamples, MiniBatches, PopulationRisk, Risk
from reludyn.training.engine import Engine, State
from tests.support.commands import Finished
from tests.support.parts import drawn

TEACHER, REPLICAS, STEPS = axis_teacher(1, 5), 40, 100
SIZES = [400, 1600, 6400]


def descend(student: ReLUStudent, risk: Risk, batches: Batches | None = None) -> ReLUStudent:
    rule = PhaseRule(TEACHER, TEACHER.A)
    engine = Engine(risk, GradientDescent(StepSizes(0.1)), rule, 0.0, batches=batches)
    return engine.advance(engine.start(student), STEPS).student


@pytest.mark.slow
@pytest.mark.parametrize("online", [True, False])
def test_the_error_falls_as_one_over_the_root_of_n(online: bool) -> None:
    """Root mean square over 40 samples of |weights - weights(population)| after 100 steps, from
    the same initial weights: its slope in n has a standard error of about 0.03."""
    population = PopulationRisk(TEACHER.A)
    one = drawn("xavier_normal", [0], 2, 5, 1, 0.3, "alternating")
    exact = descend(one, population)
    student = one.map(lambda x: x.expand(REPLICAS, -1, -1))
    source = Source(TEACHER, InputLaw(), range(REPLICAS))
    errors = []
    for n in SIZES:
        if online:
            rows = Streamed(source, n, torch.device("cpu"), torch.float64)
            found = descend(student, population, FreshSamples(rows, RELU))
        else:
            found = descend(student, EmpiricalRisk(source.draw(n)))
        squares = sum((a - b).square().sum((1, 2)) for a, b in zip(found, exact, strict=True))
        errors.append(float(squares.mean().sqrt()))
    slope = np.polyfit(np.log(SIZES), np.log(errors), 1)[0]
    assert slope == pytest.approx(-0.5, abs=0.1)
    assert errors[-1] < 0.1 * float(exact.W.norm())


def test_stochastic_runs_are_judged_by_the_whole_risk() -> None:
    """The tolerance is compared with the population risk, not with that of the rows of a step."""
    student = drawn("theorem", [0], 2, 5, 1, 0.3, "alternating")
    population, rule = PopulationRisk(TEACHER.A), PhaseRule(TEACHER, TEACHER.A)
    rows = Streamed(Source(TEACHER, InputLaw(), [0]), 40, torch.device("cpu"), torch.float64)
    descent = GradientDescent(StepSizes(0.1))
    engine = Engine(population, descent, rule, 1e-3, batches=FreshSamples(rows, RELU))
    states = [engine.start(student)]
    while bool(states[-1].running) and len(states) < 500:
        states.append(engine.advance(states[-1], 1))
    losses = [float(population.loss(s.student).total) for s in states]
    assert losses[-1] < 1e-3 <= min(losses[:-1])
    assert states[-1].clocks.converged.tolist() == [len(states) - 1]
    assert float(states[-1].evaluation.loss) != losses[-1]


def test_mini_batches_are_judged_once_an_epoch() -> None:
    sample = Source(TEACHER, InputLaw(), [0]).draw(40)
    student = drawn("theorem", [0], 2, 5, 1, 0.3, "alternating")
    risk, rule = EmpiricalRisk(sample), PhaseRule(TEACHER, TEACHER.A)
    batches = MiniBatches(sample, 12, [0], RELU)
    engine = Engine(risk, GradientDescent(StepSizes(0.05)), rule, 1e-3, batches=batches)
    states = [engine.start(student)]
    while bool(states[-1].running) and len(states) < 2000:
        states.append(engine.advance(states[-1], 1))
    losses = [float(risk.loss(s.student).total) for s in states]
    checked = range(0, len(states), 4)  # ceil(40 / 12) iterations an epoch
    assert next(step for step in checked if losses[step] < 1e-3) == len(states) - 1
    assert states[-1].clocks.converged.tolist() == [len(states) - 1]


def test_a_stopped_replica_keeps_its_last_evaluation() -> None:
    """Also where the others go on with other batches: as in the run alone."""
    sample = Source(TEACHER, InputLaw(), [0]).draw(40)
    students = drawn("theorem", range(3), 2, 5, 1, 0.3, "alternating")

    def last(student: ReLUStudent, seeds: list[int]) -> State:
        batches = MiniBatches(sample, 12, seeds, RELU)
        rule = PhaseRule(TEACHER, TEACHER.A)
        descent = GradientDescent(StepSizes(0.05))
        engine = Engine(EmpiricalRisk(sample), descent, rule, 5e-2, batches=batches)
        return engine.advance(engine.start(student), 300)

    together = last(students, [0, 1, 2])
    assert len(set(together.steps.tolist())) == 3
    for j, one in enumerate(students.split(1)):
        alone = last(one, [j])
        assert alone.steps[0] == together.steps[j]
        torch.testing.assert_close(
            together.evaluation.gradient.W[j],
            alone.evaluation.gradient.W[0],
            rtol=1e-10,
            atol=1e-14,
        )


def test_a_loss_below_the_tolerance_is_a_minimum(reludyn: Callable[..., Finished]) -> None:
    """Also between two checks of the whole risk."""
    finished = reludyn(
        "data=stream",
        "data.law=rademacher",
        "data.fresh=true",
        "data.samples=16",
        "data.dim=5",
        "init.scale=0.5",
        "trainer.steps=200",
        "trainer.tolerance=1e-3",
        "logger=none",
        "figures=false",
    )
    assert finished.rows[0]["outcome"] == "global_minimum"
    assert float(finished.rows[0]["loss"]) < 1e-3
