"""CUDA graphs, as far as a CPU can tell: what is repeated, and that it changes nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from reludyn.dynamics.phases import PhaseRule
from reludyn.network.student import ReLUStudent
from reludyn.network.teacher import axis_teacher
from reludyn.optim import StepSizes
from reludyn.optim.gradient_descent import GradientDescent
from reludyn.optim.momentum import Momentum
from reludyn.risk import EmpiricalRisk, PopulationRisk
from reludyn.training import graphs
from reludyn.training.engine import REPEATED, Engine, State
from reludyn.training.graphs import Repeated
from tests.support.parts import drawn, empirical_risk, sampled

Counts = dict[str, int]


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counts:
    """A device that repeats by doing the same work again, from the same place to the same place."""
    count = {"recorded": 0, "replayed": 0}

    def record(work: Callable[[], tuple[Tensor, ...]]) -> tuple[Callable[[], None], object]:
        count["recorded"] += 1
        outputs = work()

        def replay() -> None:
            count["replayed"] += 1
            for place, x in zip(outputs, work(), strict=True):
                place.copy_(x)

        return replay, outputs

    monkeypatch.setattr(graphs, "record", record)
    return count


def test_a_record_is_made_when_shapes_come_again(counts: Counts) -> None:
    repeated = Repeated(lambda x, y: (x + y, x * y))
    results = []
    for size in (3, 3, 3, 5, 3, 3):
        x, y = torch.rand(size), torch.rand(size)
        results.append((repeated(x, y), (x + y, x * y)))
    assert counts == {"recorded": 2, "replayed": 3}
    for found, expected in results:  # later calls do not change earlier results
        for one, other in zip(found, expected, strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize("samples", [0, 1, 6])
def test_descent_is_the_same(samples: int, counts: Counts) -> None:
    """Also where replicas stop, with samples of all, of each or of none."""
    teacher = axis_teacher(1, 5)
    students = drawn("theorem", range(6), 2, 5, 1, 0.3, "alternating")
    risk: PopulationRisk | EmpiricalRisk = PopulationRisk(teacher.A)
    if samples:
        risk = empirical_risk(*sampled(teacher, 60, range(samples)))
    last: list[list[State]] = []
    for on in (False, True):
        rule = PhaseRule(teacher, teacher.A)
        engine = Engine(risk, GradientDescent(StepSizes(0.1)), rule, 1e-6, graphs=on)
        states = [engine.start(students)]
        for stretch in (1, 7, REPEATED, 50, 80, 100, 300):
            states.append(engine.advance(states[-1], stretch))
        last.append(states)
    for one, other in zip(*last, strict=True):
        assert torch.equal(one.student.W, other.student.W)
        assert torch.equal(one.student.V, other.student.V)
        assert torch.equal(one.steps, other.steps)
        assert (one.step, one.clock_time) == (other.step, other.clock_time)
        assert all(torch.equal(a, b) for a, b in zip(one.clocks, other.clocks, strict=True))
    assert counts["replayed"] > counts["recorded"] > 0


def test_what_keeps_something_on_the_host_is_not_repeated() -> None:
    teacher = axis_teacher(1, 5)
    rule, risk = PhaseRule(teacher, teacher.A), PopulationRisk(teacher.A)
    momentum = Momentum(StepSizes(0.1), 0.9)
    assert Engine(risk, momentum, rule, 0.0, graphs=True).repeated is None
    compiled = EmpiricalRisk(empirical_risk(*sampled(teacher, 9, [0])).samples, compiled=True)
    descent = GradientDescent(StepSizes(0.1))
    assert Engine(compiled, descent, rule, 0.0, graphs=True).repeated is None
    assert Engine(risk, descent, rule, 0.0, graphs=True).repeated is not None


def test_what_is_repeated_does_not_wait_for_the_device() -> None:
    """Fake CUDA tensors refuse any read of a value."""
    teacher = axis_teacher(1, 5)
    assert teacher.smallest_scale == 2 * teacher.zero_loss == 1  # read while tensors are real
    with FakeTensorMode(allow_non_fake_inputs=False):
        cuda = {"device": "cuda", "dtype": torch.float64}
        A = torch.empty(1, 5, **cuda)
        rule, descent = PhaseRule(teacher, A), GradientDescent(StepSizes(0.1))
        engine = Engine(PopulationRisk(A), descent, rule, 1e-8, graphs=True)
        student = ReLUStudent(torch.empty(4, 2, 5, **cuda), torch.empty(4, 1, 2, **cuda))
        outputs = engine._several(*student, *engine.risk.evaluate(student).gradient)
        assert {x.device.type for x in outputs} == {"cuda"}
        assert {len(x) for x in outputs} == {REPEATED}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_graphs_follow_the_cpu() -> None:
    teacher = axis_teacher(1, 20)
    students = drawn("xavier_normal", range(16), 2, 20, 1, 1e-3, "alternating")
    states = []
    for device in ("cpu", "cuda"):
        A = teacher.A.to(device)
        rule, descent = PhaseRule(teacher, A), GradientDescent(StepSizes(0.1))
        engine = Engine(PopulationRisk(A), descent, rule, 1e-8, graphs=device == "cuda")
        states.append(engine.advance(engine.start(students.to(device, torch.float64)), 500))
    assert torch.equal(states[0].steps, states[1].steps.cpu())
    found = states[1].student.W.cpu()
    torch.testing.assert_close(found, states[0].student.W, rtol=1e-9, atol=1e-12)
