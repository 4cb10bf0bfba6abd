"""Update rules: against independent loops, through the engine, alone and in a batch."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from reludyn.dynamics import order_parameters
from reludyn.dynamics.phases import PhaseRule
from reludyn.network.student import ReLUStudent
from reludyn.network.subspace import InvariantSubspace
from reludyn.network.teacher import axis_teacher, random_teacher
from reludyn.optim import StepSizes, UpdateRule
from reludyn.optim.adam import Adam
from reludyn.optim.gradient_descent import GradientDescent
from reludyn.optim.gradient_flow import GradientFlow
from reludyn.optim.momentum import Momentum
from reludyn.optim.schedule import Schedule
from reludyn.risk import PopulationRisk, Risk
from reludyn.system.errors import ConfigError
from reludyn.training.engine import Engine, State
from tests.oracles import reference
from tests.oracles import reference_optimizers as oracle
from tests.support.commands import Command, refused, reludyn_in
from tests.support.parts import drawn, empirical_risk, sampled

RULES = {  # ours, the loop of the oracle, PyTorch's
    "gd": (GradientDescent, partial(oracle.momentum, beta=0.0), torch.optim.SGD),
    "momentum": (
        partial(Momentum, beta=0.8),
        partial(oracle.momentum, beta=0.8),
        partial(torch.optim.SGD, momentum=0.8),
    ),
    "nesterov": (
        partial(Momentum, beta=0.8, nesterov=True),
        partial(oracle.momentum, beta=0.8, nesterov=True),
        partial(torch.optim.SGD, momentum=0.8, nesterov=True),
    ),
    "adam": (
        partial(Adam, beta1=0.8, beta2=0.95, eps=1e-6),
        partial(oracle.adam, beta1=0.8, beta2=0.95, eps=1e-6),
        partial(torch.optim.Adam, betas=(0.8, 0.95), eps=1e-6),
    ),
}
STEPS = 60


def descend(risk: Risk, rule: UpdateRule, student: ReLUStudent, steps: int = STEPS) -> list[State]:
    """All states of a run that never stops."""
    teacher = axis_teacher(student.V.shape[1], student.W.shape[2])
    engine = Engine(risk, rule, PhaseRule(teacher, teacher.A), 0.0)
    states = [engine.start(student)]
    for _ in range(steps):
        states.append(engine.advance(states[-1], 1))
    return states


def flow_on(risk: Risk, *options: Any, **named: Any) -> GradientFlow:
    """The flow of a risk's gradient."""
    return GradientFlow(lambda student: risk.evaluate(student).gradient, *options, **named)


def paths(states: list[State]) -> tuple[np.ndarray, np.ndarray]:
    """W (T, k, d) and V (T, r, k) of replica 0."""
    weights = [(s.student.W[0].numpy(), s.student.V[0].numpy()) for s in states]
    return np.stack([W for W, _ in weights]), np.stack([V for _, V in weights])


# --- Rules in steps ---------------------------------------------------------------------


@pytest.mark.quick(12)
@pytest.mark.parametrize("output_lr", [None, 0.02])
@pytest.mark.parametrize("plan", [("constant", 0), ("constant", 7), ("cosine", 0), ("cosine", 7)])
@pytest.mark.parametrize("name", RULES)
def test_a_rule_equals_an_independent_loop(
    name: str, plan: tuple[str, int], output_lr: float | None
) -> None:
    teacher, student = random_teacher(2, 5), drawn("theorem", [3], 4, 5, 2, 1.0)
    X, Y = sampled(teacher, 40, [3])
    make, loop, _ = RULES[name]
    rule = make(StepSizes(0.1, output_lr, schedule=Schedule(*plan, STEPS)))
    states = descend(empirical_risk(X, Y), rule, student)
    sizes = getattr(oracle, plan[0])
    lrs = sizes(0.1, plan[1], STEPS)
    Ws, Vs = loop(
        student.W[0].numpy(),
        student.V[0].numpy(),
        lambda W, V: reference.empirical_gradient(W, V, X[0].numpy(), Y[0].numpy()),
        lrs=lrs,
        output_lrs=sizes(output_lr or 0.1, plan[1], STEPS),
        steps=STEPS,
    )
    for found, expected in zip(paths(states), (Ws, Vs), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-11)
    times = [float(s.time) for s in states]
    np.testing.assert_allclose(times, [0, *np.cumsum(lrs)], rtol=1e-12, atol=1e-15)


def test_descent_with_one_step_size_is_steady() -> None:
    """However many steps its schedule is for: time is mu step, exactly, and CUDA graphs repeat."""
    rule = GradientDescent(StepSizes(0.1, schedule=Schedule(steps=50)))
    assert rule.steady
    assert rule.time(30, 2.9) == 0.1 * 30
    for schedule in (Schedule("cosine", 0, 50), Schedule("constant", 3, 50)):
        assert not GradientDescent(StepSizes(0.1, schedule=schedule)).steady


def test_a_cosine_ends_at_zero() -> None:
    student = drawn("theorem", [0], 2, 3, 1, 1.0)
    rule = GradientDescent(StepSizes(0.1, schedule=Schedule("cosine", 10, 50)))
    states = descend(PopulationRisk(axis_teacher(1, 3).A), rule, student, 50)
    assert float(states[-1].time - states[-2].time) == pytest.approx(
        0.05 * (1 + math.cos(math.pi * 39 / 40))
    )
    assert rule.time(51, 2.0) == pytest.approx(2.0, abs=1e-17)


@pytest.mark.parametrize("name", RULES)
def test_a_rule_is_that_of_torch(name: str) -> None:
    """A third route, with the gradient by autograd."""
    student, teacher = drawn("theorem", range(3), 3, 4, 1, 0.5), axis_teacher(1, 4)
    X, Y = sampled(teacher, 30, range(3))
    last = descend(empirical_risk(X, Y), RULES[name][0](StepSizes(0.1, 0.07)), student)[-1].student
    W, V = (layer.clone().requires_grad_() for layer in student)
    optimizer = RULES[name][2]([{"params": [W], "lr": 0.1}, {"params": [V], "lr": 0.07}])
    for _ in range(STEPS):
        optimizer.zero_grad()
        error = torch.relu(X @ W.mT) @ V.mT - Y
        (error.square().sum() / (2 * 30)).backward()
        optimizer.step()
    torch.testing.assert_close(last, ReLUStudent(W.detach(), V.detach()), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", RULES)
def test_a_frozen_layer_stays(name: str) -> None:
    student = drawn("theorem", range(3), 3, 4, 1, 0.5)
    for frozen, sizes in (
        ("W", StepSizes(0.1, train_hidden=False)),
        ("V", StepSizes(0.1, train_output=False)),
    ):
        rule = RULES[name][0](sizes)
        last = descend(PopulationRisk(axis_teacher(1, 4).A), rule, student)[-1].student
        for layer in "WV":
            moved = not torch.equal(getattr(last, layer), getattr(student, layer))
            assert moved == (layer != frozen)


@pytest.mark.parametrize("name", RULES)
def test_an_earlier_state_goes_on_as_it_did(name: str) -> None:
    """What a state holds decides all that follows: also after other runs with the same rule."""
    student = drawn("theorem", range(3), 3, 4, 1, 0.5)
    rule = RULES[name][0](StepSizes(0.05, schedule=Schedule("cosine", 5, 100)))
    teacher = axis_teacher(1, 4)
    engine = Engine(PopulationRisk(teacher.A), rule, PhaseRule(teacher, teacher.A), 0.0)
    early = engine.advance(engine.start(student), 20)
    first = engine.advance(early, 50)
    engine.advance(first, 10)
    again = engine.advance(engine.advance(early, 13), 37)
    assert torch.equal(again.student.W, first.student.W)
    assert torch.equal(again.time, first.time)


@pytest.mark.parametrize("name", RULES)
def test_replicas_have_their_own_memory(name: str) -> None:
    students = drawn("theorem", range(4), 3, 4, 1, 0.5)
    risk = PopulationRisk(axis_teacher(1, 4).A)

    def last(student: ReLUStudent) -> ReLUStudent:
        rule = RULES[name][0](StepSizes(0.1))
        return descend(risk, rule, student)[-1].student

    together = last(students)
    for j, one in enumerate(students.split(1)):
        alone = last(one)
        torch.testing.assert_close(together.W[j], alone.W[0], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", ["momentum", "nesterov"])
def test_momentum_stays_in_the_subspace(name: str) -> None:
    teacher, student = random_teacher(1, 9), drawn("theorem", [2], 3, 9, 1, 0.1)
    subspace = InvariantSubspace.spanned(teacher, student)
    make = RULES[name][0]
    full = descend(PopulationRisk(teacher.A), make(StepSizes(0.1)), student)
    small = subspace.reduce(student)
    rule = make(StepSizes(0.1))
    reduced = descend(PopulationRisk(subspace.teacher.A), rule, small)
    lifted = subspace.lift(reduced[-1].student)
    torch.testing.assert_close(lifted, full[-1].student, rtol=1e-11, atol=1e-13)


def test_adam_runs_in_the_coordinates_of_the_inputs(reludyn: Command) -> None:
    """Its path depends on the axes: through the command it is that of an independent loop."""
    overrides = ["data.dim=7", "data.target=random", "init.scale=0.5", "trainer.steps=40"]
    arrays = reludyn_in(
        reludyn, "adam", "optimizer=adam", "optimizer.lr=0.05", "trainer.tolerance=0", *overrides
    ).arrays
    A = arrays["A"]
    Ws, _ = oracle.adam(
        arrays["W"][0, 0],
        arrays["V"][0, 0],
        lambda W, V: reference.population_gradient(W, V, A),
        lrs=[0.05] * 40,
        output_lrs=[0.05] * 40,
        beta1=0.9,
        beta2=0.999,
        eps=1e-8,
        steps=40,
    )
    np.testing.assert_allclose(arrays["W"][:, 0], Ws, rtol=1e-8, atol=1e-10)
    assert arrays["time"][-1] == pytest.approx(40 * 0.05)


# --- Gradient flow ----------------------------------------------------------------------------


@pytest.mark.quick(1)
@pytest.mark.parametrize("output_lr", [None, 0.04])
@pytest.mark.parametrize(("k", "r", "d", "scale"), [(2, 1, 5, 1e-3), (4, 2, 6, 1.0)])
def test_the_flow_equals_an_independent_integrator(
    k: int, r: int, d: int, scale: float, output_lr: float | None
) -> None:
    teacher, student = axis_teacher(r, d), drawn("xavier_normal", [1], k, d, r, scale)
    risk = PopulationRisk(teacher.A)
    rule = flow_on(risk, StepSizes(0.1, output_lr), rtol=1e-12)
    states = descend(risk, rule, student, 200)
    Ws, Vs = oracle.flow(
        student.W[0].numpy(),
        student.V[0].numpy(),
        lambda W, V: reference.population_gradient(W, V, teacher.A.numpy()),
        times=[0.1 * s for s in range(0, 201, 20)],
        output_ratio=(output_lr or 0.1) / 0.1,
    )
    W, V = paths(states[::20])
    np.testing.assert_allclose(W, Ws, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(V, Vs, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose([float(s.time) for s in states], 0.1 * np.arange(201), rtol=1e-12)


@pytest.mark.quick(1)
@pytest.mark.parametrize("method", ["dopri8", "dopri5"])
def test_the_flow_conserves_the_imbalance(method: str) -> None:
    """Lemma 3, to 1e-8 of |a| through all phases; descent does not."""
    teacher, students = axis_teacher(1, 10), drawn("xavier_normal", range(5), 3, 10, 1, 0.1)
    risk = PopulationRisk(teacher.A)

    def drift(rule: UpdateRule) -> float:
        states = descend(risk, rule, students, 300)
        b = torch.stack([order_parameters.imbalance(s.student) for s in states])
        assert float(risk.loss(states[-1].student).total.min()) < 1e-4
        return float((b - b[0]).abs().max())

    assert drift(flow_on(risk, StepSizes(0.1), 1e-10, method)) < 1e-8
    assert drift(GradientDescent(StepSizes(0.1))) > 1e-4


@pytest.mark.slow
def test_descent_tends_to_the_flow_with_order_one() -> None:
    """max_t |weights(descent) - weights(flow)| at t = mu s is proportional to mu."""
    teacher, student = axis_teacher(1, 6), drawn("xavier_normal", [0], 2, 6, 1, 0.3)
    risk, horizon = PopulationRisk(teacher.A), 20.0
    flow = descend(risk, flow_on(risk, StepSizes(0.5), 1e-12), student, 40)
    errors, sizes = [], [0.1 / 2**j for j in range(6)]
    for mu in sizes:
        rule = GradientDescent(StepSizes(mu))
        states = descend(risk, rule, student, round(horizon / mu))[:: round(0.5 / mu)]
        assert float(states[-1].time) == pytest.approx(float(flow[-1].time))
        errors.append(
            max(np.abs(a - b).max() for a, b in zip(paths(states), paths(flow), strict=True))
        )
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert np.abs(orders[-1] - 1) < 0.02
    assert (np.abs(np.diff(orders)) < 0.1).all()
    assert np.polyfit(np.log(sizes), np.log(errors), 1)[0] == pytest.approx(1, abs=0.05)


def test_a_replica_of_a_flow_equals_the_run_alone() -> None:
    """To the tolerance of the integrator, since a batch shares its steps."""
    students = drawn("theorem", range(4), 3, 5, 1, 0.5)
    risk = PopulationRisk(axis_teacher(1, 5).A)
    rule = flow_on(risk, StepSizes(0.1), 1e-12)
    together = descend(risk, rule, students, 50)[-1].student
    for j, one in enumerate(students.split(1)):
        alone = descend(risk, rule, one, 50)[-1].student
        torch.testing.assert_close(together.W[j], alone.W[0], rtol=1e-11, atol=1e-12)


def test_a_frozen_layer_of_a_flow_stays() -> None:
    student = drawn("theorem", [0], 3, 4, 1, 0.5)
    risk = PopulationRisk(axis_teacher(1, 4).A)
    last = descend(risk, flow_on(risk, StepSizes(0.1, train_hidden=False)), student, 20)[-1]
    assert torch.equal(last.student.W, student.W)
    assert not torch.isclose(last.student.V, student.V).any()


def test_a_diverged_replica_holds_up_no_flow() -> None:
    good = drawn("theorem", [0, 1], 2, 4, 1, 0.5)
    risk = PopulationRisk(axis_teacher(1, 4).A)
    broken = good._replace(W=good.W.index_fill(0, torch.tensor([1]), math.nan))
    rule = flow_on(risk, StepSizes(0.1))
    moved = descend(risk, rule, broken, 3)[-1].student
    alone = descend(risk, rule, good.map(lambda x: x[:1]), 3)[-1].student
    torch.testing.assert_close(moved.W[:1], alone.W, rtol=1e-11, atol=1e-12)


def test_a_flow_that_is_too_stiff_is_refused() -> None:
    student = drawn("theorem", [0], 2, 4, 1, 1e6)
    risk = PopulationRisk(axis_teacher(1, 4).A)
    with pytest.raises(
        ConfigError, match=r"optimizer.rtol=1e-10: dopri8 makes no progress.*too stiff.*Use a"
    ):
        descend(risk, flow_on(risk, StepSizes(0.1)), student, 1)


@pytest.mark.slow
def test_flow_and_descent_overlay(reludyn: Command) -> None:
    """T_* of the flow are near those of descent with the same lr, and the time is mu step."""
    runs = {
        name: reludyn_in(
            reludyn,
            name,
            f"optimizer={name}",
            "trainer.steps=600",
            "optimizer.lr=0.02",
            "init.scale=0.05",
            "init.signs=alternating",
        )
        for name in ("gd", "gradient_flow")
    }
    gd, flow = (run.arrays for run in runs.values())
    for arrays in (gd, flow):
        np.testing.assert_allclose(arrays["time"], 0.02 * arrays["step"], rtol=1e-12, atol=1e-12)
    steps = min(len(gd["step"]), len(flow["step"]))
    np.testing.assert_allclose(gd["v_norm"][:steps], flow["v_norm"][:steps], atol=0.02)
    assert not np.allclose(gd["v_norm"][:steps], flow["v_norm"][:steps], atol=1e-5)


# --- Through the command ----------------------------------------------------------------------


def test_the_checkpoint_holds_the_memory(reludyn: Command) -> None:
    overrides = ["optimizer=adam", "optimizer.schedule=cosine", "optimizer.warmup=2"]
    folder = reludyn_in(reludyn, "run", *overrides, "data.dim=5").folder
    saved = torch.load(folder / "checkpoints" / "last.pt", weights_only=True)
    for of_W, of_V in saved["memory"]:  # means of the gradient and of its square
        assert (of_W.shape, of_V.shape) == ((1, 2, 5), (1, 1, 2))
        assert of_W.all()


def test_nesterov_without_momentum_is_gradient_descent(reludyn: Command) -> None:
    plain = reludyn_in(reludyn, "gd", "data.dim=5").arrays
    nesterov = ["optimizer=nesterov", "optimizer.momentum=0", "data.dim=5"]
    found = reludyn_in(reludyn, "nesterov", *nesterov).arrays
    np.testing.assert_allclose(found["W"], plain["W"], rtol=1e-13, atol=1e-18)


@pytest.mark.slow
def test_a_flow_on_samples_gets_on_and_conserves_the_imbalance(reludyn: Command) -> None:
    """With the default tolerance, also where neurons cross samples."""
    folder = "flow"
    arrays = reludyn_in(
        reludyn,
        folder,
        "optimizer=gradient_flow",
        "data=gaussian",
        "data.samples=100",
        "data.dim=5",
        "init.scale=0.3",
        "trainer.steps=100",
        "trainer.tolerance=0",
    ).arrays
    assert arrays["step"][-1] == 100
    assert np.abs(arrays["imbalance"] - arrays["imbalance"][0]).max() < 1e-6


GAUSSIAN = ["data=gaussian", "data.samples=20", "data.dim=4"]
REFUSED = [
    (["optimizer=sgd"], r"^optimizer=sgd: needs samples in memory; data=population has none. Use"),
    (["optimizer=sgd", "data=stream"], r"^optimizer=sgd: .*data=stream has none.*data.fresh=true"),
    (["optimizer=sgd", *GAUSSIAN, "optimizer.batch=21"], "^optimizer.batch=21: must be at most"),
    (["optimizer=gradient_flow", "data=stream", "data.fresh=true"], "^optimizer=gradient_flow: ne"),
    (["optimizer=gradient_flow", "precision=float32"], "^optimizer.rtol=null: must be at least"),
    (["optimizer.output_lr=1", "model.train_output=false"], "^optimizer.output_lr=1.0: must be n"),
    (["optimizer.warmup=5"], "^optimizer.warmup=5: must be below trainer.steps=5"),
    (
        ["optimizer=sgd", *GAUSSIAN, "trainer.gradient_tolerance=1e-3", "optimizer.batch=2"],
        "^trainer.gradient_tolerance=0.001: must be 0 where steps follow a part",
    ),
    (
        ["data=stream", "data.fresh=true", "trainer.gradient_tolerance=1e-3"],
        "^trainer.gradient_tolerance=0.001: must be 0",
    ),
    (["optimizer=gradient_flow", "optimizer.schedule=cosine"], "^optimizer.schedule.*no such key"),
    (["optimizer=momentum", "optimizer.momentum=1"], "^optimizer.momentum=1.0: must be < 1"),
]


@pytest.mark.quick(5)
@pytest.mark.parametrize(("overrides", "message"), REFUSED, ids=lambda x: " ".join(x)[:60])
def test_what_makes_no_sense_is_refused(
    reludyn: Command, overrides: list[str], message: str
) -> None:
    import re

    line = refused(reludyn("trainer.steps=5", "figures=false", "logger=none", *overrides))
    assert re.search(message, line), line
