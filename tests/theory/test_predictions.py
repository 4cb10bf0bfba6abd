"""The theory's predictions: against training, against closed forms, in the files of a run."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch

from reludyn.dynamics.order_parameters import learned
from reludyn.network.activation import LeakyReLU
from reludyn.network.student import ReLUStudent
from reludyn.network.subspace import InvariantSubspace
from reludyn.network.teacher import LinearTeacher, axis_teacher, random_teacher
from reludyn.risk import PopulationRisk
from reludyn.theory.linear_phase import LinearPhase
from reludyn.theory.predictions import effective_sign, forecast, predict
from reludyn.theory.reduced import Rays, Theory, directions_across
from tests.oracles import reference
from tests.support.commands import Command, Finished, reludyn_in
from tests.support.descents import trained
from tests.support.parts import drawn

STEPS = 800


# --- Against training -------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sigma", "lr", "tolerance", "norm", "slope"),
    [
        (1e-2, 0.1, 1e-4, 1.0, 0.0),
        (1e-4, 0.1, 1e-4, 1.0, 0.0),
        (1e-8, 0.1, 1e-12, 1.0, 0.0),
        (1e-3, 0.05, 1e-3, 2.5, 0.0),
        (1e-3, 0.1, 1e-4, 1.0, 0.3),
    ],
)
def test_phase_times_are_exact_to_one_iteration(
    sigma: float, lr: float, tolerance: float, norm: float, slope: float
) -> None:
    """k = 2, of those with opposite effective signs; the outcomes of all."""
    teacher, activation = random_teacher(1, 100, norm), LeakyReLU(slope)
    students = drawn("xavier_normal", range(300), 2, 100, 1, sigma, teacher=teacher)
    signs = effective_sign(students, teacher.A)
    opposite = signs[:, 0] != signs[:, 1]
    assert 100 < int(opposite.sum()) < 200
    said = predict(students, teacher.A, lr, tolerance, STEPS, activation)
    clocks = trained(teacher, students, lr, tolerance, STEPS, activation).clocks
    for name in ("align", "growth", "converged"):
        measured = getattr(clocks, name)[opposite]
        predicted = getattr(said, f"T_{name}")[opposite]
        assert (measured >= 0).all()
        assert int((predicted - measured).abs().max()) <= 1
    reached = [outcome == "global_minimum" for outcome in said.outcome]
    assert reached == (clocks.converged >= 0).tolist()


@pytest.mark.parametrize(
    ("k", "sigma", "norm", "slope"), [(3, 1e-4, 1.0, 0.0), (4, 1e-3, 2.5, 0.3), (6, 1e-8, 1.0, 0.0)]
)
def test_phases_of_sign_groups_are_exact(k: int, sigma: float, norm: float, slope: float) -> None:
    """More than two neurons, whatever becomes of them: the very iterations, also where a neuron
    changes its group; every replica has both times."""
    teacher, activation = random_teacher(1, 40, norm), LeakyReLU(slope)
    students = drawn("xavier_normal", range(24), k, 40, 1, sigma, teacher=teacher)
    assert (effective_sign(students, teacher.A) != students.V[:, 0].sign()).any()
    said = predict(students, teacher.A, 0.1 / norm, 1e-4 * norm**2, 600, activation)
    state = trained(teacher, students, 0.1 / norm, 1e-4 * norm**2, 600, activation)
    for name in ("align", "growth", "converged"):
        assert torch.equal(getattr(said, f"T_{name}"), getattr(state.clocks, name))
    assert (said.T_growth > said.T_align).all()


def test_six_neurons_take_the_phases_of_two() -> None:
    """Measured independently of this code: medians 70, 188 and 252 of 32 converged seeds."""
    teacher = axis_teacher(1, 100)
    students = drawn("xavier_normal", range(33), 6, 100, 1, 1e-4, teacher=teacher)
    clocks = trained(teacher, students, 0.1, 1e-4, 500).clocks
    reached = clocks.converged >= 0
    assert int(reached.sum()) >= 32
    for clock, median in zip(clocks, (70, 188, 252), strict=True):
        assert (clock[reached] >= 0).all()
        assert float(clock[reached].double().median()) == pytest.approx(median, abs=2)


def test_directions_across_have_the_angles_of_the_weights() -> None:
    teacher = random_teacher(1, 7)
    for k in (3, 9):
        student = drawn("theorem", range(4), k, 7, 1, 1.0)
        found = directions_across(student, teacher.A)
        ray = teacher.A[0] / teacher.A.norm()
        rest = student.W - (student.W @ ray).unsqueeze(-1) * ray
        expected = torch.nn.functional.cosine_similarity(rest.unsqueeze(1), rest.unsqueeze(2), -1)
        assert found.shape == (4, k, min(k, 7))
        torch.testing.assert_close(found @ found.mT, expected, rtol=0, atol=1e-14)
    assert directions_across(drawn("theorem", range(4), 2, 7, 1, 1.0), teacher.A) is None


def test_the_smallest_step_sizes_move_nothing() -> None:
    """1e-46 and the smallest number of all are no zeros; single precision would make them so."""
    teacher, student = axis_teacher(1, 5), drawn("theorem", range(2), 2, 5, 1, 1e-3)
    for lr in (1e-46, 5e-324):
        said = predict(student, teacher.A, lr, 1e-4, 10)
        assert said.T_growth.tolist() == said.T_converged.tolist() == [-1, -1]


@pytest.mark.slow
@pytest.mark.parametrize("k", [2, 3, 4, 6])
def test_the_basin_rule_at_small_scale(k: int) -> None:
    """Stuck exactly where all effective signs agree; the sign of v alone often says otherwise."""
    teacher = axis_teacher(1, 100)
    students = drawn("xavier_normal", range(200), k, 100, 1, 1e-8)
    state = trained(teacher, students, 0.1, 1e-2, 700)
    stuck = state.clocks.converged < 0
    agree = [
        signs.abs().sum(-1) == k
        for signs in (
            effective_sign(students, teacher.A).sum(-1, keepdim=True),
            students.V[:, 0].sign().sum(-1, keepdim=True),
        )
    ]
    assert torch.equal(agree[0], stuck)
    assert int((agree[1] != stuck).sum()) > 1
    said = predict(students, teacher.A, 0.1, 1e-2, 700)
    expected = ["non_strict_saddle" if s else "global_minimum" for s in stuck]
    assert said.outcome == expected


def test_curves_follow_the_trajectory() -> None:
    teacher, looks = axis_teacher(1, 50), list(range(0, 400, 10))
    students = drawn("xavier_normal", range(4), 2, 50, 1, 1e-4, "alternating")
    opposite = effective_sign(students, teacher.A).sum(-1) == 0
    students = students.map(lambda x: x[opposite])
    said = forecast(students, teacher.A, 0.1)
    Ws, Vs = reference.descend(
        students.W[0].numpy(),
        students.V[0].numpy(),
        lambda W, V: reference.population_gradient(W, V, teacher.A.numpy()),
        0.1,
        looks[-1],
    )
    for look in looks:
        at = torch.full((students.replicas,), look)
        W, V, expected = Ws[look], Vs[look], said.at(at)
        np.testing.assert_allclose(expected.w_norm[0], np.linalg.norm(W, axis=1), rtol=1e-3)
        np.testing.assert_allclose(expected.v_norm[0], np.abs(V[0]), rtol=1e-3)
        angle = reference.angle_to_target(W, V, teacher.A.numpy())
        np.testing.assert_allclose(expected.angle_to_target[0], angle, rtol=1e-3, atol=1e-3)
        loss = reference.population_loss(W, V, teacher.A.numpy())
        np.testing.assert_allclose(expected.loss[0], loss, rtol=2e-2, atol=1e-12)


# --- Several outputs --------------------------------------------------------------------------


def stretched(*singular: float, d: int = 30) -> LinearTeacher:
    """A with these singular values, in random directions."""
    rng, r = np.random.default_rng(7), len(singular)
    left, right = (np.linalg.qr(rng.standard_normal((n, r)))[0] for n in (r, d))
    return LinearTeacher(torch.from_numpy(left * np.array(singular) @ right.T))


def linear_descent(
    W: np.ndarray, V: np.ndarray, A: np.ndarray, lr: float, steps: int, odd: float = 0.5
) -> tuple[np.ndarray, np.ndarray]:
    """w_i += mu odd A^T v_i, v_i += mu odd A w_i, step by step."""
    for _ in range(steps):
        W, V = W + lr * odd * (A.T @ V).T, V + lr * odd * A @ W.T
    return W, V


@pytest.mark.parametrize("slope", [0.0, 0.3])
@pytest.mark.parametrize("steps", [0, 1, 60])
def test_the_linear_phase_is_linear_descent(slope: float, steps: int) -> None:
    teacher, activation = stretched(2.0, 1.0, 0.5), LeakyReLU(slope)
    student = drawn("theorem", range(3), 4, 30, 3, 1e-6, teacher=teacher)
    A = teacher.A.numpy()
    U, s, Q = np.linalg.svd(A, full_matrices=False)
    said = forecast(student, teacher.A, 0.1, activation).at(torch.full((3,), steps))
    small = LinearPhase(student, teacher.A, 0.1, activation).at(torch.tensor([steps]))
    for j in range(3):
        W, V = linear_descent(
            student.W[j].numpy(), student.V[j].numpy(), A, 0.1, steps, activation.odd
        )
        np.testing.assert_allclose(said.w_norm[j], np.linalg.norm(W, axis=1), rtol=1e-12)
        np.testing.assert_allclose(said.v_norm[j], np.linalg.norm(V, axis=0), rtol=1e-12)
        angle = reference.angle_to_target(W, V, A)
        np.testing.assert_allclose(said.angle_to_target[j], angle, rtol=1e-9)
        loss = np.sum(A**2) / 2 - activation.odd * np.sum(V * (A @ W.T))
        np.testing.assert_allclose(said.loss[j], loss, rtol=1e-14)
        parts = activation.odd * np.einsum("aj,ak,kd,jd->j", U, V, W, Q) / s
        learned = LinearPhase(student, teacher.A, 0.1, activation).learned(small)
        np.testing.assert_allclose(learned[j, 0], parts, rtol=1e-10, atol=1e-20)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("singular", "k", "sigma", "known"),
    [((1, 1), 4, 1e-4, 40), ((1.5, 1, 0.7), 6, 1e-6, 35), ((1,) * 5, 10, 1e-4, 40)],
)
def test_alignment_with_several_outputs_is_exact(
    singular: tuple[float, ...], k: int, sigma: float, known: int
) -> None:
    """Wherever a prediction is made, and that is nearly always."""
    teacher = stretched(*singular, d=60)
    students = drawn("xavier_normal", range(40), k, 60, len(singular), sigma, teacher=teacher)
    said = predict(students, teacher.A, 0.1, 1e-4, 900)
    measured = trained(teacher, students, 0.1, 1e-30, 900).clocks.align
    made = said.T_align >= 0
    assert int(made.sum()) >= known
    assert torch.equal(said.T_align[made], measured[made])
    assert said.outcome == [None] * 40
    assert set(said.T_growth.tolist()) == {-1}


@pytest.mark.slow
def test_directions_are_not_learned_before_they_are_expected() -> None:
    """Half of s_j: never more than an iteration early; the first direction mostly within two. Where
    all neurons see a direction with one sign it is learned by halves, and may come last."""
    teacher = stretched(2.0, 1.0, d=60)
    students = drawn("xavier_normal", range(40), 4, 60, 2, 1e-4, teacher=teacher)
    said = predict(students, teacher.A, 0.1, 1e-4, 1500).T_direction
    subspace = InvariantSubspace.spanned(teacher, students)
    A, student = subspace.teacher.A, subspace.reduce(students)
    risk, measured = PopulationRisk(A), torch.full((40, 2), -1)
    for step in range(1500):
        half = learned(student, A) >= 0.5
        measured = torch.where((measured < 0) & half, step, measured)
        gradient = risk.evaluate(student).gradient
        student = ReLUStudent(student.W - 0.1 * gradient.W, student.V - 0.1 * gradient.V)
    assert (measured >= 0).all()
    late = measured - said
    assert int(late.min()) >= -1
    assert float(late[:, 0].double().median()) <= 2
    both = (said[:, 0] < said[:, 1]) == (measured[:, 0] < measured[:, 1])
    assert float(both.double().mean()) > 0.8


# --- The formulas -----------------------------------------------------------------------------


@pytest.mark.parametrize("slope", [0.0, 0.3])
def test_a_step_is_exact_where_all_others_are_on_their_rays(slope: float) -> None:
    """A step of one neuron in any direction, the others on the two rays: against the gradient."""
    activation, rng = LeakyReLU(slope), np.random.default_rng(3)
    teacher = axis_teacher(1, 3, 1.7)
    for _ in range(20):
        W, v = np.zeros((4, 3)), rng.uniform(0.2, 1.2, 4) * [1, 1, -1, -1]
        W[:, 0] = rng.uniform(0.1, 1.0, 4) * np.sign(v)
        W[0] = rng.standard_normal(3)
        student = ReLUStudent(torch.from_numpy(W)[None], torch.from_numpy(v)[None, None])
        gradient = PopulationRisk(teacher.A, activation).evaluate(student).gradient
        lr = 1e-3
        theory = Theory(1.7, lr, activation)
        before = theory.rays(student, teacher.A)
        after = theory.step(before)
        unit = math.sqrt(1.7)
        along = -lr * gradient.W[0, 0, 0] / unit
        torch.testing.assert_close(after.along[0, 0] - before.along[0, 0], along, rtol=1e-9, atol=0)
        dV = -lr * gradient.V[0, 0, 0] / unit
        torch.testing.assert_close(after.v[0, 0] - before.v[0, 0], dV, rtol=1e-9, atol=0)
        across = student.W[0, 0, 1:] - lr * gradient.W[0, 0, 1:]
        torch.testing.assert_close(after.across[0, 0], across.norm() / unit, rtol=1e-12, atol=0)


def test_linear_dynamics_are_those_of_small_steps() -> None:
    """The closed form against 100 steps from 1e-9: squares of 1e-7 are left out."""
    students = drawn("xavier_normal", range(20), 3, 10, 1, 1e-9)
    theory = Theory(1.0, 0.1)
    rays = start = theory.rays(students, axis_teacher(1, 10).A)
    for _ in range(100):
        rays = theory.step(rays)
    jumped = theory.linear(start, torch.full((20,), 100))
    for one, other in zip(rays, jumped, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-20)


@pytest.mark.parametrize("slope", [0.0, 0.4])
def test_the_loss_is_exact_on_the_rays(slope: float) -> None:
    activation, teacher = LeakyReLU(slope), axis_teacher(1, 4, 0.7)
    rng = np.random.default_rng(1)
    v = rng.standard_normal((6, 5))
    W = np.zeros((6, 5, 4))
    W[..., 0] = np.sign(v) * rng.uniform(0, 1, (6, 5))
    student = ReLUStudent(torch.from_numpy(W), torch.from_numpy(v)[:, None])
    theory = Theory(0.7, 0.1, activation)
    exact = PopulationRisk(teacher.A, activation).loss(student).total
    torch.testing.assert_close(
        theory.loss(theory.rays(student, teacher.A)), exact, rtol=1e-12, atol=0
    )


@pytest.mark.parametrize("slope", [0.0, 0.3])
def test_the_rate_is_that_of_the_hessian(slope: float) -> None:
    """Smallest eigenvalue that is not zero of the Hessian of the closed form, by autograd of the
    gradient, a little away from the minimum of k = 2."""
    activation, teacher = LeakyReLU(slope), axis_teacher(1, 3)
    x, y = 0.8, 1.1
    share = 1 / (1 + slope)
    W = torch.zeros(2, 3, dtype=torch.float64)
    W[0, 0], W[1, 0] = share / x, -share / y
    W[:, 1] = 1e-7  # the closed form is not smooth where the neurons are antiparallel
    flat = torch.cat([W.flatten(), torch.tensor([x, -y], dtype=torch.float64)])

    def gradient(z: torch.Tensor) -> torch.Tensor:
        student = ReLUStudent(z[:6].view(1, 2, 3), z[6:].view(1, 1, 2))
        g = PopulationRisk(teacher.A, activation).evaluate(student).gradient
        return torch.cat([g.W.flatten(), g.V.flatten()])

    h, columns = 1e-4, []
    for i in range(8):
        shift = torch.zeros(8, dtype=torch.float64)
        shift[i] = h
        columns.append((gradient(flat + shift) - gradient(flat - shift)) / (2 * h))
    hessian = torch.stack(columns)
    eigenvalues = torch.linalg.eigvalsh((hessian + hessian.mT) / 2)
    smallest = float(eigenvalues[eigenvalues > 1e-2].min())
    rays = Rays(*(torch.tensor([c]) for c in ([x, -y], [share / x, -share / y], [0.0, 0.0])))
    assert float(Theory(1.0, 0.1, activation).rate(rays)) == pytest.approx(
        1 - 0.1 * smallest, abs=1e-4
    )


@pytest.mark.slow
@pytest.mark.parametrize(("lr", "d"), [(0.1, 20), (1.5, 20), (1.9, 20), (0.1, 1)])
def test_the_rate_at_the_end_is_the_measured_one(lr: float, d: int) -> None:
    """The largest factor: also where large steps overshoot, or nothing is across a. Errors of the
    weights shrink by it in the last iterations before rounding."""
    teacher = axis_teacher(1, d)
    student = drawn("xavier_normal", range(20), 2, d, 1, 1e-2, teacher=teacher)
    said = predict(student, teacher.A, lr, 1e-18, 3000)
    j = said.outcome.index("global_minimum")
    one = student.map(lambda layer: layer[j : j + 1])
    risk, losses = PopulationRisk(teacher.A), []
    for _ in range(3000):
        evaluation = risk.evaluate(one)
        losses.append(float(risk.loss(one).total[0]))
        gradient = evaluation.gradient
        one = ReLUStudent(one.W - lr * gradient.W, one.V - lr * gradient.V)
    tail = [x for x in losses if 1e-24 < x < 1e-14]
    measured = (tail[-1] / tail[0]) ** (1 / (2 * (len(tail) - 1)))
    assert float(said.rate[j]) == pytest.approx(measured, abs=2e-3)


def test_divergence_is_predicted() -> None:
    teacher = axis_teacher(1, 10)
    student = drawn("xavier_normal", range(4), 2, 10, 1, 1e-3, teacher=teacher)
    assert set(predict(student, teacher.A, 5.0, 1e-4, 500).outcome) == {"diverged"}


def test_a_singular_value_of_zero_has_nothing_to_learn() -> None:
    A = torch.zeros(2, 6, dtype=torch.float64)
    A[0, 0] = 1.0
    student = drawn("xavier_normal", range(6), 4, 6, 2, 1e-4, teacher=LinearTeacher(A))
    direction = predict(student, A, 0.1, 1e-4, 1000).T_direction
    assert (direction[:, 0] > 0).all()
    assert (direction[:, 1] == -1).all()


# --- In the files of a run --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("W", "V", "A"),
    [
        ((1, 2, 5), (1, 1, 1), (1, 5)),
        ((2, 5), (1, 2), (1, 5)),
        ((1, 2, 5), (1, 1, 2), (5,)),
        ((1, 2, 5), (1, 1, 2), (1, 4)),
        ((1, 2, 5), (1, 1, 2), (3, 1, 5)),
        ((1, 2, 5), (1, 2, 2), (1, 5)),
    ],
)
def test_shapes_that_do_not_fit_are_refused(
    W: tuple[int, ...], V: tuple[int, ...], A: tuple[int, ...]
) -> None:
    student, target = ReLUStudent(torch.ones(W), torch.ones(V)), torch.ones(A)
    with pytest.raises(ValueError, match=re.escape(f"these are W {W}, V {V}, A {A}")):
        predict(student, target, 0.1, 0.0, 5)
    with pytest.raises(ValueError, match=re.escape(f"these are W {W}, V {V}, A {A}")):
        forecast(student, target, 0.1)


def test_a_step_size_must_be_positive() -> None:
    student = drawn("theorem", [0], 2, 3, 1, 0.1)
    with pytest.raises(ValueError, match=r"lr=-0\.1: must be > 0"):
        predict(student, torch.eye(1, 3).double(), -0.1, 0.0, 5)


def test_a_run_writes_its_predictions(fig3: Finished) -> None:
    (row,) = fig3.rows
    for name in ("T_align", "T_growth", "T_converged", "outcome"):
        assert row[f"predicted_{name}"] == row[name] != ""


def test_a_run_keeps_the_predicted_curves(fig3: Finished) -> None:
    arrays = fig3.arrays
    for name in ("loss", "w_norm", "v_norm", "angle_to_target"):
        predicted = arrays[f"predicted_{name}"]
        assert predicted.shape == arrays[name].shape
        np.testing.assert_allclose(predicted, arrays[name], rtol=0.02, atol=1e-3)


@pytest.mark.quick(3)
@pytest.mark.parametrize(
    "overrides",
    [
        ["data.covariance=power_law"],
        ["optimizer=momentum"],
        ["optimizer=gradient_flow"],
        ["optimizer.schedule=cosine"],
        ["optimizer.output_lr=0.2"],
        ["model.train_output=false"],
        ["model.negative_slope=1"],
        ["data=gaussian", "data.law=rademacher", "data.samples=30"],
    ],
)
def test_where_there_is_no_theory_the_columns_are_empty(
    reludyn: Command, overrides: list[str]
) -> None:
    rows = reludyn_in(reludyn, "run", "data.dim=5", *overrides).rows
    assert {row[name] for row in rows for name in row if name.startswith("predicted")} == {""}


@pytest.mark.slow
def test_samples_are_predicted_as_their_limit(reludyn: Command) -> None:
    """The same weights: the prediction is that of the population run."""
    names = ["predicted_T_align", "predicted_T_converged", "predicted_outcome"]
    population = reludyn_in(reludyn, "a", "trainer.steps=300").rows
    samples = reludyn_in(reludyn, "b", "trainer.steps=300", "data=gaussian", "data.samples=50").rows
    assert [row[n] for row in population for n in names] == [
        row[n] for row in samples for n in names
    ]
    assert population[0]["predicted_outcome"] == "global_minimum"
