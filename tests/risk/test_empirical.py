"""The empirical risk: against autograd, NumPy and its population limit."""

import numpy as np
import pytest
import torch

from reludyn.network.teacher import LinearTeacher, random_teacher
from reludyn.risk import PopulationRisk
from tests.oracles import reference
from tests.support.parts import drawn, empirical_risk, sampled

SIZES = [(1, 1, 2), (2, 1, 5), (4, 2, 6), (7, 3, 4)]


@pytest.mark.parametrize(("k", "r", "d"), SIZES)
@pytest.mark.parametrize("shared", [True, False])
def test_value_and_gradient_equal_autograd_and_numpy(k: int, r: int, d: int, shared: bool) -> None:
    teacher, students = random_teacher(r, d, 1.3), drawn("theorem", range(3), k, d, r, 2.0)
    X, Y = sampled(teacher, 30, [9] if shared else range(3))
    evaluation = empirical_risk(X, Y).evaluate(students)
    for j in range(3):
        x, y = X[0 if shared else j], Y[0 if shared else j]
        W, V = (layer[j].clone().requires_grad_() for layer in students)
        loss = (torch.relu(x @ W.T) @ V.T - y).square().sum() / 60
        loss.backward()
        torch.testing.assert_close(evaluation.loss[j], loss.detach(), rtol=1e-13, atol=0)
        torch.testing.assert_close(evaluation.gradient.W[j], W.grad, rtol=1e-10, atol=1e-14)
        torch.testing.assert_close(evaluation.gradient.V[j], V.grad, rtol=1e-10, atol=1e-14)
        arrays = [a.detach().numpy() for a in (W, V, x, y)]
        assert float(evaluation.loss[j]) == pytest.approx(reference.empirical_loss(*arrays), 1e-13)
        gW, gV = reference.empirical_gradient(*arrays)
        np.testing.assert_allclose(evaluation.gradient.W[j], gW, rtol=1e-10, atol=1e-14)
        np.testing.assert_allclose(evaluation.gradient.V[j], gV, rtol=1e-10, atol=1e-14)


def test_a_preactivation_of_zero_has_no_gradient() -> None:
    """relu'(0) = 0, as in torch."""
    students = drawn("theorem", [0], 3, 4, 1, 1.0)
    zero = students._replace(W=torch.zeros_like(students.W))
    X, Y = sampled(random_teacher(1, 4), 10, [0])
    evaluation = empirical_risk(X, Y).evaluate(zero)
    assert not evaluation.gradient.W.any()
    assert not evaluation.gradient.V.any()


def test_parts_are_the_odd_and_the_even_error() -> None:
    """On x and -x together odd and even functions are orthogonal: the parts add up."""
    teacher, students = random_teacher(2, 5), drawn("theorem", range(4), 3, 5, 2, 1.0)
    X, _ = sampled(teacher, 40, [1])
    both = torch.cat([X, -X], 1)
    loss = empirical_risk(both, teacher(both)).loss(students)
    torch.testing.assert_close(loss.linear + loss.rectification, loss.total, rtol=1e-13, atol=0)
    linear = (X @ (teacher.A - students.V @ students.W / 2).mT).square().sum((1, 2)) / 80
    torch.testing.assert_close(loss.linear, linear, rtol=1e-12, atol=0)
    evaluated = empirical_risk(both, teacher(both)).evaluate(students).loss
    torch.testing.assert_close(evaluated, loss.total, rtol=1e-13, atol=0)


def test_many_samples_approach_the_population() -> None:
    teacher, students = random_teacher(1, 3), drawn("theorem", [5], 2, 3, 1, 1.0)
    X, Y = sampled(teacher, 400_000, [2])
    empirical, exact = empirical_risk(X, Y).evaluate(students), PopulationRisk(teacher.A)
    per_sample = (students(X) - Y).square().sum(-1) / 2
    error = float(per_sample.std()) / 400_000**0.5
    assert abs(float(empirical.loss - exact.evaluate(students).loss)) < 4 * error
    gradient = exact.evaluate(students).gradient
    torch.testing.assert_close(empirical.gradient.W, gradient.W, rtol=0, atol=0.01)


def test_samples_belong_to_their_seed() -> None:
    teacher = LinearTeacher(torch.ones(1, 6, dtype=torch.float64))
    X, Y = sampled(teacher, 50, [3, 4, 5])
    alone, _ = sampled(teacher, 50, [4])
    assert torch.equal(X[1:2], alone)
    assert not torch.equal(X[0], X[1])
    torch.testing.assert_close(Y[..., 0], X.sum(-1), rtol=1e-13, atol=1e-13)
    large, _ = sampled(teacher, 20_000, [0])
    covariance = large[0].T @ large[0] / 20_000
    torch.testing.assert_close(covariance, torch.eye(6).double(), rtol=0, atol=5 / 20_000**0.5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rounding_rules_below_the_resolution(dtype: torch.dtype) -> None:
    """16 eps^2 times the mean square of the labels, over all samples and rows."""
    Y = torch.tensor([[[1.0], [2.0], [-3.0]], [[0.0], [0.0], [4.0]]], dtype=dtype)
    X = torch.ones(2, 3, 5, dtype=dtype)
    expected = 16 * torch.finfo(dtype).eps ** 2 * (1 + 4 + 9 + 16) / 6
    assert empirical_risk(X, Y).resolution == pytest.approx(expected)
