"""The Hessian in closed form: against blocks, derivatives of the gradient, and Theorem 1."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import reludyn.theory.spectrum as spectra
from reludyn.data.covariance import power_law
from reludyn.network.activation import LeakyReLU
from reludyn.network.notation import Gradient
from reludyn.network.student import ReLUStudent
from reludyn.network.subspace import InvariantSubspace
from reludyn.network.teacher import axis_teacher
from reludyn.risk import AnisotropicRisk, PopulationRisk
from reludyn.risk.hessian import Hessian, flatten, unflatten
from reludyn.theory.spectrum import spectrum
from tests.oracles import reference_theory as oracle
from tests.support.parts import drawn


def student_of(W: np.ndarray, V: np.ndarray) -> ReLUStudent:
    return ReLUStudent(torch.from_numpy(W)[None], torch.from_numpy(V)[None])


def closed_form(W: np.ndarray, V: np.ndarray, A: np.ndarray) -> np.ndarray:
    return Hessian(student_of(W, V), torch.from_numpy(A)).matrix()[0].numpy()


def random_point(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    k, r = rng.integers(1, 6), rng.integers(1, 4)
    d = max(2, r + rng.integers(0, 4))  # with one input all neurons are parallel
    sizes = 10 ** rng.uniform(-1, 1, (k, 1))  # |w_i| from 0.1 to 10
    W, V = sizes * rng.standard_normal((k, d)), rng.standard_normal((r, k))
    return W, V, rng.standard_normal((r, d))


@pytest.mark.parametrize("seed", range(30))
def test_it_equals_the_paper_s_blocks(seed: int) -> None:
    point = random_point(seed)
    expected = oracle.hessian_blocks(*point)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(closed_form(*point), expected, rtol=0, atol=1e-12 * scale)


@pytest.mark.parametrize("seed", range(6))
def test_it_equals_differences_of_the_gradient_in_40_digits(seed: int) -> None:
    point = random_point(seed)
    expected = oracle.hessian_mp(*point)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(closed_form(*point), expected, rtol=0, atol=1e-12 * scale)


@pytest.mark.quick(8)
@pytest.mark.parametrize("slope", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("seed", range(8))
def test_it_equals_autograd_of_the_gradient(seed: int, slope: float) -> None:
    """Of the gradient written out here with arccosines, which autograd can differentiate."""
    W, V, A = (torch.from_numpy(x) for x in random_point(seed))
    k, d = W.shape
    odd, even = (1 + slope) / 2, (1 - slope) / 2

    def loss(z: torch.Tensor) -> torch.Tensor:
        w, v = z[: k * d].view(k, d), z[k * d :].view(-1, k)
        length = w.norm(dim=1)
        total = (A - odd * v @ w).square().sum() / 2
        for i in range(k):
            for j in range(k):
                S = v[:, i] @ v[:, j]
                if i == j:
                    J = length[i] ** 2
                else:
                    t = torch.acos(w[i] @ w[j] / (length[i] * length[j]))
                    shape = torch.sin(t) + (math.pi / 2 - t) * torch.cos(t)
                    J = 2 / math.pi * length[i] * length[j] * shape
                total = total + even**2 / 2 * S * J
        return total

    z = torch.cat([W.flatten(), V.flatten()])
    expected = torch.autograd.functional.hessian(loss, z)
    found = Hessian(student_of(W.numpy(), V.numpy()), A, LeakyReLU(slope)).matrix()[0]
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max()))


@pytest.mark.parametrize("angle", [0.0, 1e-12, 1e-8, 1e-5, math.pi - 1e-8, math.pi])
def test_parallel_and_antiparallel_neurons(angle: float) -> None:
    """Where sin t vanishes the Hessian goes on without a jump."""
    rng = np.random.default_rng(3)
    V, A = rng.standard_normal((1, 3)), rng.standard_normal((1, 4))
    W = np.zeros((3, 4))
    W[0, 0], W[2] = 0.7, rng.standard_normal(4)
    W[1, :2] = 1.3 * math.cos(angle), 1.3 * math.sin(angle)
    at, beside = W.copy(), W.copy()
    beside[1, :2] = 1.3 * math.cos(angle + 1e-6), 1.3 * math.sin(angle + 1e-6)
    np.testing.assert_allclose(closed_form(at, V, A), closed_form(beside, V, A), atol=2e-5)
    np.testing.assert_allclose(closed_form(at, V, A), oracle.hessian_mp(at, V, A), atol=1e-9)


def test_an_anisotropic_law_through_its_root() -> None:
    """Differences of the anisotropic gradient, O(h^2)."""
    teacher, h = axis_teacher(2, 5), 1e-5
    colour = power_law(5, 1.5).on(teacher.A)
    risk = AnisotropicRisk(teacher.A, colour)
    student = drawn("theorem", range(2), 3, 5, 2, 1.0)
    rng = np.random.default_rng(0)
    direction = Gradient(*(torch.from_numpy(rng.standard_normal(x.shape)) for x in student))

    def moved(step: float) -> torch.Tensor:
        there = ReLUStudent(*(x + step * y for x, y in zip(student, direction, strict=True)))
        return flatten(risk.evaluate(there).gradient)

    expected = (moved(h) - moved(-h)) / (2 * h)
    found = flatten(risk.hessian(student) @ direction)
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-8)
    matrix = risk.hessian(student).matrix()
    product = (matrix @ flatten(direction).unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(found, product, rtol=1e-12, atol=1e-12)


def test_layers_and_vectors() -> None:
    student = drawn("theorem", range(2), 3, 5, 2, 1.0)
    layers = unflatten(flatten(student), 3, 5)
    assert torch.equal(layers.W, student.W)
    assert torch.equal(layers.V, student.V)
    assert flatten(student)[0, :5].tolist() == student.W[0, 0].tolist()  # w_1 first
    assert flatten(student)[0, -3:].tolist() == student.V[0, 1].tolist()  # the last row of V last


# --- Spectra ----------------------------------------------------------------------------------


@pytest.mark.parametrize("c", [0.6, 3.0, -1.4, -2.5])
def test_theorem_1_at_the_saddles(c: float) -> None:
    """0 (d + 2 times), (v_1^2 + v_2^2)/2 (d - 1 times), half of all squares once."""
    d, v = 6, np.array([0.7, -1.3])
    W = np.zeros((2, d))
    W[:, 0] = np.array([c + 1, c]) / np.abs(v)
    found = spectrum(Hessian(student_of(W, v[None]), axis_teacher(1, d).A))
    expected = oracle.stationary_eigenvalues_saddle(v, np.abs(W[:, 0]), d)
    np.testing.assert_allclose(found.values[0], expected, atol=1e-12)
    assert int(found.near_zero()[0]) == d + 2
    assert int(found.negative()[0]) == 0
    assert float(found.sharpness[0]) == pytest.approx((W**2).sum() / 2 + (v**2).sum() / 2)


def test_theorem_1_at_the_minimum() -> None:
    """w = +-a, v = +-1: for each neuron 0, 1 and d - 1 times 1/2."""
    d, W = 6, np.zeros((2, 6))
    W[:, 0] = 1, -1
    found = spectrum(Hessian(student_of(W, np.array([[1.0, -1.0]])), axis_teacher(1, d).A))
    expected = sorted(2 * [0.0, 1.0, *[0.5] * (d - 1)])
    np.testing.assert_allclose(found.values[0], expected, atol=1e-12)


@pytest.mark.parametrize(("k", "r"), [(2, 1), (3, 2), (1, 1)])
def test_the_spectrum_of_reduced_coordinates_is_that_of_all(k: int, r: int) -> None:
    """Eigenvalues across the subspace, with their multiplicity."""
    teacher = axis_teacher(r, 12)
    student = drawn("theorem", range(3), k, 12, r, 1.0, teacher=teacher)
    subspace = InvariantSubspace.spanned(teacher, student)
    reduced = PopulationRisk(subspace.teacher.A).hessian(subspace.reduce(student))
    part, full = spectrum(reduced, inputs=12), spectrum(PopulationRisk(teacher.A).hessian(student))
    for j in range(3):
        listed = part.values[j].repeat_interleave(part.multiplicity[j])
        torch.testing.assert_close(listed, full.values[j], rtol=1e-10, atol=1e-12)
    assert torch.equal(part.negative(), full.negative())
    assert torch.equal(part.near_zero(), full.near_zero())


def test_both_ends_of_a_large_spectrum(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lanczos iterations against all eigenvalues, N = 480."""
    hessian = PopulationRisk(axis_teacher(3, 21).A).hessian(
        drawn("theorem", [0, 1], 20, 21, 3, 1.0)
    )
    dense = spectrum(hessian)
    monkeypatch.setattr(spectra, "DENSE", 100)
    ends = spectrum(hessian)
    assert (dense.complete, ends.complete) == (True, False)
    n = spectra.ENDS
    expected = torch.cat([dense.values[:, :n], dense.values[:, -n:]], -1)
    torch.testing.assert_close(ends.values, expected, rtol=1e-9, atol=1e-9)


def test_where_there_is_no_hessian() -> None:
    """One w_i = 0 beside others, or weights that overflowed: NaN there alone."""
    student = drawn("theorem", range(3), 2, 4, 1, 1.0)
    student.W[0, 1] = 0
    student.V[2] = math.inf
    found = spectrum(PopulationRisk(axis_teacher(1, 4).A).hessian(student))
    assert found.values.isnan().all(-1).tolist() == [True, False, True]
    assert found.negative().isnan().tolist() == [True, False, True]
    assert found.near_zero().isnan().tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("W", "V", "exists"),
    [
        ([[1, 0], [0, 1]], [[0, 0]], True),
        ([[0, 0], [0, 0]], [[0, 0]], True),  # the saddle: the risk is smooth there
        ([[0, 0], [0, 0]], [[0, 1]], False),
        ([[0, 0], [0, 0]], [[1, 1]], False),
        ([[0, 0], [0, 1]], [[0, 0]], False),
        ([[0, 0], [0, 1]], [[1, 1]], False),
        ([[math.nan, 0], [0, 1]], [[1, 1]], False),
        ([[1, 0], [0, 1]], [[1, math.inf]], False),
    ],
)
def test_where_the_risk_is_twice_differentiable(W: object, V: object, exists: bool) -> None:
    student = student_of(np.array(W, float), np.array(V, float))
    assert bool(Hessian(student, torch.ones(1, 2).double()).exists) is exists
