"""The lemmas along trajectories: both sides against an independent oracle, and that they hold."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from reludyn.dynamics.phases import PhaseRule
from reludyn.network.notation import Gradient
from reludyn.network.student import ReLUStudent
from reludyn.network.teacher import LinearTeacher, axis_teacher, random_teacher
from reludyn.optim import StepSizes
from reludyn.optim.gradient_descent import GradientDescent
from reludyn.recording.lemma_table import BoundsTable
from reludyn.recording.look import Observer, kept_replicas, shares_of
from reludyn.recording.theory_observer import Checked, TheoryObserver
from reludyn.risk import PopulationRisk
from reludyn.theory.lemmas import STATEMENTS, Point, Sides, lemma_8_margin, lemma_13_margin
from reludyn.training.engine import Engine, State
from tests.oracles import reference
from tests.oracles import reference_theory as oracle
from tests.support.commands import QUICK, Command, reludyn_in
from tests.support.parts import drawn, empirical_risk, sampled

LR = 0.1


def point_of(
    W: np.ndarray,
    v: np.ndarray,
    a: np.ndarray,
    *,
    step: int = 10,
    align: int = -1,
    growth: int = -1,
    previous: np.ndarray | None = None,
    initial: ReLUStudent | None = None,
    gradient: Gradient | None = None,
    samples: int | None = None,
) -> Point:
    """One iterate with a past."""
    student = ReLUStudent(torch.from_numpy(W)[None], torch.from_numpy(v)[None, None])
    risk = PopulationRisk(torch.from_numpy(a)[None])
    before = student if previous is None else student._replace(W=torch.from_numpy(previous)[None])
    clock = [torch.tensor([x]) for x in (step, align, growth)]
    return Point(
        student,
        before,
        gradient or risk.evaluate(student).gradient,
        initial or student,
        *clock,
        risk,
        LR,
        samples,
    )


def near_minimum(seed: int, spread: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """w_i, v_i around +-a, with |a| = 1.7."""
    rng = np.random.default_rng(seed)
    a = rng.standard_normal(4)
    a *= 1.7 / np.linalg.norm(a)
    v = np.array([1.2, -1.4]) * (1 + 0.1 * rng.standard_normal(2))
    W = np.stack([a / 1.2, -a / 1.4]) + spread * rng.standard_normal((2, 4))
    return W, v, a


def assert_sides(found: Sides, left: object, right: object, applies: object) -> None:
    np.testing.assert_allclose(found.left[0], left, rtol=1e-9)
    np.testing.assert_allclose(found.right[0], right, rtol=1e-9)
    assert (found.applies[0].numpy() == applies).all()


# --- Both sides -------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_lemma_3_against_a_step_that_is_made(seed: int) -> None:
    W, v, a = near_minimum(seed, 0.3)
    assert_sides(STATEMENTS["lemma_3"](point_of(W, v, a)), *oracle.lemma_3(W, v, a, LR), True)
    both = np.abs(v)
    assert not STATEMENTS["lemma_3"](point_of(W, both, a)).applies.any()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", ["lemma_8", "lemma_13"])
def test_lemmas_8_and_13(seed: int, name: str) -> None:
    W, v, a = near_minimum(seed, 0.1)
    left, right = getattr(oracle, name)(W, v, a)
    assert_sides(STATEMENTS[name](point_of(W, v, a)), left, right, True)
    W[1] = W[0] + 0.5 * W[1]  # an acute angle
    assert not STATEMENTS[name](point_of(W, v, a)).applies.any()


def test_lemma_4() -> None:
    """Angles after alignment, where v_i <= 2 sqrt|a| and |b_i| <= |a|/4."""
    W, v, a = near_minimum(0, 0.02)
    v = np.array([1.2, -1.4])  # |v_i| at which b_i is small
    W = np.stack([a / np.linalg.norm(a) * 1.2, -a / np.linalg.norm(a) * 1.4]) + 0.02
    theta = reference.angle_to_target(W, v[None], a[None])
    lemma = STATEMENTS["lemma_4"]
    assert_sides(lemma(point_of(W, v, a, align=5)), theta, [math.pi / 20] * 2, True)
    for wrong in (
        point_of(W, v, a),  # not aligned yet
        point_of(W, v, a, align=10),  # only now
        point_of(W, 2.7 * v / np.abs(v), a, align=5),  # |v_i| > 2 sqrt|a|
        point_of(1.5 * W, v, a, align=5),  # unbalanced
    ):
        assert not lemma(wrong).applies.any()


def small_start(W: np.ndarray, v: np.ndarray) -> ReLUStudent:
    return ReLUStudent(torch.from_numpy(W)[None], torch.from_numpy(v)[None, None])


def test_lemmas_5_6_and_7_from_the_start() -> None:
    """Right sides by hand for a = 2 e_1, w_1(0) = (0.01, 0.02), w_2(0) = (0, 0.03), v = +-0.02."""
    a, unit = np.array([2.0, 0.0]), math.sqrt(2)
    start = small_start(np.array([[0.01, 0.02], [0.0, 0.03]]), np.array([0.02, -0.02]))
    W, v = np.array([[0.5, 0.1], [-0.4, 0.2]]), np.array([0.6, -0.3])
    here = point_of(W, v, a, step=40, align=30, initial=start)
    norms = [max(0.6, math.hypot(0.5, 0.1)), math.hypot(0.4, 0.2)]
    assert_sides(STATEMENTS["lemma_5_upper"](here), norms, [2 * unit] * 2, True)
    least = [math.hypot(0.5, 0.1), 0.3]
    assert_sides(STATEMENTS["lemma_5_lower"](here), [0.01] * 2, least, True)
    # u = 0.03, |q| = 0.01, Q = 0.02 and u = q = 0.02, Q = 0.03, all over sqrt 2
    growth = math.log(1 + LR * 2 / 2)
    tangent = math.tan(math.pi / 20)
    times = [
        math.log((2 * 0.02 / tangent + 0.01) / 0.03),
        math.log((2 * 0.03 / tangent + 0.02) / 0.02),
    ]
    aligned = 1 + max(times) / growth
    assert_sides(STATEMENTS["lemma_6"](here), 0.2 * 30, 0.2 * aligned, True)
    grown = 1 + math.log(unit / 0.02) / growth
    assert_sides(STATEMENTS["lemma_7"](here), 0.2 * 40, 0.2 * max(aligned, grown), True)
    late = point_of(W, v, a, step=40, align=30, growth=35, initial=start)
    assert_sides(STATEMENTS["lemma_7_size"](late), [unit / 4] * 2, [0.6, 0.3], True)
    assert not STATEMENTS["lemma_7_size"](here).applies.any()


@pytest.mark.parametrize(
    ("W", "v"),
    [
        ([[0.1, 0.0], [0.0, 0.01]], [0.02, -0.02]),  # too large
        ([[0.01, 0.02], [0.0, 0.03]], [0.02, 0.02]),  # one sign
        ([[-0.03, 0.0], [0.0, 0.03]], [0.02, -0.02]),  # v_1 will change its sign
    ],
)
def test_what_is_no_small_start(W: list[list[float]], v: list[float]) -> None:
    start = small_start(np.array(W), np.array(v))
    W_now, v_now, _ = near_minimum(0, 0.1)
    a = np.array([1.0, 0.0])
    here = point_of(W_now[:, :2].copy(), v_now, a, align=2, growth=4, initial=start)
    for name in (
        "lemma_5_upper",
        "lemma_5_lower",
        "lemma_6",
        "lemma_7",
        "lemma_7_size",
        "theorem_2",
    ):
        assert not STATEMENTS[name](here).applies.any()


def test_lemma_11_on_samples() -> None:
    W, v, a = near_minimum(1, 0.3)
    X = np.random.default_rng(5).standard_normal((30, 4))
    gW, gV = reference.empirical_gradient(W, v[None], X, (X @ a)[:, None])
    gradient = Gradient(torch.from_numpy(gW)[None], torch.from_numpy(gV)[None])
    left, sizes = oracle.lemma_11(W, v, a, X)
    delta = 2 * math.sqrt(4 / 30) + 4 / 30
    found = STATEMENTS["lemma_11"](point_of(W, v, a, gradient=gradient, samples=30))
    assert_sides(found, left, np.multiply(delta, sizes), True)
    assert not STATEMENTS["lemma_11"](point_of(W, v, a)).applies.any()


def test_theorem_2_compares_two_iterates() -> None:
    W, v, a = near_minimum(2, 0.1)
    start = small_start(np.outer([0.005, -0.005], a), np.array([0.01, -0.01]))
    before = W + 0.01
    late = point_of(W, v, a, align=3, growth=5, previous=before, initial=start)
    expected = (1 - 0.05 / 64 * LR * 1.7) * oracle.theorem_2_error(before, v, a)
    now = oracle.theorem_2_error(W, v, a)
    assert_sides(STATEMENTS["theorem_2"](late), now, expected, True)
    still = point_of(W, v, a, align=3, growth=5, previous=W, initial=start)
    assert not STATEMENTS["theorem_2"](still).applies.any()


# --- Along trajectories -----------------------------------------------------------------------


def followed(
    teacher: LinearTeacher, sigma: float, lr: float, replicas: int, n: int | None = None
) -> BoundsTable:
    """Every statement at every iteration of descent from alternating signs."""
    d, seeds = teacher.inputs, range(replicas)
    scale = sigma * math.sqrt(teacher.smallest_scale)
    student = drawn("theorem", seeds, 2, d, 1, scale, "alternating", teacher=teacher)
    population = PopulationRisk(teacher.A)
    risk = empirical_risk(*sampled(teacher, n, seeds)) if n else population
    engine = Engine(risk, GradientDescent(StepSizes(lr)), PhaseRule(teacher, teacher.A), 1e-20)
    shares = shares_of([student.replicas], 0)
    checked = Checked(student, population, lr, n)
    theory = TheoryObserver(None, None, kept_replicas(shares), d, checked)
    observer = Observer(risk, teacher.A, student, shares, theory=theory)
    table = BoundsTable(seeds, 0)
    state: State = engine.start(student)
    for _ in range(600):
        table.record(observer.look(state))
        if not state.running.any():
            break
        state = engine.advance(state, 1)
    return table


@pytest.mark.slow
@pytest.mark.parametrize(
    ("norm", "sigma", "lr"), [(1.0, 1e-2, 0.1), (1.0, 1e-4, 0.3), (2.5, 1e-3, 0.05)]
)
def test_all_hold_on_the_population_risk(norm: float, sigma: float, lr: float) -> None:
    table = followed(random_teacher(1, 20, norm), sigma, lr, 50)
    assert table.violated == {}
    assert table.rows == []
    checked = {name for name, tally in table.tallies.items() if tally.checked > 1000}
    assert checked == set(STATEMENTS) - {"lemma_11"}
    assert all(table.tallies[name].smallest_margin > 0 for name in checked)


@pytest.mark.slow
@pytest.mark.parametrize("d", [1, 2, 3])
def test_all_hold_with_few_inputs(d: int) -> None:
    """Where hidden weights point away from their target they shrink to their part across first; an
    aligned start needs no time."""
    assert followed(axis_teacher(1, d), 1e-3, 0.1, 200).violated == {}


@pytest.mark.slow
def test_all_hold_on_samples() -> None:
    """Those that speak of samples: d = 20, n = 16 d."""
    table = followed(axis_teacher(1, 20), 1e-3, 0.1, 20, n=320)
    assert table.violated == {}
    checked = {name for name, tally in table.tallies.items() if tally.checked}
    assert checked == set(STATEMENTS) - {"lemma_6", "lemma_7"}


@pytest.mark.slow
def test_steps_that_are_too_large_violate_lemmas_and_are_reported(reludyn: Command) -> None:
    """mu = 1.9: nothing of it is hidden."""
    run = reludyn_in(
        reludyn,
        "run",
        "theory.bounds=true",
        "optimizer.lr=1.9",
        "init.scale=0.01",
        "trainer.steps=200",
        "trainer.keep_weights=0",
        "replicas=3",
        "trainer.tolerance=0",
    )
    assert run.code == 0
    tallies = run.summary["bounds"]
    violated = {name for name, tally in tallies.items() if tally["violated"]}
    assert violated
    table = [row for row in run.table("bounds.csv") if row["holds"] == "False"]
    assert {row["statement"] for row in table} == violated
    for name in violated:
        steps = [int(row["step"]) for row in table if row["statement"] == name]
        assert min(steps) == tallies[name]["first_violation"]
        assert len(steps) == tallies[name]["violated"]
        assert f"{name} by" in " ".join(run.out.split())


def test_the_table_of_a_run(reludyn: Command) -> None:
    """Every check of the replicas whose weights are kept."""
    run = reludyn_in(
        reludyn,
        "run",
        "theory.bounds=true",
        "replicas=3",
        "trainer.keep_weights=2",
        "trainer.steps=100",
        *QUICK[1:],
    )
    rows = run.table("bounds.csv")
    assert {row["replica"] for row in rows} == {"0", "1"}
    per_look = sum(2 if row["neuron"] else 1 for row in rows if row["step"] == "0") // 2
    assert {row["statement"] for row in rows} == set(STATEMENTS)
    assert {row["step"] for row in rows} == {str(step) for step in range(101)}
    for row in rows:
        assert (row["holds"] == "") == (row["applies"] == "False")
        if row["left"] and row["right"]:
            margin = float(row["right"]) - float(row["left"])
            assert float(row["margin"]) == pytest.approx(margin, abs=1e-15)
    assert per_look > 0


def test_a_replica_that_has_stopped_is_not_checked_again(reludyn: Command) -> None:
    run = reludyn_in(
        reludyn,
        "run",
        "theory.bounds=true",
        "replicas=2",
        "init.scale=0.1",
        "seed=3",
        "trainer.steps=400",
        "trainer.tolerance=1e-3",
    )
    last = {int(row["replica"]): int(row["T_converged"] or 400) for row in run.rows}
    found = {
        j: max(int(r["step"]) for r in run.table("bounds.csv") if r["replica"] == str(j))
        for j in (0, 1)
    }
    assert found == last
    assert last[0] != last[1]


# --- The functions of the angle ---------------------------------------------------------------


@pytest.mark.parametrize("theta", [0.3, 1.0, math.pi / 2, 2.2, 3.0])
def test_the_margin_of_lemma_8_is_a_minimum_over_targets(theta: float) -> None:
    """Against SciPy's minimiser over a in R^3, on the oracle's gradient and loss."""
    W, v = np.array([[1.0, 0, 0], [math.cos(theta), math.sin(theta), 0]]), np.array([[1.0, -1.0]])

    def function(a: np.ndarray) -> float:
        gW, _ = reference.population_gradient(W, v, a[None])
        return float(np.sum(gW**2)) - 0.05 * reference.population_loss(W, v, a[None])

    found = minimize(function, np.array([0.1, -0.2, 0.3]), tol=1e-14)
    margin = lemma_8_margin(torch.tensor([theta], dtype=torch.float64))
    assert float(margin[0]) == pytest.approx(found.fun, abs=1e-11)
    assert abs(found.x[2]) < 1e-5  # in the plane of w_1 and w_2


def test_the_values_of_figures_4_and_5() -> None:
    """Those of an independent prototype."""
    at = torch.tensor([math.pi / 2, 3 * math.pi / 4, 1.0, 0.0], dtype=torch.float64)
    four, five = lemma_8_margin(at), lemma_13_margin(at)
    assert four[:2].tolist() == pytest.approx([0.00328, 0.01771], abs=5e-6)
    assert float(four[2]) < 0
    assert five[[0, 3]].tolist() == pytest.approx([0.0408, -0.1], abs=5e-5)


def test_both_are_positive_where_the_lemmas_speak() -> None:
    theta = torch.linspace(math.pi / 2, math.pi, 2001, dtype=torch.float64)
    assert float(lemma_8_margin(theta).min()) > -1e-15
    assert float(lemma_13_margin(theta).min()) > -1e-15
