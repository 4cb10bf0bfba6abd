"""The population risk: closed forms against autograd, finite differences, Monte Carlo, mpmath."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reludyn.network.student import ReLUStudent
from reludyn.network.teacher import axis_teacher, random_teacher
from reludyn.risk import PopulationRisk
from tests.oracles import reference
from tests.support.parts import drawn

SIZES = [(1, 1, 1), (2, 1, 3), (2, 1, 20), (3, 1, 5), (4, 2, 6), (6, 3, 7), (5, 4, 4), (8, 2, 3)]


def random_student(k: int, r: int, d: int, seed: int, scale: float = 1.0) -> ReLUStudent:
    return drawn("theorem", [seed], k, d, r, scale * math.sqrt(d))


def random_A(r: int, d: int, seed: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng([seed, 7]).standard_normal((r, d)))


def relative(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-300))


def autograd_loss(W: torch.Tensor, V: torch.Tensor, A: torch.Tensor) -> torch.Tensor:
    """The paper's first closed form, differentiable at generic weights."""
    lengths = W.norm(dim=1)
    cosine = (W @ W.T) / (lengths[:, None] * lengths)
    off = ~torch.eye(len(W), dtype=torch.bool)
    theta = torch.zeros_like(cosine)
    theta[off] = torch.acos(cosine[off])
    F = lengths[:, None] * lengths * (theta.sin() + (math.pi - theta) * theta.cos()) / (2 * math.pi)
    return ((V.T @ V) * F).sum() / 2 - ((V.T @ A) * W).sum() / 2 + A.square().sum() / 2


@pytest.mark.parametrize("case", range(200))
def test_gradient_equals_autograd_and_finite_differences(case: int) -> None:
    k, r, d = SIZES[case % len(SIZES)]
    student, A = random_student(k, r, d, seed=case), random_A(r, d, case)
    W, V = student.W[0].clone().requires_grad_(), student.V[0].clone().requires_grad_()
    loss = autograd_loss(W, V, A)
    loss.backward()
    evaluation = PopulationRisk(A).evaluate(student)
    assert float(evaluation.loss[0]) == pytest.approx(loss.item(), rel=1e-12)
    gradient = [evaluation.gradient.W[0].numpy(), evaluation.gradient.V[0].numpy()]
    assert relative(gradient[0], W.grad.numpy()) < 1e-10
    assert relative(gradient[1], V.grad.numpy()) < 1e-10

    rng = np.random.default_rng(case)
    direction = student.map(lambda x: torch.from_numpy(rng.standard_normal(x.shape)))
    h, risk = 1e-5, PopulationRisk(A)
    ahead = ReLUStudent(student.W + h * direction.W, student.V + h * direction.V)
    behind = ReLUStudent(student.W - h * direction.W, student.V - h * direction.V)
    slope = float((risk.loss(ahead).total - risk.loss(behind).total)[0]) / (2 * h)
    inner = float((evaluation.gradient.W * direction.W).sum())
    inner += float((evaluation.gradient.V * direction.V).sum())
    scale = math.hypot(*(np.linalg.norm(g) for g in gradient))
    assert slope == pytest.approx(inner, rel=1e-6, abs=1e-6 * scale)


def degenerate(kind: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights W (k, d), V (r, k) and A (r, d) with singular geometry."""
    rng = np.random.default_rng(3)
    w, a = rng.standard_normal(4), rng.standard_normal((1, 4))
    u = rng.standard_normal(4)
    V = np.array([[1.3, -0.4, 0.8]])
    rows = {
        "parallel": [w, 2 * w, u],
        "antiparallel": [w, -0.5 * w, u],
        "equal": [w, w, w],
        "nearly parallel": [w, w + 1e-9 * u, u],
        "nearly antiparallel": [w, -w + 1e-9 * u, u],
        "zero": [np.zeros(4), w, u],
        "all zero": [np.zeros(4)] * 3,
        "orthogonal": [np.eye(4)[0], np.eye(4)[1], np.eye(4)[2]],
        "tiny": [1e-9 * w, 1e-9 * u, 1e-12 * w],
        "huge": [1e9 * w, 1e9 * u, 1e6 * w],
    }
    return np.array(rows[kind]), V, a


DEGENERATE = [
    "parallel",
    "antiparallel",
    "equal",
    "nearly parallel",
    "nearly antiparallel",
    "zero",
    "all zero",
    "orthogonal",
    "tiny",
    "huge",
]


@pytest.mark.parametrize("kind", DEGENERATE)
def test_gradient_and_loss_at_degenerate_geometry(kind: str) -> None:
    W, V, A = degenerate(kind)
    student = ReLUStudent(torch.from_numpy(W)[None], torch.from_numpy(V)[None])
    risk = PopulationRisk(torch.from_numpy(A))
    gW, gV = reference.population_gradient_mp(W, V, A)
    evaluation = risk.evaluate(student)
    assert relative(evaluation.gradient.W[0].numpy(), gW) < 1e-14
    assert relative(evaluation.gradient.V[0].numpy(), gV) < 1e-14
    exact = [float(x) for x in reference.population_loss_mp(W, V, A)]
    for value, expected in zip(risk.loss(student), exact, strict=True):
        assert float(value) == pytest.approx(expected, rel=1e-14)
    assert float(evaluation.loss) == pytest.approx(exact[0], rel=1e-14)


@pytest.mark.quick(6)
@pytest.mark.parametrize("case", range(20))
def test_loss_equals_monte_carlo_within_four_standard_errors(case: int) -> None:
    k, r, d = SIZES[case % len(SIZES)]
    student, A = random_student(k, r, d, seed=1000 + case), random_A(r, d, case)
    mean, error = reference.monte_carlo_loss(
        student.W[0].numpy(),
        student.V[0].numpy(),
        A.numpy(),
        2_000_000,
        np.random.default_rng(case),
    )
    assert abs(float(PopulationRisk(A).loss(student).total) - mean) <= 4 * error


def near_minimum(size: float, k: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A student at about a distance `size` from a global minimum, rescaled neuron by neuron."""
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((1, 6))
    signs = np.array([1.0 if i % 2 == 0 else -1.0 for i in range(k)])
    share = np.array([1 / np.sum(signs == s) for s in signs])
    c = np.exp(rng.uniform(-1, 1, k))
    W = (signs * share)[:, None] * a * c[:, None]
    return W + size * rng.standard_normal(W.shape), (signs / c)[None], a


@pytest.mark.parametrize("k", [2, 3, 6])
@pytest.mark.parametrize("size", [1e-1, 1e-4, 1e-7, 1e-10, 1e-12, 1e-13, 1e-14])
def test_loss_keeps_its_relative_precision_down_to_1e_26(size: float, k: int) -> None:
    for seed in range(5):
        W, V, A = near_minimum(size, k, seed)
        student = ReLUStudent(torch.from_numpy(W)[None], torch.from_numpy(V)[None])
        loss = PopulationRisk(torch.from_numpy(A)).loss(student)
        total, linear, rectification = (float(x) for x in reference.population_loss_mp(W, V, A))
        assert float(loss.total) == pytest.approx(total, rel=1e-6)
        assert float(loss.linear) == pytest.approx(linear, rel=1e-6)
        assert float(loss.rectification) == pytest.approx(rectification, rel=1e-6)
    if size == 1e-14 and k == 2:
        assert total < 1e-26  # the case does reach the depth that it claims


def test_loss_with_several_outputs_is_resolved_to_its_stated_resolution() -> None:
    rng = np.random.default_rng(0)
    for size in (1e-3, 1e-6, 1e-9, 0.0):
        for r in (2, 3, 5):
            Q, _ = np.linalg.qr(rng.standard_normal((r, r)))
            half = np.concatenate([Q, -Q])  # pairs (w, v), (-w, -v) along random lines
            W = np.zeros((2 * r, r + 2))
            W[:, :r] = half
            W += size * rng.standard_normal(W.shape)
            V, A = half.T.copy(), np.eye(r, r + 2)
            risk = PopulationRisk(torch.from_numpy(A))
            loss = risk.loss(ReLUStudent(torch.from_numpy(W)[None], torch.from_numpy(V)[None]))
            total = float(reference.population_loss_mp(W, V, A)[0])
            assert float(loss.total) >= 0
            assert abs(float(loss.total) - total) <= risk.resolution + 1e-12 * total


def test_loss_at_the_saddles_splits_into_equal_parts() -> None:
    """Theorem 1: v_1 w_1 = (c + 1) a, |v_2| w_2 = c a has loss |a|^2/4, both parts |a|^2/8."""
    a = torch.tensor([[0.6, -1.1, 2.0]], dtype=torch.float64)
    for c in (0.5, 3.0, -1.5, -4.0):
        W = torch.stack([(c + 1) * a[0] / 2, c * a[0] / 0.7])[None]
        V = torch.tensor([[[2.0, -0.7]]], dtype=torch.float64)
        risk = PopulationRisk(a)
        loss = risk.loss(ReLUStudent(W, V))
        size = float(a.square().sum())
        assert float(loss.linear) == pytest.approx(size / 8, rel=1e-14)
        assert float(loss.rectification) == pytest.approx(size / 8, rel=1e-14)
        gradient = risk.evaluate(ReLUStudent(W, V)).gradient
        assert float(gradient.W.abs().max()) < 1e-14
        assert float(gradient.V.abs().max()) < 1e-14


sizes = st.tuples(st.integers(1, 5), st.integers(1, 3), st.integers(3, 6))


@settings(deadline=None, max_examples=60)
@given(sizes, st.integers(0, 10_000))
def test_invariances(size: tuple[int, int, int], seed: int) -> None:
    """Rotation of the inputs, rescaling v -> c v, w -> w / c, permutation of the neurons."""
    (k, r, d), rng = size, np.random.default_rng(seed)
    student, A = random_student(k, r, d, seed), random_A(r, d, seed)
    risk = PopulationRisk(A)
    loss, (_, gradient) = risk.loss(student), risk.evaluate(student)

    def close(a: torch.Tensor, b: torch.Tensor) -> None:
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12 * float(b.abs().max()))

    Q = torch.from_numpy(np.linalg.qr(rng.standard_normal((d, d)))[0])
    turned, rotated = ReLUStudent(student.W @ Q, student.V), PopulationRisk(A @ Q)
    close(rotated.loss(turned).total, loss.total)
    close(rotated.evaluate(turned).gradient.W, gradient.W @ Q)
    close(rotated.evaluate(turned).gradient.V, gradient.V)

    c = torch.from_numpy(np.exp(rng.uniform(-2, 2, k)))
    scaled = ReLUStudent(student.W / c[:, None], student.V * c)
    close(risk.loss(scaled).total, loss.total)
    close(risk.evaluate(scaled).gradient.W, gradient.W * c[:, None])
    close(risk.evaluate(scaled).gradient.V, gradient.V / c)

    order = torch.from_numpy(rng.permutation(k))
    permuted = ReLUStudent(student.W[:, order], student.V[:, :, order])
    close(risk.loss(permuted).total, loss.total)
    close(risk.evaluate(permuted).gradient.W, gradient.W[:, order])
    close(risk.evaluate(permuted).gradient.V, gradient.V[:, :, order])


def test_radial_identity() -> None:
    """w_i . grad_{w_i} L = v_i . grad_{v_i} L: rescaling a neuron does not change the loss."""
    student, A = random_student(5, 2, 7, seed=2), random_A(2, 7, 2)
    gradient = PopulationRisk(A).evaluate(student).gradient
    hidden = (student.W * gradient.W).sum(-1)
    output = (student.V * gradient.V).sum(-2)
    torch.testing.assert_close(hidden, output, rtol=1e-12, atol=1e-12)


def test_a_batch_is_its_replicas() -> None:
    teacher = random_teacher(2, 9, 1.5)
    students = drawn("xavier_normal", range(5), 4, 9, 2, 1.0)
    risk = PopulationRisk(teacher.A)
    together, losses = risk.evaluate(students), risk.loss(students)
    for j, one in enumerate(students.split(1)):
        alone = risk.evaluate(one)
        torch.testing.assert_close(together.loss[j], alone.loss[0], rtol=1e-13, atol=0)
        torch.testing.assert_close(losses.total[j], risk.loss(one).total[0], rtol=1e-13, atol=0)
        for all_, single in zip(together.gradient, alone.gradient, strict=True):
            torch.testing.assert_close(all_[j], single[0], rtol=1e-12, atol=1e-13)


def test_blocks_of_replicas_do_not_change_the_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    students = drawn("xavier_normal", range(7), 3, 5, 1, 1.0)
    risk = PopulationRisk(axis_teacher(1, 5).A)
    whole = risk.loss(students)
    monkeypatch.setattr("reludyn.risk.decomposition._BLOCK", 1)
    for a, b in zip(risk.loss(students), whole, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-14, atol=0)


def test_blocks_of_neurons_do_not_change_value_and_gradient(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A network of 150 neurons, all at once or 64 at a time."""
    teacher, students = random_teacher(2, 5), drawn("theorem", range(2), 150, 5, 2, 0.5)
    risk, found = PopulationRisk(teacher.A), []
    for block in (10**9, 1):
        monkeypatch.setattr("reludyn.numerics.kernels.BLOCK", block)
        found.append((risk.evaluate(students), torch.stack(risk.loss(students))))
    (whole, loss), (blocks, loss_of_blocks) = found
    torch.testing.assert_close(blocks.loss, whole.loss, rtol=1e-12, atol=0)
    torch.testing.assert_close(blocks.gradient, whole.gradient, rtol=1e-10, atol=1e-13)
    torch.testing.assert_close(loss_of_blocks, loss, rtol=1e-12, atol=0)
    gW, gV = reference.population_gradient(
        students.W[0].numpy(), students.V[0].numpy(), teacher.A.numpy()
    )
    np.testing.assert_allclose(blocks.gradient.W[0], gW, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(blocks.gradient.V[0], gV, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("size", [0.1, 1.0, 30.0])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_rounding_rules_below_the_resolution(size: float, dtype: torch.dtype) -> None:
    """16 eps^2 |A|_F^2, that of the weights; with several outputs 4 eps r^2 |A|_2^2 more."""
    eps = torch.finfo(dtype).eps
    one = size * torch.tensor([[0.6, 0.8]], dtype=dtype)
    assert PopulationRisk(one).resolution == pytest.approx(16 * eps**2 * size**2, rel=1e-6)
    two = size * torch.tensor([[3.0, 0.0, 0.0], [0.0, 4.0, 0.0]], dtype=dtype)
    expected = 16 * eps**2 * 25 * size**2 + 4 * eps * 4 * 16 * size**2
    assert PopulationRisk(two).resolution == pytest.approx(expected, rel=1e-6)
