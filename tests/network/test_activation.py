"""Leaky ReLU in both risks: against autograd, Monte Carlo and the two networks that it joins."""

import numpy as np
import pytest
import torch

from reludyn.dynamics import order_parameters
from reludyn.dynamics.phases import classify
from reludyn.network.activation import LeakyReLU
from reludyn.network.student import ReLUStudent
from reludyn.network.teacher import axis_teacher, random_teacher
from reludyn.risk import PopulationRisk
from tests.support.parts import drawn, empirical_risk, sampled

SLOPES = [0.0, 0.01, 0.25, 0.7, 1.0]


@pytest.mark.parametrize("slope", SLOPES)
def test_values_and_derivatives(slope: float) -> None:
    z = torch.tensor([-2.0, -1.0, 0.5, 3.0], dtype=torch.float64)
    activation = LeakyReLU(slope)
    expected = torch.nn.functional.leaky_relu(z, slope)
    assert torch.equal(activation(z), expected)
    torch.testing.assert_close(activation.odd * z + activation.even * z.abs(), expected)
    assert activation.derivative(z).tolist() == [slope, slope, 1, 1]
    assert activation.derivative(torch.zeros(1)).item() == pytest.approx(slope)


@pytest.mark.parametrize("slope", SLOPES)
def test_population_gradient_equals_autograd_of_the_resolved_loss(slope: float) -> None:
    teacher = random_teacher(2, 6, 1.4)
    risk = PopulationRisk(teacher.A, LeakyReLU(slope))
    for seed in range(10):
        student = drawn("theorem", [seed], 4, 6, 2, 2.0)
        leaves = student.map(lambda x: x.clone().requires_grad_())
        loss = risk.loss(leaves).total.sum()
        loss.backward()
        evaluation = risk.evaluate(student)
        torch.testing.assert_close(evaluation.loss.sum(), loss.detach(), rtol=1e-13, atol=0)
        for closed, leaf in zip(evaluation.gradient, leaves, strict=True):
            size = float(leaf.grad.abs().max())
            torch.testing.assert_close(closed, leaf.grad, rtol=0, atol=1e-10 * size)


@pytest.mark.parametrize("slope", SLOPES)
def test_population_loss_equals_monte_carlo(slope: float) -> None:
    teacher, student = random_teacher(1, 4), drawn("theorem", [3], 3, 4, 1, 1.5)
    activation = LeakyReLU(slope)
    X, Y = sampled(teacher, 1_000_000, [5])
    sample = (student(X, activation) - Y).square().sum(-1) / 2
    exact = PopulationRisk(teacher.A, activation).loss(student).total
    assert abs(float(sample.mean() - exact)) <= 4 * float(sample.std()) / 1000


@pytest.mark.parametrize("slope", SLOPES)
def test_empirical_gradient_equals_autograd(slope: float) -> None:
    teacher, student = random_teacher(2, 5), drawn("theorem", [1], 3, 5, 2, 1.5)
    X, Y = sampled(teacher, 40, [2])
    risk = empirical_risk(X, Y, LeakyReLU(slope))
    leaves = student.map(lambda x: x.clone().requires_grad_())
    hidden = torch.nn.functional.leaky_relu(X @ leaves.W.mT, slope)
    loss = (hidden @ leaves.V.mT - Y).square().sum() / 80
    loss.backward()
    evaluation = risk.evaluate(student)
    torch.testing.assert_close(evaluation.loss.sum(), loss.detach(), rtol=1e-13, atol=0)
    torch.testing.assert_close(risk.loss(student).total.sum(), loss.detach(), rtol=1e-12, atol=0)
    for closed, leaf in zip(evaluation.gradient, leaves, strict=True):
        torch.testing.assert_close(closed, leaf.grad, rtol=1e-10, atol=1e-14)


def test_slope_one_is_the_linear_network() -> None:
    teacher, student = random_teacher(2, 5), drawn("theorem", range(4), 3, 5, 2, 1.5)
    risk = PopulationRisk(teacher.A, LeakyReLU(1.0))
    residual = teacher.A - student.V @ student.W
    torch.testing.assert_close(risk.loss(student).total, residual.square().sum((1, 2)) / 2)
    assert not risk.loss(student).rectification.any()
    gradient = risk.evaluate(student).gradient
    torch.testing.assert_close(gradient.W, -student.V.mT @ residual)
    torch.testing.assert_close(gradient.V, -residual @ student.W.mT)


@pytest.mark.parametrize("slope", [0.0, 0.25, 0.6])
def test_minima_and_saddles_move_with_the_slope(slope: float) -> None:
    a, activation = axis_teacher(1, 3, 1.7).A, LeakyReLU(slope)
    risk = PopulationRisk(a, activation)

    def at(*products: float) -> ReLUStudent:
        """|v_i| w_i = products_i a, signs (+, -)."""
        W = torch.tensor(products, dtype=torch.float64)[:, None] * a[0] / 2
        return ReLUStudent(W[None], torch.tensor([[[2.0, -2.0]]], dtype=torch.float64))

    share = 1 / (2 * activation.odd)
    minimum = at(share, -share)
    assert float(risk.loss(minimum).total) < 1e-30
    assert float(order_parameters.group_sum_error(minimum, a, activation)) < 1e-15
    assert float(order_parameters.effective_weight_error(minimum, a, activation)) < 1e-15

    best = activation.odd / (activation.odd**2 + activation.even**2)
    saddle, no = at(3.5 * best, 2.5 * best), torch.tensor([False])
    evaluation = risk.evaluate(saddle)
    assert float(evaluation.gradient.W.abs().max()) < 1e-14
    assert float(evaluation.gradient.V.abs().max()) < 1e-14
    assert float(order_parameters.saddle_ratio(saddle, a, activation)) == pytest.approx(2.5)
    loss = risk.loss(saddle)
    names = classify(saddle, evaluation, loss, no, no, a, 1.7**2 / 2, 1e-3, activation)
    assert names == ["non_strict_saddle"]


def test_a_linear_network_has_no_saddle_and_no_group_sums() -> None:
    a, linear = axis_teacher(1, 3).A, LeakyReLU(1.0)
    student = ReLUStudent(a[None] * torch.ones(1, 2, 1), torch.tensor([[[0.5, -0.4]]]).double())
    risk, no = PopulationRisk(a, linear), torch.tensor([False])
    names = classify(
        student, risk.evaluate(student), risk.loss(student), no, no, a, 0.5, 1e-3, linear
    )
    assert names == ["unconverged"]
    assert np.isnan(float(order_parameters.group_sum_error(student, a, linear)))
