"""The trainer: the whole trajectory against an independent descent, exact events, independence."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from reludyn.data.layouts import Resident
from reludyn.dynamics.phases import PhaseRule
from reludyn.network.student import ReLUStudent
from reludyn.network.subspace import InvariantSubspace
from reludyn.network.teacher import axis_teacher, random_teacher
from reludyn.optim import StepSizes
from reludyn.optim.gradient_descent import GradientDescent
from reludyn.risk import MiniBatches, PopulationRisk, empirical
from reludyn.training.engine import Engine, State
from reludyn.training.schedule import look_steps
from tests.oracles import reference
from tests.support.descents import follow, make_engine
from tests.support.parts import drawn, empirical_risk, sampled

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
        student.W[0].numpy(),
        student.V[0].numpy(),
        lambda W, V: reference.population_gradient(W, V, teacher.A.numpy()),
        0.1,
        300,
        train_output,
    )
    W = np.stack([subspace.lift(s.student).W[0].numpy() for s in states])
    V = np.stack([s.student.V[0].numpy() for s in states])
    np.testing.assert_allclose(W, Ws, rtol=1e-10, atol=1e-10 * np.abs(Ws).max())
    np.testing.assert_allclose(V, Vs, rtol=1e-10, atol=1e-10 * np.abs(Vs).max())


def test_a_frozen_hidden_layer_stays() -> None:
    teacher, student = axis_teacher(1, 4), drawn("theorem", [0], 3, 4, 1, 1.0)
    engine = Engine(
        PopulationRisk(teacher.A),
        GradientDescent(StepSizes(0.1, train_hidden=False)),
        PhaseRule(teacher, teacher.A),
        0.0,
    )
    state = follow(engine, student, [0, 50])[0][-1]
    assert torch.equal(state.student.W, student.W)
    assert not torch.isclose(state.student.V, student.V).any()


def test_empirical_trajectory_equals_an_independent_descent() -> None:
    teacher, student = axis_teacher(1, 8), drawn("theorem", [1], 3, 8, 1, 0.5)
    X, Y = sampled(teacher, 60, [1])
    states, _ = follow(make_engine(teacher, empirical_risk(X, Y)), student, list(range(301)))
    Ws, Vs = reference.descend(
        student.W[0].numpy(),
        student.V[0].numpy(),
        lambda W, V: reference.empirical_gradient(W, V, X[0].numpy(), Y[0].numpy()),
        0.1,
        300,
    )
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
            students.W[j].numpy(),
            students.V[j].numpy(),
            lambda W, V: reference.population_gradient(W, V, teacher.A.numpy()),
            0.1,
            600,
        )
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
            assert (several[0].step, several[0].clock_time) == (state.step, state.clock_time)
    assert len({*states[0][-1].steps.tolist()}) > 3


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
        engine = make_engine(
            teacher, risk if empirical else PopulationRisk(A), A=A, tolerance=tolerance
        )
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
