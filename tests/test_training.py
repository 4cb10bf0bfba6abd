"""The trainer: the whole trajectory against an independent descent, exact events, independence."""

from __future__ import annotations

import math
import time
from itertools import pairwise

import numpy as np
import pytest
import reference
import torch
from conftest import drawn, empirical_risk, sampled
from hypothesis import given
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode

from reludyn import cost
from reludyn.api import configure
from reludyn.data.held import Resident
from reludyn.errors import StuckError
from reludyn.notation import Gradient
from reludyn.optim import StepSizes
from reludyn.optim.gradient_descent import GradientDescent
from reludyn.phases import PhaseRule
from reludyn.risk import EmpiricalRisk, MiniBatches, PopulationRisk, empirical
from reludyn.student import InvariantSubspace, ReLUStudent
from reludyn.teacher import LinearTeacher, axis_teacher, random_teacher
from reludyn.training.engine import Engine, State
from reludyn.training.schedule import look_steps, stretch_ends
from reludyn.training.trainer import stopped_because, train


def make_engine(
    teacher: LinearTeacher, risk: PopulationRisk | EmpiricalRisk | None = None, lr: float = 0.1,
    tolerance: float = 0.0, train_output: bool = True, A: torch.Tensor | None = None,
) -> Engine:  # fmt: skip
    A = teacher.A if A is None else A
    descent = GradientDescent(StepSizes(lr, train_output=train_output))
    return Engine(risk or PopulationRisk(A), descent, PhaseRule(teacher, A), tolerance)


def follow(engine: Engine, student: ReLUStudent, looks: list[int]) -> tuple[list[State], str]:
    states: list[State] = []
    _, reason = train(engine, engine.start(student), looks, 256, states.append)
    return states, reason


CASES = [(2, 1, 100, 1e-4), (2, 1, 5, 1.0), (3, 1, 12, 0.3), (6, 3, 10, 1.0), (4, 2, 4, 0.1)]


@pytest.mark.quick(4)
@pytest.mark.parametrize("train_output", [True, False])
@pytest.mark.parametrize(("k", "r", "d", "scale"), CASES)
def test_population_trajectory_equals_an_independent_descent(
    k: int, r: int, d: int, scale: float, train_output: bool
) -> None:
    """Through the invariant subspace and back, 300 steps, weights to 1e-10."""
    teacher = random_teacher(r, d)
    student = drawn("xavier_normal", [3], k, d, r, scale)
    subspace = InvariantSubspace.spanned(teacher, student)
    engine = make_engine(teacher, train_output=train_output, A=subspace.teacher.A)
    states, _ = follow(engine, subspace.reduce(student), list(range(301)))
    Ws, Vs = reference.descend(
        student.W[0].numpy(), student.V[0].numpy(),
        lambda W, V: reference.population_gradient(W, V, teacher.A.numpy()),
        0.1, 300, train_output,
    )  # fmt: skip
    W = np.stack([subspace.lift(s.student).W[0].numpy() for s in states])
    V = np.stack([s.student.V[0].numpy() for s in states])
    np.testing.assert_allclose(W, Ws, rtol=1e-10, atol=1e-10 * np.abs(Ws).max())
    np.testing.assert_allclose(V, Vs, rtol=1e-10, atol=1e-10 * np.abs(Vs).max())


def test_a_frozen_hidden_layer_stays() -> None:
    teacher, student = axis_teacher(1, 4), drawn("theorem", [0], 3, 4, 1, 1.0)
    engine = Engine(PopulationRisk(teacher.A), GradientDescent(StepSizes(0.1, train_hidden=False)),
                    PhaseRule(teacher, teacher.A), 0.0)  # fmt: skip
    state = follow(engine, student, [0, 50])[0][-1]
    assert torch.equal(state.student.W, student.W)
    assert not torch.isclose(state.student.V, student.V).any()


def test_empirical_trajectory_equals_an_independent_descent() -> None:
    teacher, student = axis_teacher(1, 8), drawn("theorem", [1], 3, 8, 1, 0.5)
    X, Y = sampled(teacher, 60, [1])
    states, _ = follow(make_engine(teacher, empirical_risk(X, Y)), student, list(range(301)))
    Ws, Vs = reference.descend(
        student.W[0].numpy(), student.V[0].numpy(),
        lambda W, V: reference.empirical_gradient(W, V, X[0].numpy(), Y[0].numpy()), 0.1, 300,
    )  # fmt: skip
    np.testing.assert_allclose([s.student.W[0].numpy() for s in states], Ws, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose([s.student.V[0].numpy() for s in states], Vs, rtol=1e-9, atol=1e-11)


@pytest.mark.slow
@pytest.mark.parametrize(("k", "r"), [(2, 1), (4, 1), (6, 3)])
def test_events_are_exact_at_any_spacing_of_the_looks(k: int, r: int) -> None:
    """T_align, T_growth, T_converged from all iterates of the oracle."""
    teacher, tolerance, d = axis_teacher(r, 12), 1e-6, 12
    students = drawn("xavier_normal", range(6), k, d, r, 1e-3)
    expected = []
    for j in range(6):
        Ws, Vs = reference.descend(
            students.W[j].numpy(), students.V[j].numpy(),
            lambda W, V: reference.population_gradient(W, V, teacher.A.numpy()), 0.1, 600,
        )  # fmt: skip
        A = teacher.A.numpy()
        losses = [reference.population_loss(W, V, A) for W, V in zip(Ws, Vs, strict=True)]
        expected.append(reference.phase_times(Ws, Vs, A, losses, tolerance))
    assert any(align is not None and converged is not None for align, _, converged in expected)
    for looks in ([0, 600], [0, 1, 7, 600], list(range(601))):
        states, _ = follow(make_engine(teacher, tolerance=tolerance), students, looks)
        clocks = zip(*(clock.tolist() for clock in states[-1].clocks), strict=True)
        # what the oracle sees after a replica has stopped is not training
        for seen, (align, growth, converged) in zip(clocks, expected, strict=True):
            stop = math.inf if converged is None else converged
            ends = [-1 if t is None or t > stop else t for t in (align, growth, converged)]
            assert list(seen) == ends


@pytest.mark.parametrize("empirical", [False, True])
def test_a_replica_of_a_batch_equals_the_run_alone(empirical: bool) -> None:
    teacher = axis_teacher(1, 20)
    students = drawn("xavier_normal", range(8), 2, 20, 1, 1e-2, "alternating")

    def last(student: ReLUStudent, seeds: list[int]) -> State:
        if empirical:
            engine = make_engine(
                teacher, empirical_risk(*sampled(teacher, 90, seeds)), tolerance=1e-12
            )
            return follow(engine, student, look_steps(500, 40))[0][-1]
        subspace = InvariantSubspace.spanned(teacher, student)
        engine = make_engine(teacher, tolerance=1e-12, A=subspace.teacher.A)
        state = follow(engine, subspace.reduce(student), look_steps(500, 40))[0][-1]
        lifted = subspace.lift(state.student)
        return State(**{**vars(state), "student": lifted})

    together = last(students, list(range(8)))
    for j, one in enumerate(students.split(1)):
        alone = last(one, [j])
        for batched, single in zip(together.student, alone.student, strict=True):
            torch.testing.assert_close(batched[j], single[0], rtol=1e-12, atol=1e-12)
        assert together.steps[j] == alone.steps[0]
        assert [c[j] for c in together.clocks] == [c[0] for c in alone.clocks]


def test_replicas_with_samples_of_their_own_go_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each group through all steps; neither the groups nor those who have stopped matter."""
    teacher = axis_teacher(1, 6)
    students = drawn("theorem", range(7), 2, 6, 1, 0.1, "alternating")
    X, Y = sampled(teacher, 80, range(7))
    states = []
    for size in (empirical.INPUTS, 3 * 80 * 6, 1):
        monkeypatch.setattr(empirical, "INPUTS", size)
        engine = make_engine(teacher, empirical_risk(X, Y), tolerance=1e-7)
        assert engine.risk.group == max(1, size // 480)
        states.append(follow(engine, students, [0, 100, 150, 190, 2000])[0])
    for several in zip(*states, strict=True):
        for state in several[1:]:
            for one, other in zip(several[0].student, state.student, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
            assert torch.equal(several[0].steps, state.steps)
            assert (several[0].step, several[0].now) == (state.step, state.now)
    assert len({*states[0][-1].steps.tolist()}) > 3


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


def test_batches_are_checked_before_the_first_step() -> None:
    """A whole risk below the tolerance stops a replica at iteration 0."""
    teacher = axis_teacher(1, 3)
    X, Y = sampled(teacher, 20, [0])
    risk = empirical_risk(X, Y)
    batches = MiniBatches(Resident(X, Y), 5, [0], risk.activation)
    rule, descent = PhaseRule(teacher, teacher.A), GradientDescent(StepSizes(0.1))
    student = drawn("theorem", [0], 2, 3, 1, 0.1)
    for tolerance, steps in ((1e3, 0), (1e-30, -1)):
        engine = Engine(risk, descent, rule, tolerance, batches=batches)
        assert engine.start(student).clocks.converged.tolist() == [steps]


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


@given(
    st.lists(st.integers(0, 500), min_size=1, unique=True).map(sorted),
    st.integers(1, 600),
    st.integers(0, 500),
)
def test_stretches_end_at_the_same_places_wherever_a_run_begins(
    looks: list[int], stretch: int, after: int
) -> None:
    ends = list(stretch_ends(looks, stretch, 0))
    wanted = {x for x in range(1, looks[-1] + 1) if x in looks or x % stretch == 0}
    assert ends == sorted(wanted)
    assert list(stretch_ends(looks, stretch, after)) == [x for x in ends if x > after]


@pytest.mark.parametrize(
    "overrides",
    ["", "replicas=10000", "model.width=300", "optimizer=gradient_flow", "optimizer=adam",
     "data=stream data.samples=100000", "data=gaussian data.samples=100000", "data.dim=100000 "
     "data.covariance=power_law", "trainer.engine=compiled", "trainer.engine=compiled replicas=99"],
)  # fmt: skip
def test_a_stretch_is_as_long_as_it_is_meant_to_be(overrides: str) -> None:
    config, cpu = configure(*overrides.split()), torch.device("cpu")
    length, seconds = cost.stretch(config, cpu), cost.step_seconds(config, cpu)
    meant = cost.COMPILED if cost.compiles(config, cpu) else cost.EAGER
    assert length == 1 or meant / 2 < length * seconds <= meant
    assert length.bit_count() == 1


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


def test_float32_follows_float64() -> None:
    teacher = axis_teacher(1, 10)
    student = drawn("xavier_normal", [4], 2, 10, 1, 1e-2, "alternating")
    precise = follow(make_engine(teacher), student, [0, 150])[0][-1]
    A = teacher.A.float()
    engine = make_engine(teacher, PopulationRisk(A), A=A)
    coarse = follow(engine, student.to("cpu", torch.float32), [0, 150])[0][-1]
    assert coarse.student.W.dtype == coarse.evaluation.loss.dtype == torch.float32
    torch.testing.assert_close(coarse.student.W.double(), precise.student.W, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("tolerance", [0.0, 1e-4, 1e-20])
@pytest.mark.parametrize("empirical", [False, True])
def test_everything_stays_on_the_device(empirical: bool, tolerance: float) -> None:
    """Fake CUDA tensors refuse any mix with the CPU and any read of a value between two looks."""
    teacher = axis_teacher(1, 5)
    assert teacher.smallest_scale == 2 * teacher.zero_loss == 1  # read while tensors are real
    with FakeTensorMode(allow_non_fake_inputs=False):
        cuda = {"device": "cuda", "dtype": torch.float64}
        A = torch.empty(1, 5, **cuda)
        risk = empirical_risk(torch.empty(1, 7, 5, **cuda), torch.empty(1, 7, 1, **cuda))
        engine = make_engine(teacher, risk if empirical else PopulationRisk(A), A=A,
                             tolerance=tolerance)  # fmt: skip
        student = ReLUStudent(torch.empty(4, 2, 5, **cuda), torch.empty(4, 1, 2, **cuda))
        state = engine._advance(engine._start(student), 3)
        tensors = [*state.student, state.steps, state.running, state.diverged, *state.clocks]
        assert {t.device.type for t in tensors} == {"cuda"}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_follows_the_cpu() -> None:
    teacher = axis_teacher(1, 20)
    students = drawn("xavier_normal", range(16), 2, 20, 1, 1e-3, "alternating")
    on_cpu = follow(make_engine(teacher, tolerance=1e-8), students, [0, 500])[0][-1]
    A = teacher.A.cuda()
    engine = make_engine(teacher, PopulationRisk(A), A=A, tolerance=1e-8)
    on_cuda = follow(engine, students.to("cuda", torch.float64), [0, 500])[0][-1]
    assert torch.equal(on_cuda.steps.cpu(), on_cpu.steps)
    torch.testing.assert_close(on_cuda.student.W.cpu(), on_cpu.student.W, rtol=1e-9, atol=1e-12)


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


@pytest.mark.parametrize(("steps", "looks"), [(10, 3), (1000, 7), (5, 5), (10**9, 600)])
def test_linear_looks_are_evenly_spaced(steps: int, looks: int) -> None:
    schedule = look_steps(steps, looks, "linear")
    assert len(schedule) == looks + 1
    assert (schedule[0], schedule[-1]) == (0, steps)
    assert {b - a for a, b in pairwise(schedule)} <= {steps // looks, -(-steps // looks)}


@pytest.mark.parametrize("steps", [1, 2, 10, 299, 3000, 10**9])
@pytest.mark.parametrize("looks", [1, 2, 5, 600, 5000])
def test_the_schedule_is_dense_then_sparse(steps: int, looks: int) -> None:
    schedule = look_steps(steps, looks)
    assert schedule[0] == 0
    assert schedule[-1] == steps
    assert all(a < b for a, b in pairwise(schedule))
    assert len(schedule) <= looks + 1
    dense = min(steps, looks // 2)
    assert schedule[: dense + 1] == list(range(dense + 1))


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
        def step(self, student: ReLUStudent, gradient: Gradient) -> ReLUStudent:
            made.append(1)
            if len(made) > 40:
                raise StuckError("optimizer.rtol", 1e-10, "no way on")
            return super().step(student, gradient)

    made: list[int] = []
    engine = Engine(PopulationRisk(teacher.A), Brittle(StepSizes(0.1)),
                    PhaseRule(teacher, teacher.A), 0.0)  # fmt: skip
    state, reason = train(engine, engine.start(student), range(0, 101, 10), 256, lambda _: None)
    assert (reason, state.steps.tolist()) == ("stuck", [40])
    with pytest.raises(StuckError):
        train(engine, engine.start(student), [0, 10], 256, lambda _: None)
