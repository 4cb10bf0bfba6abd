"""When a replica stops, and a run: tolerance, divergence, a gradient that vanishes, Ctrl-C."""

from __future__ import annotations

import math
import time

import pytest
import torch

from reludyn.dynamics.phases import PhaseRule
from reludyn.network.notation import Gradient
from reludyn.network.student import ReLUStudent
from reludyn.network.subspace import InvariantSubspace
from reludyn.network.teacher import axis_teacher
from reludyn.optim import Memory, StepSizes
from reludyn.optim.gradient_descent import GradientDescent
from reludyn.risk import PopulationRisk
from reludyn.system.errors import StuckError
from reludyn.training.engine import Engine, State
from reludyn.training.trainer import stopped_because, train
from tests.oracles import reference
from tests.support.descents import follow, make_engine
from tests.support.parts import drawn


def test_a_replica_stops_at_the_first_iterate_below_the_tolerance() -> None:
    teacher = axis_teacher(1, 6)
    students = drawn("theorem", range(5), 2, 6, 1, 0.1, "alternating")
    states, reason = follow(make_engine(teacher, tolerance=1e-6), students, [0, 2000])
    assert reason == "converged"
    final = states[-1]
    assert torch.equal(final.steps, final.clocks.converged)
    every, _ = follow(make_engine(teacher), students, list(range(int(final.steps.max()) + 1)))
    losses = torch.stack([s.evaluation.loss for s in every])
    for j, stop in enumerate(final.steps.tolist()):
        assert losses[stop, j] < 1e-6 <= losses[stop - 1, j]
        assert torch.equal(final.student.W[j], every[stop].student.W[j])


def test_tiny_tolerances_are_met_by_the_resolved_loss() -> None:
    """1e-27: far below the rounding error of the value that comes with the gradient."""
    teacher = axis_teacher(1, 100)
    student = drawn("xavier_normal", [0], 2, 100, 1, 1e-4, "alternating")
    subspace = InvariantSubspace.spanned(teacher, student)
    engine = make_engine(teacher, tolerance=1e-27, A=subspace.teacher.A)
    states, reason = follow(engine, subspace.reduce(student), [0, 3000])
    assert reason == "converged"
    weights = subspace.lift(states[-1].student)
    exact = reference.population_loss_mp(
        weights.W[0].numpy(), weights.V[0].numpy(), teacher.A.numpy()
    )[0]
    assert 0 < exact < 1e-27


def test_zero_tolerance_never_stops() -> None:
    teacher = axis_teacher(1, 3)
    student = drawn("theorem", [0], 2, 3, 1, 0.5, "alternating")
    states, reason = follow(make_engine(teacher, lr=0.5), student, [0, 400])
    assert reason == "max_steps"
    assert states[-1].steps.tolist() == [400]


def test_a_diverging_replica_is_frozen_and_the_others_go_on() -> None:
    teacher = axis_teacher(1, 4)
    good = drawn("theorem", [0], 2, 4, 1, 0.5, "alternating")
    students = ReLUStudent(torch.cat([good.W, 40 * good.W]), torch.cat([good.V, 40 * good.V]))
    states, reason = follow(make_engine(teacher, tolerance=1e-8), students, [0, 10, 2000])
    final = states[-1]
    assert reason == "converged"
    assert final.diverged.tolist() == [False, True]
    assert final.steps[1] < 10
    assert torch.isfinite(final.student.W).all()
    assert torch.equal(final.student.W[1], states[1].student.W[1])
    states, reason = follow(make_engine(teacher), students.map(lambda x: x[1:]), [0, 10, 2000])
    assert reason == "diverged"
    assert len(states) == 2  # nothing more to do after the first look


@pytest.mark.parametrize(("size", "diverged"), [(0.9e6, False), (1.1e6, True)])
def test_divergence_is_a_millionfold_loss(size: float, diverged: bool) -> None:
    """Of the initial loss, or of that of the zero student where it is larger."""
    teacher = axis_teacher(1, 2)
    engine = make_engine(teacher)
    zero = ReLUStudent(torch.zeros(1, 1, 2).double(), torch.zeros(1, 1, 1).double())
    state = engine.start(zero)
    assert float(state.ceiling) == 1e6 * 0.5
    tiny_loss = drawn("explicit", [0], 2, 2, 1, 1.0, W=[[1, 0], [-1, 0]], V=[[1, -1]], path=None)
    assert float(engine.start(tiny_loss).ceiling) == 1e6 * 0.5
    v = math.sqrt(2 * size * 0.5 * 2)  # the loss of f(x) = v relu(x_2) is (1 + v^2 / 2) / 2
    W = torch.tensor([[[0.0, 1.0]]]).double()
    far = ReLUStudent(W, torch.tensor([[[v]]]).double())
    evaluation = engine.risk.evaluate(far)
    assert float(evaluation.loss) == pytest.approx(size * 0.5, rel=1e-3)
    after = engine._checked(state, [zero, far], [state.evaluation, evaluation], [0.0, 0.1], new=1)
    assert bool(after.diverged) is diverged


def test_float32_converges_only_where_its_own_loss_says_so() -> None:
    teacher = axis_teacher(1, 10)
    student = drawn("theorem", [0], 2, 10, 1, 1e-2, "alternating").to("cpu", torch.float32)
    A = teacher.A.float()
    engine = make_engine(teacher, PopulationRisk(A), A=A, tolerance=1e-9)
    states, reason = follow(engine, student, [0, 3000])
    assert reason == "converged"
    assert float(engine.risk.loss(states[-1].student).total) < 1e-9


def test_ctrl_c_loses_one_stretch(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, calls = make_engine(axis_teacher(1, 4)), []
    student, advance = drawn("theorem", [0], 2, 4, 1, 0.5), engine.advance

    def interrupted(state: State, steps: int) -> State:
        calls.append(steps)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return advance(state, steps)

    monkeypatch.setattr(engine, "advance", interrupted)
    state, reason = train(engine, engine.start(student), [0, 100, 10_000], 64, lambda _: None)
    assert reason == "interrupted"
    assert calls == [64, 36, 28, 64, 64]
    assert state.step == state.steps.item() == 192


def test_ctrl_c_keeps_what_was_reached() -> None:
    teacher, seen = axis_teacher(1, 4), []
    student = drawn("theorem", [0], 2, 4, 1, 0.5)

    def look(state: State) -> None:
        seen.append(state)
        if state.steps.max() == 30:
            raise KeyboardInterrupt

    engine = make_engine(teacher)
    state, reason = train(engine, engine.start(student), range(0, 101, 10), 256, look)
    assert reason == "interrupted"
    assert state is seen[-1]


def test_a_replica_stops_where_its_gradient_vanishes() -> None:
    """Stuck replicas end as stationary; those that converge first are not."""
    teacher = axis_teacher(1, 6)
    students = drawn("xavier_normal", range(8), 2, 6, 1, 1e-3)
    rule = PhaseRule(teacher, teacher.A)
    engine = Engine(PopulationRisk(teacher.A), GradientDescent(StepSizes(0.1)), rule, 1e-8, 1e-6)
    states, reason = follow(engine, students, [0, 20, 5000])
    final = states[-1]
    assert reason == "converged"
    names = stopped_because(final, "converged")
    assert set(names) == {"converged", "stationary"}
    norms = StepSizes(0.1).norm(final.evaluation.gradient)
    for j, name in enumerate(names):
        assert (final.clocks.converged[j] >= 0) == (name == "converged")
        assert (norms[j] < 1e-6) == (name == "stationary")
    stuck = [j for j, name in enumerate(names) if name == "stationary"]
    alone, reason = follow(engine, students.map(lambda x: x[stuck]), [0, 5000])
    assert reason == "stationary"
    assert torch.equal(alone[-1].steps, final.steps[stuck])
    loss = final.evaluation.loss[stuck]
    torch.testing.assert_close(loss, torch.full_like(loss, 0.25), rtol=1e-5, atol=0)


def test_a_run_ends_between_two_looks() -> None:
    """With the last replica, or after its time: not only where it is looked at."""
    teacher, student = axis_teacher(1, 4), drawn("theorem", [0], 2, 4, 1, 0.5, "alternating")
    seen: list[State] = []
    began = time.monotonic()
    engine = make_engine(teacher, tolerance=1e-4)
    state, reason = train(engine, engine.start(student), [0, 10**7], 256, seen.append)
    assert (reason, len(seen)) == ("converged", 2)
    engine = make_engine(teacher)
    state, reason = train(engine, engine.start(student), [0, 10**7], 256, seen.append, 0.5)
    assert reason == "max_seconds"
    assert stopped_because(state, reason) == ["max_seconds"]
    assert time.monotonic() - began < 20
    assert 0 < int(state.steps) < 10**6


def test_the_gradient_of_a_frozen_layer_does_not_count() -> None:
    teacher, student = axis_teacher(1, 4), drawn("theorem", [0], 3, 4, 1, 1.0)
    descent = GradientDescent(StepSizes(0.1, train_hidden=False))
    engine = Engine(PopulationRisk(teacher.A), descent, PhaseRule(teacher, teacher.A), 0.0, 1e-6)
    state, reason = train(engine, engine.start(student), [0, 5000], 256, lambda _: None)
    assert reason == "stationary"
    assert (
        float(state.evaluation.gradient.V.norm()) < 1e-6 < float(state.evaluation.gradient.W.norm())
    )


def test_what_was_reached_is_kept_where_a_rule_cannot_go_on() -> None:
    teacher, student = axis_teacher(1, 4), drawn("theorem", [0], 2, 4, 1, 0.5)

    class Brittle(GradientDescent):
        def update(
            self, student: ReLUStudent, gradient: Gradient, memory: Memory, step: int
        ) -> tuple[ReLUStudent, Memory]:
            made.append(1)
            if len(made) > 40:
                raise StuckError("optimizer.rtol", 1e-10, "no way on")
            return super().update(student, gradient, memory, step)

    made: list[int] = []
    engine = Engine(
        PopulationRisk(teacher.A), Brittle(StepSizes(0.1)), PhaseRule(teacher, teacher.A), 0.0
    )
    state, reason = train(engine, engine.start(student), range(0, 101, 10), 256, lambda _: None)
    assert (reason, state.steps.tolist()) == ("stuck", [40])
    with pytest.raises(StuckError):
        train(engine, engine.start(student), [0, 10], 256, lambda _: None)
