"""The compiled program: the same numbers as the plain engine, and no surprises around it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import pytest
import torch

from reludyn.config.parse import parse
from reludyn.data.layouts import Layout, Resident
from reludyn.dynamics.phases import PhaseRule
from reludyn.experiment.cost import compiles
from reludyn.experiment.plan import pick_device
from reludyn.network.activation import RELU, LeakyReLU
from reludyn.network.student import ReLUStudent
from reludyn.network.subspace import InvariantSubspace
from reludyn.network.teacher import LinearTeacher, axis_teacher, random_teacher
from reludyn.optim import StepSizes
from reludyn.optim.gradient_descent import GradientDescent
from reludyn.risk import EmpiricalRisk, PopulationRisk, empirical, tiles
from reludyn.risk.unrolled import evaluate
from reludyn.system.compiler import CannotCompile, Compiled
from reludyn.system.errors import ConfigError
from reludyn.training import compiled_engine as module
from reludyn.training.compiled_engine import CompiledEngine
from reludyn.training.engine import Engine, State
from reludyn.training.programs import Form, Matrices, Pairs, Unrolled, compiled, form_of
from tests.support.commands import Composer
from tests.support.descents import follow
from tests.support.parts import drawn, empirical_risk, sampled

FORMS = [Unrolled, Pairs, Matrices]


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same programs, run by PyTorch one operation after the other."""
    monkeypatch.setattr(module, "compiled", lambda form: form.program)


@pytest.fixture
def choose(monkeypatch: pytest.MonkeyPatch) -> Callable[[type[Form]], None]:
    """Make every program one of this form."""

    def chosen(form: type[Form]) -> None:
        def form_of(k: int, m: int, r: int, replicas: int, activation: LeakyReLU) -> Form:
            return form(k, m, r, activation)

        monkeypatch.setattr(module, "form_of", form_of)

    return chosen


def pair(
    teacher: LinearTeacher,
    students: ReLUStudent,
    tolerance: float = 0.0,
    sizes: StepSizes | None = None,
    activation: LeakyReLU = RELU,
    dtype: torch.dtype = torch.float64,
) -> tuple[Engine, CompiledEngine, ReLUStudent]:
    """Both engines, and the students in the coordinates of the run."""
    subspace = InvariantSubspace.spanned(teacher, students)
    A = subspace.teacher.A.to(dtype)
    descent = GradientDescent(sizes or StepSizes(0.1))
    parts = (PopulationRisk(A, activation), descent, PhaseRule(teacher, A), tolerance)
    return Engine(*parts), CompiledEngine(*parts), subspace.reduce(students).to("cpu", dtype)


def assert_same(one: State, other: State, tolerance: float = 1e-12) -> None:
    for a, b in zip(one.student, other.student, strict=True):
        size = float(a[a.isfinite()].abs().max())
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance * size, equal_nan=True)
    for name in ("steps", "running", "diverged", "stationary"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name
    for a, b in zip(one.clocks, other.clocks, strict=True):
        assert a.tolist() == b.tolist()
    torch.testing.assert_close(one.time, other.time, rtol=1e-14, atol=0.0)
    assert (one.step, one.clock_time) == (other.step, other.clock_time)


@pytest.mark.parametrize("slope", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(("k", "r"), [(1, 1), (2, 1), (3, 1), (2, 2), (5, 3)])
def test_the_written_out_risk_is_the_risk(k: int, r: int, slope: float) -> None:
    """Also where vectors vanish, are parallel or antiparallel."""
    teacher, activation = random_teacher(r, k + r + 2), LeakyReLU(slope)
    students = drawn("xavier_normal", range(6), k, k + r + 2, r, 1.0)
    W = students.W.clone()
    W[0, 0] = 0.0
    W[1, -1] = 3 * W[1, 0]
    W[2, -1] = -2 * W[2, 0]
    subspace = InvariantSubspace.spanned(teacher, students._replace(W=W))
    A, student = subspace.teacher.A, subspace.reduce(students._replace(W=W))
    expected = PopulationRisk(A, activation).evaluate(student)
    w = [list(row) for row in student.W.movedim(0, -1)]
    v = [list(row) for row in student.V.permute(2, 1, 0)]
    point = evaluate(w, v, [list(row[:r]) for row in A], A.square().sum() / 2, activation)
    torch.testing.assert_close(point.loss, expected.loss, rtol=1e-13, atol=1e-13)
    found_W = torch.stack([torch.stack(row, -1) for row in point.grad_w], 1)
    found_V = torch.stack([torch.stack(row, -1) for row in point.grad_v], -1)
    torch.testing.assert_close(found_W, expected.gradient.W, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(found_V, expected.gradient.V, rtol=1e-13, atol=1e-13)


# A program is made of the sizes and the form; a tolerance is one of its numbers: every one with one
# output and with several, and every size. Below 1e-14 the loss of several outputs is not resolved.
CASES = [
    (1, 1, 0.3, (0.0, 1e-22)),
    (2, 1, 1e-4, (0.0, 1e-4, 1e-10, 1e-22)),
    (3, 1, 1.0, (1e-4, 1e-10)),
    (5, 1, 1e-4, (0.0, 1e-4)),
    (4, 2, 0.1, (0.0, 1e-4, 1e-10)),
    (6, 3, 1.0, (1e-10,)),
    (23, 2, 0.5, (0.0, 1e-4)),
]


@pytest.mark.quick(5)
@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize(
    ("k", "r", "scale", "tolerance", "form"),
    [
        (k, r, scale, tolerance, form)
        for k, r, scale, tolerances in CASES
        for tolerance in tolerances
        for form in FORMS
        if form is not Unrolled or k <= 6
        if form is not Pairs or k > 1
    ],
)
def test_the_program_equals_the_plain_engine(
    k: int,
    r: int,
    scale: float,
    tolerance: float,
    form: type[Form],
    choose: Callable[[type[Form]], None],
) -> None:
    """500 steps, weights to 1e-12, all events equal, however the stretches fall."""
    choose(form)
    students = drawn("xavier_normal", range(9), k, 40, r, scale)
    plain, program, start = pair(random_teacher(r, 40), students, tolerance)
    expected = plain.advance(plain.start(start), 500)
    for stretches in ([500], [1, 2, 3, 200, 294]):
        state = program.start(start)
        for steps in stretches:
            state = program.advance(state, steps)
        assert_same(expected, state)
        last = [expected.previous, state.previous]
        torch.testing.assert_close(last[0].W, last[1].W, rtol=1e-11, atol=1e-12)


@pytest.mark.quick(3)
@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize(
    "sizes",
    [StepSizes(0.05, 0.2), StepSizes(0.1, train_hidden=False), StepSizes(0.1, train_output=False)],
)
@pytest.mark.parametrize("form", FORMS)
def test_step_sizes_and_frozen_layers(
    sizes: StepSizes, form: type[Form], choose: Callable[[type[Form]], None]
) -> None:
    choose(form)
    students = drawn("theorem", range(4), 3, 12, 1, 0.5)
    plain, program, start = pair(axis_teacher(1, 12), students, 1e-9, sizes, LeakyReLU(0.2))
    expected = plain.advance(plain.start(start), 300)
    assert_same(expected, program.advance(program.start(start), 300))


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("form", FORMS)
def test_a_diverging_replica_stops_where_it_does_in_the_plain_engine(
    form: type[Form], choose: Callable[[type[Form]], None]
) -> None:
    choose(form)
    good = drawn("theorem", range(3), 2, 4, 1, 0.5, "alternating")
    factor = torch.tensor([1.0, 40.0, 15.0], dtype=torch.float64).view(-1, 1, 1)
    plain, program, start = pair(axis_teacher(1, 4), good.map(lambda x: factor * x), 1e-8)
    expected = plain.advance(plain.start(start), 400)
    assert expected.diverged.tolist() == [False, True, True]
    assert_same(expected, program.advance(program.start(start), 400))


@pytest.mark.usefixtures("uncompiled")
def test_single_precision() -> None:
    students = drawn("theorem", range(5), 2, 10, 1, 1e-2, "alternating")
    plain, program, start = pair(axis_teacher(1, 10), students, 1e-4, dtype=torch.float32)
    expected = plain.advance(plain.start(start), 400)
    state = program.advance(program.start(start), 400)
    assert state.student.W.dtype == torch.float32
    torch.testing.assert_close(state.student.W, expected.student.W, rtol=1e-4, atol=1e-4)
    assert (state.clocks.converged - expected.clocks.converged).abs().max() <= 1


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("which", [0, 1])
def test_stopped_replicas_stay_as_they_are_and_cost_nothing(which: int) -> None:
    students = drawn("theorem", range(8), 2, 6, 1, 0.3, "alternating")
    *engines, start = pair(axis_teacher(1, 6), students, 1e-6)
    engine = engines[which]
    states, reason = follow(engine, start, [0, 60, 120, 140, 160, 180, 1000])
    assert reason == "converged"
    for before, after in pairwise(states):
        stopped = ~before.running
        assert torch.equal(before.student.W[stopped], after.student.W[stopped])
    assert engine.advance(states[-1], 5) is states[-1]  # nobody is running
    advanced: list[int] = []
    descend = engine._descend

    def counting(state: State, steps: int) -> State:
        advanced.append(len(state.steps))
        return descend(state, steps)

    engine._descend = counting  # type: ignore[method-assign]
    middle = next(state for state in states if 0 < int(state.running.sum()) < 8)
    engine.advance(middle, 1)
    assert advanced == [int(middle.running.sum())]


@pytest.mark.slow
@pytest.mark.parametrize(("k", "r", "form"), [(2, 1, Unrolled), (9, 2, Pairs), (20, 2, Matrices)])
def test_one_program_serves_any_number_of_replicas(
    k: int, r: int, form: type[Form], choose: Callable[[type[Form]], None]
) -> None:
    """Really compiled: the same numbers, and nothing compiled again."""
    choose(form)
    students = drawn("xavier_normal", range(40), k, 30, r, 0.1)
    plain, program, start = pair(random_teacher(r, 30), students, 1e-9)
    counters = torch._dynamo.utils.counters["stats"]
    graphs = None
    for R, steps in ((40, 500), (1, 100), (17, 33), (2, 1), (8, 250)):
        some = start.map(lambda x, R=R: x[:R])
        state = program.advance(program.start(some), steps)
        assert_same(plain.advance(plain.start(some), steps), state)
        graphs = graphs or counters["unique_graphs"]
        assert counters["unique_graphs"] == graphs
    assert Compiled.available


@pytest.mark.parametrize(
    ("k", "r", "replicas", "form"),
    [
        (2, 1, 1, Unrolled),
        (6, 3, 1, Unrolled),
        (8, 1, 1, Pairs),
        (32, 16, 1, Pairs),
        (33, 1, 7, Matrices),
        (33, 1, 8, Pairs),
        (128, 1, 8, Pairs),
        (129, 1, 1000, Matrices),
        (1, 30, 9, Matrices),
    ],
)
def test_the_form_depends_on_the_sizes_alone(
    k: int, r: int, replicas: int, form: type[Form]
) -> None:
    found = form_of(k, k + r, r, replicas, RELU)
    assert isinstance(found, form)
    assert found.tile % found.padding == 0


def test_many_sizes_each_have_a_program() -> None:
    """A compiler makes only a few programs of one function."""
    sizes = [(k, 5, 1) for k in range(1, 9)]
    for family in (tiles.program, empirical._fused):
        assert len({id(family(RELU, *some)) for some in sizes}) == len(sizes)
        assert family(RELU, 2, 5, 1) is family(RELU, 2, 5, 1)


def test_many_forms_each_have_a_program() -> None:
    forms = [Unrolled(k, k + 1, 1, RELU) for k in range(1, 6)]
    programs = [compiled(form) for form in forms]
    assert len({id(program) for program in programs}) == len(forms)
    assert compiled(Unrolled(2, 3, 1, RELU)) is programs[1]


@pytest.mark.parametrize("kind", [torch._dynamo.exc.TorchDynamoException, OSError, ImportError])
def test_without_a_compiler_descent_goes_on_without(
    kind: type[Exception], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Said once, whatever was to be compiled, whether a compiler is missing, a folder for what it
    makes, or the right to execute it."""
    monkeypatch.setattr(Compiled, "available", True)

    def fails(*_: object) -> None:
        raise kind("\nno C++ compiler: g++\nmore")

    monkeypatch.setattr(torch, "compile", lambda *_, **__: fails)
    compiled.cache_clear()
    students = drawn("theorem", range(3), 2, 6, 1, 0.3)
    plain, program, start = pair(axis_teacher(1, 6), students)
    X, Y = sampled(axis_teacher(1, 6), 30, range(3))
    samples = [Resident(X, Y).laid(layout) for layout in ("columns", "tiles")]
    with caplog.at_level(logging.WARNING):
        state = program.start(start)
        for steps in (20, 30):
            state = program.advance(state, steps)
        same = [
            [EmpiricalRisk(held, compiled=asked).evaluate(students) for asked in (True, False)]
            for held in samples
        ]
    assert_same(plain.advance(plain.start(start), 50), state)
    for one, other in same:
        assert torch.equal(one.gradient.W, other.gradient.W)
    (record,) = caplog.records
    assert "trainer.engine=eager" in record.message
    assert record.message.endswith("no C++ compiler: g++")
    with pytest.raises(CannotCompile):
        Compiled(fails)()
    compiled.cache_clear()
    for programs in (empirical._fused, tiles.program):
        programs.cache_clear()


@pytest.mark.parametrize("slope", [0.0, 0.3])
@pytest.mark.parametrize(("k", "r", "d"), [(1, 1, 1), (2, 1, 6), (3, 2, 9)])
def test_the_written_out_gradient_on_tiles_is_the_gradient(
    k: int, r: int, d: int, slope: float
) -> None:
    """Also of several pieces, of rows that fill no tile, and of a preactivation of zero."""
    teacher, activation = axis_teacher(r, d), LeakyReLU(slope)
    students = drawn("theorem", range(3), k, d, r, 1.0)
    students.W[0, 0] = 0.0
    X, Y = sampled(teacher, 201, range(3), noise=0.1)
    for some in (students, students.map(lambda x: x[:1])):
        x, y = X[: some.replicas], Y[: some.replicas]
        expected = EmpiricalRisk(Resident(x, y), activation).evaluate(some)
        pieces = tiles.pieces(Resident(x, y).laid("tiles"), 4 * 16 * d)
        assert len(pieces) == (4 if some.replicas == 1 else 1)
        program = partial(tiles.written_out, activation)
        parts = [tiles.sums(program, *some, *piece) for piece in pieces]
        total = [sum(x) for x in zip(*parts, strict=True)]
        exact = {"rtol": 1e-12, "atol": 1e-12}
        torch.testing.assert_close(total[0] / 402, expected.loss, **exact)
        torch.testing.assert_close(total[1] / 201, expected.gradient.W, **exact)
        torch.testing.assert_close(total[2] / 201, expected.gradient.V, **exact)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("k", "r", "layout", "own", "slope"),
    [
        (2, 1, "tiles", True, 0.0),
        (3, 2, "tiles", True, 0.3),
        (2, 1, "columns", True, 0.3),
        (2, 1, "columns", False, 0.0),
        (9, 1, "columns", True, 0.0),
    ],
)
def test_the_compiled_empirical_risk_is_the_risk(
    k: int, r: int, layout: Layout, own: bool, slope: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Really compiled: trajectories of 500 steps to 1e-10, and nothing compiled again, for all
    replicas, for one, in groups, in pieces."""
    teacher, activation = axis_teacher(r, 12), LeakyReLU(slope)
    students = drawn("theorem", range(5), k, 12, r, 0.3)
    X, Y = sampled(teacher, 700, range(5) if own else [0], noise=0.1)
    counters, graphs = torch._dynamo.utils.counters["stats"], None
    for R, room in ((5, 2**21), (1, 2**21), (5, 2 * 704 * 12), (1, 320 * 12)):
        monkeypatch.setattr(empirical, "INPUTS", room)
        held, some = Resident(X[:R], Y[:R]), students.map(lambda x, R=R: x[:R])
        last = []
        for risk in (
            EmpiricalRisk(held, activation),
            EmpiricalRisk(held.laid(layout), activation, compiled=True, several=True),
        ):
            rule = PhaseRule(teacher, teacher.A)
            engine = Engine(risk, GradientDescent(StepSizes(0.1)), rule, 0.0)
            last.append(engine.advance(engine.start(some), 500))
        for one, other in zip(last[0].student, last[1].student, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10 * float(one.abs().max()))
        graphs = graphs or counters["unique_graphs"]
        assert counters["unique_graphs"] == graphs
    assert Compiled.available


@pytest.mark.slow
@pytest.mark.parametrize(("k", "layout"), [(2, "tiles"), (9, "columns")])
def test_compiled_gradients_in_single_precision(k: int, layout: Layout) -> None:
    students = drawn("theorem", range(3), k, 12, 1, 1.0)
    X, Y = sampled(axis_teacher(1, 12), 500, range(3), noise=0.1)
    expected = empirical_risk(X, Y).evaluate(students)
    single = torch.empty(0, dtype=torch.float32)
    risk = EmpiricalRisk(Resident(X, Y).laid(layout).to(single), compiled=True)
    found = risk.evaluate(students.to("cpu", torch.float32))
    assert found.gradient.W.dtype == torch.float32
    for one, other in zip(found.gradient, expected.gradient, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.loss.double(), expected.loss, rtol=1e-5, atol=0.0)
    assert Compiled.available


@pytest.mark.quick(4)
@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([], False),
        (["replicas=1000"], False),
        (["replicas=100000"], True),
        (["trainer.steps=2000000"], True),
        (["replicas=100000", "optimizer=momentum"], False),
        (["replicas=100000", "optimizer.schedule=cosine"], False),
        (["data=gaussian", "data.samples=5000", "model.width=64"], False),
        (["data=gaussian", "data.samples=100000", "model.width=64"], True),
        (["data=stream", "data.samples=100000", "model.width=64"], False),
        (["replicas=100000", "trainer.gradient_tolerance=1e-3"], False),
        (["replicas=100000", "trainer.engine=eager"], False),
        (["trainer.engine=compiled"], True),
    ],
)
def test_auto_compiles_where_it_pays(
    composed: Composer, overrides: list[str], expected: bool
) -> None:
    assert compiles(parse(composed(*overrides)), pick_device("cpu")) is expected


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("optimizer=adam", "data=population"),
        ("optimizer=momentum", "optimizer=gd"),
        ("data=stream", "samples in memory"),
        ("data.covariance=power_law", "covariance=identity"),
        ("trainer.gradient_tolerance=1e-3", "gradient_tolerance"),
        ("model.width=300", "model.width up to 256"),
    ],
)
def test_what_has_no_program_is_refused(composed: Composer, override: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        parse(composed(override, "trainer.engine=compiled"))
