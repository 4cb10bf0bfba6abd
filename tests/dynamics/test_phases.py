"""Outcomes, rates and order parameters."""

import math

import numpy as np
import pytest
import torch

from reludyn.dynamics import order_parameters
from reludyn.dynamics.phases import Clocks, PhaseRule, classify, contraction_rate, phase_events
from reludyn.network.notation import Loss
from reludyn.network.student import ReLUStudent
from reludyn.network.teacher import axis_teacher, random_teacher
from reludyn.optim import StepSizes
from reludyn.optim.gradient_descent import GradientDescent
from reludyn.risk import PopulationRisk
from reludyn.training.engine import Engine
from reludyn.training.trainer import train
from tests.oracles import reference
from tests.support.parts import drawn


def student_of(products: list[float], v: list[float], a: torch.Tensor) -> ReLUStudent:
    """|v_i| w_i = products_i a."""
    V = torch.tensor([[v]], dtype=torch.float64)
    W = torch.tensor(products, dtype=torch.float64)[:, None] * a[0] / V[0, 0].abs()[:, None]
    return ReLUStudent(W[None], V)


def zero_loss(a: torch.Tensor) -> float:
    return float(a.square().sum()) / 2


def outcome(student: ReLUStudent, a: torch.Tensor, **flags: bool) -> str:
    risk = PopulationRisk(a)
    converged, diverged = (torch.tensor([flags.get(f, False)]) for f in ("converged", "diverged"))
    loss: Loss = risk.loss(student)
    return classify(
        student, risk.evaluate(student), loss, converged, diverged, a, zero_loss(a), 1e-3
    )[0]


A = torch.tensor([[1.2, -0.5, 0.3]], dtype=torch.float64)


@pytest.mark.parametrize("c", [0.1, 2.0, -1.1, -3.0])
def test_theorem_1_saddles_are_recognised_with_their_c(c: float) -> None:
    student = student_of([c + 1, c], [0.8, -1.7], A)
    assert outcome(student, A) == "non_strict_saddle"
    assert float(order_parameters.saddle_ratio(student, A)) == pytest.approx(c, rel=1e-13)


@pytest.mark.parametrize(("v", "c"), [([1.0, 0.5], 0.0), ([-1.0, -0.5], -1.0)])
def test_neurons_of_one_sign_get_stuck_at_the_ends_of_the_family(v: list[float], c: float) -> None:
    sign = math.copysign(1, v[0])
    student = student_of([0.3 * sign, 0.7 * sign], v, A)
    assert outcome(student, A) == "non_strict_saddle"
    assert float(order_parameters.saddle_ratio(student, A)) == pytest.approx(c, abs=1e-13)


def test_a_small_neuron_that_can_still_grow_is_not_a_saddle() -> None:
    """w_1 = a has been learned, w_2 is tiny and points elsewhere: loss |a|^2/4, yet on its way."""
    student = student_of([1.0, -1e-6], [1.0, -1e-3], A)
    assert outcome(student, A) == "unconverged"


def test_a_passing_point_of_the_same_loss_is_not_a_saddle() -> None:
    a = A / A.norm()
    grid = torch.linspace(0.01, 1.0, 2000, dtype=torch.float64)
    students = [student_of([float(s), -float(s)], [1.0, -1.0], a) for s in grid]
    losses = torch.cat([PopulationRisk(a).loss(s).total for s in students])
    closest = int((losses - 0.25).abs().argmin())
    assert float((losses[closest] - 0.25).abs()) < 1e-3 * 0.25
    assert outcome(students[closest], a) == "unconverged"


def near_ray(v: float, theta: float) -> ReLUStudent:
    """v_1 w_1 + v_2 w_2 = a = e_1; neuron 2 with |w| = 1 is at an angle to the ray of a."""
    w = torch.tensor([math.cos(theta), math.sin(theta)], dtype=torch.float64)
    rest = torch.tensor([1.0, 0.0], dtype=torch.float64) - v * w
    W = torch.stack([rest / rest.norm().sqrt(), w])[None]
    return ReLUStudent(W, torch.stack([rest.norm().sqrt(), w.new_tensor(v)]).view(1, 1, 2))


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    ("ratio", "stays"), [(0.8, True), (2.0, True), (2.25, False), (4.0, False)]
)
def test_the_verdict_at_the_start_of_a_plateau_is_what_becomes_of_it(
    ratio: float, stays: bool
) -> None:
    """|w| theta / |v| falls where the neuron ends in the ray, and grows where it leaves: the
    separatrix is at sqrt(3/c) with c = 2/3, 2.12."""
    theta, teacher = 0.05, axis_teacher(1, 2)
    student, risk = near_ray(theta / ratio, theta), PopulationRisk(teacher.A)
    assert (outcome(student, teacher.A) == "non_strict_saddle") is stays
    engine = Engine(risk, GradientDescent(StepSizes(0.5)), PhaseRule(teacher, teacher.A), 1e-4)
    state = engine.advance(engine.start(student), 6_000)
    W, v = state.student.W[0, 1], float(state.student.V[0, 0, 1])
    assert v > 0
    theta_now = math.atan2(float(W[1]), float(W[0]))
    assert (float(W.norm()) * theta_now / v < ratio) is stays


def saddle_with(**change: float) -> tuple[ReLUStudent, torch.Tensor]:
    """A saddle for |a| = 4 with one neuron turned by an angle, or one layer scaled."""
    a = torch.tensor([[4.0, 0.0]], dtype=torch.float64)
    theta, factor = change.get("theta", 0.0), change.get("factor", 1.0)
    W = torch.tensor([[[3.0, 0.0], [3 * math.cos(theta), 3 * math.sin(theta)]]]).double()
    return ReLUStudent(W, torch.tensor([[[1.0, 1 / 3]]]).double() * factor), a


@pytest.mark.parametrize(("theta", "expected"), [(0.05, True), (0.2, False)])
def test_saddles_need_all_neurons_close_to_the_ray(theta: float, expected: bool) -> None:
    student, a = saddle_with(theta=theta)
    risk, no = PopulationRisk(a), torch.tensor([False])
    evaluation = risk.evaluate(student)
    still = evaluation._replace(
        gradient=type(evaluation.gradient)(*(0 * g for g in evaluation.gradient))
    )
    names = classify(student, still, risk.loss(student), no, no, a, 8.0, 0.5)
    assert (names == ["non_strict_saddle"]) is expected


@pytest.mark.parametrize(
    ("v", "w", "theta", "expected"),
    [
        (1e3, 1.0, 3.0, False),
        (1e3, 1.0, 1.0, False),
        (1e3, 1.0, 0.1, True),
        (0.11, 4.0, 0.1, True),
        (0.1, 4.0, 0.1, False),
    ],
)
@pytest.mark.parametrize("sign", [1, -1])
def test_saddles_need_neurons_in_the_ray_or_on_their_way(
    v: float, w: float, theta: float, expected: bool, sign: int
) -> None:
    """To a or to -a: theta below pi/20, however large v, and v^2 above c |w|^2 theta^2/3, here with
    c = 4.26/20.26: v = 0.106. Loss and gradient are those of a saddle."""
    a = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    turned = [w * math.cos(theta), w * math.sin(theta)]
    W = sign * torch.tensor([[[2.0, 0.0], turned]], dtype=torch.float64)
    student = ReLUStudent(W, torch.tensor([[[0.5, v]]], dtype=torch.float64))
    evaluation, no = PopulationRisk(a).evaluate(student), torch.tensor([False])
    still = evaluation._replace(
        gradient=type(evaluation.gradient)(*(0 * g for g in evaluation.gradient))
    )
    loss = Loss(*(torch.tensor([x], dtype=torch.float64) for x in (0.25, 0.125, 0.125)))
    names = classify(student, still, loss, no, no, a, 0.5, 1e-3)
    assert (names == ["non_strict_saddle"]) is expected


@pytest.mark.parametrize(("size", "expected"), [(0.9e-3 * 8, True), (1.1e-3 * 8, False)])
def test_saddles_need_a_small_gradient(size: float, expected: bool) -> None:
    """1e-3 |a|^{3/2} with |a| = 4."""
    student, a = saddle_with()
    risk, no = PopulationRisk(a), torch.tensor([False])
    evaluation = risk.evaluate(student)
    W = torch.zeros_like(evaluation.gradient.W)
    W[0, 0, 0] = size
    moved = evaluation._replace(gradient=evaluation.gradient._replace(W=W))
    names = classify(student, moved, risk.loss(student), no, no, a, 8.0, 1e-3)
    assert (names == ["non_strict_saddle"]) is expected


@pytest.mark.parametrize(("factor", "expected"), [(1.02, True), (1.04, False)])
def test_saddles_need_their_loss(factor: float, expected: bool) -> None:
    """Scaling the output by f changes the loss of the saddle by the factor 1 + (f - 1)^2."""
    student, a = saddle_with(factor=factor)
    risk, no = PopulationRisk(a), torch.tensor([False])
    loss = risk.loss(student)
    assert float(loss.total) == pytest.approx(4 * (1 + (factor - 1) ** 2))
    evaluation = risk.evaluate(student)
    gradient = type(evaluation.gradient)(*(0 * g for g in evaluation.gradient))
    names = classify(student, evaluation._replace(gradient=gradient), loss, no, no, a, 8.0, 1e-3)
    assert (names == ["non_strict_saddle"]) is expected


def test_flags_decide_before_geometry() -> None:
    student = student_of([1.0, -1.0], [1.0, -1.0], A)
    assert outcome(student, A, converged=True) == "global_minimum"
    assert outcome(student, A, diverged=True, converged=True) == "diverged"
    assert outcome(student, A) == "unconverged"


def test_several_outputs_have_no_saddle_verdict() -> None:
    two = torch.eye(2, 3, dtype=torch.float64)
    student = drawn("theorem", [0], 4, 3, 2, 1.0)
    risk = PopulationRisk(two)
    no = torch.tensor([False])
    names = classify(student, risk.evaluate(student), risk.loss(student), no, no, two, 1.0, 1e-3)
    assert names == ["unconverged"]
    # not even all neurons in the ray of the first row, without gradient, at half the loss of zero
    student = ReLUStudent(two[:1].expand(1, 4, 3), torch.ones(1, 2, 4).double())
    evaluation, loss = risk.evaluate(student), risk.loss(student)
    still = evaluation._replace(
        gradient=type(evaluation.gradient)(*(0 * g for g in evaluation.gradient))
    )
    zero_loss = 2 * float(loss.total)
    assert classify(student, still, loss, no, no, two, zero_loss, 1e-3) == ["unconverged"]
    one = two[:1]
    assert classify(student, still, loss, no, no, one, zero_loss, 1e-3) == ["non_strict_saddle"]


@pytest.mark.parametrize("rate", [0.5, 0.9, 0.99])
def test_the_rate_is_the_contraction_of_the_root_of_the_loss(rate: float) -> None:
    steps = np.unique(np.geomspace(1, 400, 60).round().astype(int))
    exact = np.maximum(0.3 * rate ** (2.0 * steps), 1e-31)  # stalls at rounding
    losses = np.stack([exact, exact], 1)
    measured = contraction_rate(steps, losses, np.array([400, 400]), 1.0)
    np.testing.assert_allclose(measured, rate, rtol=1e-12)


def test_the_rate_ignores_looks_after_a_replica_has_stopped() -> None:
    steps = np.arange(200)
    losses = np.maximum(0.8 ** (2.0 * steps), 0.8**100)[:, None]
    measured = contraction_rate(steps, losses, np.array([50]), 1.0)
    assert measured[0] == pytest.approx(0.8, rel=1e-12)


def test_the_rate_is_that_of_the_last_two_decades() -> None:
    """Fast first, slow at the end; noise below 1e-24 and the approach above 1e-2 do not count."""
    steps = np.arange(120)
    fast, slow = 0.5 ** (2.0 * steps[:20]), 0.95 ** (2.0 * (steps[20:] - 19))
    losses = np.concatenate([fast, fast[-1] * slow])[:, None]
    assert contraction_rate(steps, losses, np.array([119]), 1.0)[0] == pytest.approx(0.95)
    deep = 0.5 ** (2.0 * steps)
    noisy = np.where(deep < 1e-24, 1e-27 * 0.9**steps, deep)[:, None]
    assert contraction_rate(steps, noisy, np.array([119]), 1.0)[0] == pytest.approx(0.5)
    shallow = np.concatenate([np.linspace(0.5, 0.02, 100), 1e-2 * 0.8 ** (2.0 * np.arange(3))])
    rate = contraction_rate(np.arange(103), shallow[:, None], np.array([102]), 1.0)
    assert rate[0] == pytest.approx(0.8)


def test_the_rate_needs_two_looks() -> None:
    measured = contraction_rate(np.array([0, 9]), np.array([[1.0], [1e-9]]), np.array([9]), 1.0)
    assert np.isnan(measured).all()
    two = np.array([[1.0, 1e-4, 1e-6]]).T
    measured = contraction_rate(np.array([0, 10, 20]), two, np.array([20]), 1.0)
    assert measured[0] == pytest.approx(10**-0.1, rel=1e-12)


def test_the_slowest_direction_contracts_by_one_minus_half_mu() -> None:
    """At a minimum the Hessian of a neuron is 1 along a and 1/2 across."""
    teacher = axis_teacher(1, 6)
    student = drawn("theorem", [0], 2, 6, 1, 0.5, "alternating")
    steps, losses = [], []
    descent, rule = GradientDescent(StepSizes(0.1)), PhaseRule(teacher, teacher.A)
    engine = Engine(PopulationRisk(teacher.A), descent, rule, 1e-20)

    def look(state) -> None:  # type: ignore[no-untyped-def]
        steps.append(int(state.steps.max()))
        losses.append(engine.risk.loss(state.student).total.numpy())

    state, _ = train(engine, engine.start(student), range(2001), 256, look)
    rate = contraction_rate(np.array(steps), np.stack(losses), state.steps.numpy(), 1.0)
    assert rate[0] == pytest.approx(1 - 0.1 / 2, abs=2e-3)


def test_angles_imbalance_and_alignment_equal_the_oracle() -> None:
    teacher = random_teacher(2, 5)
    student = drawn("xavier_normal", range(20), 3, 5, 2, 1.0)
    angles = order_parameters.angle_to_target(student, teacher.A)
    for j in range(20):
        W, V = student.W[j].numpy(), student.V[j].numpy()
        expected = reference.angle_to_target(W, V, teacher.A.numpy())
        np.testing.assert_allclose(angles[j], expected, rtol=1e-13)
        np.testing.assert_allclose(
            order_parameters.imbalance(student)[j],
            reference.imbalance(W, V),
            rtol=1e-13,
            atol=1e-14,
        )


def test_alignment_is_decided_at_pi_over_20() -> None:
    a = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    for theta, expected in ((math.pi / 20 - 1e-12, True), (math.pi / 20 + 1e-12, False)):
        w = [[math.cos(theta), math.sin(theta)], [-1.0, 0.0]]
        W = torch.tensor([w], dtype=torch.float64)
        student = ReLUStudent(1e-5 * W, torch.tensor([[[1e-5, -1e-5]]], dtype=torch.float64))
        assert bool(phase_events(student, a, 0.0)[0]) is expected
    zero = ReLUStudent(torch.zeros(1, 2, 2).double(), torch.ones(1, 1, 2).double())
    assert not phase_events(zero, a, 0.0)[0]


def test_sign_groups_take_the_place_of_more_than_two_neurons() -> None:
    """By hand, |a| = 1: neurons across a cancel in their group, two of v = 0.2 make one of 0.28; a
    small neuron of another sign is a group; v = 0 belongs to none."""
    a = torch.tensor([[1.0, 0.0]], dtype=torch.float64)

    def events(*neurons: tuple[float, float, float]) -> tuple[bool, bool]:
        v, along, across = torch.tensor(neurons, dtype=torch.float64).T
        student = ReLUStudent(torch.stack([along, across], -1)[None], v[None, None])
        aligned, grown = phase_events(student, a, 0.25)
        return bool(aligned), bool(grown)

    group = (0.2, 1.0, 1.0), (0.2, 1.0, -1.0)
    assert events(*group, (0.0, -1.0, 5.0)) == (True, True)
    assert events(*group, (-0.3, -1.0, 0.0)) == (True, True)
    assert events(*group, (-1e-100, -1e-100, 0.0)) == (True, False)
    assert events(*group, (-1e-100, 1e-100, 0.0)) == (False, False)
    assert events((0.2, 1.0, 1.0), (0.1, 1.0, -1.0), (-0.3, -1.0, 0.0)) == (False, False)
    assert events(group[0], group[0], group[1])[0] is False
    assert events(*[(0.0, 1.0, 0.0)] * 3)[0] is False
    assert events(*group) == (False, False)  # two neurons are each for itself


@pytest.mark.parametrize(("k", "r"), [(1, 1), (2, 1), (3, 1), (6, 1), (4, 2)])
def test_events_of_any_students_are_those_of_the_oracle(k: int, r: int) -> None:
    """Random iterates around the thresholds, each a trajectory of its own, in any units."""
    rng, teacher = np.random.default_rng(5), random_teacher(r, 4, 2.5)
    A, seen = teacher.A.numpy(), set()
    for scale in (1e-8, 1.0):
        V = scale * rng.standard_normal((400, r, k))
        W = V.transpose(0, 2, 1) @ A + 0.15 * scale * rng.standard_normal((400, k, 4))
        student = ReLUStudent(torch.from_numpy(W), torch.from_numpy(V))
        aligned, grown = phase_events(student, teacher.A, math.sqrt(teacher.smallest_scale) / 4)
        for j in range(400):
            once = reference.phase_times(W[j : j + 1], V[j : j + 1], A, np.ones(1), 0.0)
            found = bool(aligned[j]), bool(aligned[j] & grown[j])
            assert found == tuple(time == 0 for time in once[:2])
            seen.add(found)
    assert len(seen) == 3


def test_growth_waits_for_alignment_and_keeps_the_first_time() -> None:
    rule = PhaseRule(axis_teacher(1, 2, 4.0), 4 * torch.eye(1, 2).double())
    turned = ReLUStudent(torch.tensor([[[0.0, 1.0]]]).double(), torch.tensor([[[2.0]]]).double())
    grown = ReLUStudent(torch.tensor([[[1.0, 0.0]]]).double(), torch.tensor([[[0.5]]]).double())
    small = ReLUStudent(torch.tensor([[[1.0, 0.0]]]).double(), torch.tensor([[[0.49]]]).double())
    path, times = [turned, small, turned, grown, grown], []
    never = Clocks(*(torch.tensor([-1]) for _ in range(3)))
    for blocks in ([1] * 5, [2, 3], [5]):  # however many iterates are seen at once
        clocks, start = never, 0
        for b in blocks:
            some = zip(*path[start : start + b], strict=True)
            iterates = ReLUStudent(*(torch.stack(layers) for layers in some))
            steps = torch.arange(start, start + b).unsqueeze(-1)
            yes = torch.ones(b, 1, dtype=torch.bool)
            clocks = rule.tick(clocks, steps, iterates, yes, ~yes)
            times.append((start, b, int(clocks.align), int(clocks.growth)))
            start += b
        nothing = rule.tick(never, steps, iterates, ~yes, yes)
        assert nothing == never  # what has not been made does not count
    assert times == [
        (0, 1, -1, -1),
        (1, 1, 1, -1),
        (2, 1, 1, 2),
        (3, 1, 1, 2),
        (4, 1, 1, 2),
        (0, 2, 1, -1),
        (2, 3, 1, 2),
        (0, 5, 1, 2),
    ]


def test_rules_of_replicas_with_teachers_of_their_own() -> None:
    """Some of them are those of their teachers."""
    norms = [0.25, 4.0, 9.0]
    rules = [PhaseRule(axis_teacher(1, 2, a), a * torch.eye(1, 2).double()) for a in norms]
    A = torch.stack([rule.A for rule in rules])
    joined = PhaseRule.joined(rules, A)
    for chosen in ([0, 1, 2], [2, 0], [1]):
        part = joined.select(torch.tensor(chosen))
        assert torch.equal(part.A, A[chosen])
        assert part.grown.tolist() == [math.sqrt(norms[j]) / 4 for j in chosen]
        assert part.zero_loss.tolist() == [norms[j] ** 2 / 2 for j in chosen]
    assert rules[1].select(torch.tensor([0])) is rules[1]
    assert joined.A is A  # as it was


def test_group_sums_and_effective_weights() -> None:
    student = student_of([0.25, 0.75, -0.6, -0.4], [1.0, 2.0, -1.0, -3.0], A)
    assert float(order_parameters.group_sum_error(student, A)) == pytest.approx(0, abs=1e-15)
    pair = student_of([1.1, -1.0], [2.0, -2.0], A)
    expected = 0.1 * float(A.norm())
    assert float(order_parameters.effective_weight_error(pair, A)) == pytest.approx(expected)
    assert float(order_parameters.group_sum_error(pair, A)) == pytest.approx(expected)
    same = student_of([1.0, 1.0], [1.0, 1.0], A)
    assert math.isnan(float(order_parameters.effective_weight_error(same, A)))
