"""No verdict hangs on the last bits of the weights it is about, or came from."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from reludyn.dynamics.pairing import pair_neurons
from reludyn.dynamics.phases import classify
from reludyn.network.student import ReLUStudent
from reludyn.network.subspace import InvariantSubspace
from reludyn.network.teacher import axis_teacher
from reludyn.risk import PopulationRisk
from reludyn.theory.predictions import effective_sign, predict
from reludyn.theory.stationary import find_stationary, identify
from tests.support.descents import trained
from tests.support.parts import drawn
from tests.support.rounding import shaken

SEEDS = range(4)


@pytest.mark.parametrize(
    ("k", "d", "r", "replicas", "scale"),
    [(2, 3, 1, 20, 2.0), (3, 4, 1, 12, 2.0), (2, 5, 2, 8, 3.0)],
)
def test_kinds_of_stationary_points(k: int, d: int, r: int, replicas: int, scale: float) -> None:
    """From shaken starts of a search, and at shaken points."""
    risk = PopulationRisk(axis_teacher(r, d).A)
    start = drawn("theorem", range(replicas), k, d, r, scale)
    point = find_stationary(risk, start, 100)
    expected = identify(risk, point)
    assert len(set(expected.kind)) >= 2
    for seed in SEEDS:
        assert identify(risk, shaken(point, seed)).kind == expected.kind
        assert identify(risk, find_stationary(risk, shaken(start, seed), 100)).kind == expected.kind


def outcomes(student: ReLUStudent) -> tuple[list[str], list[list[int]]]:
    """What descent comes to, and its clocks."""
    teacher = axis_teacher(1, 20)
    state = trained(teacher, student, 0.1, 1e-6, 600)
    A = InvariantSubspace.spanned(teacher, student).teacher.A
    loss = PopulationRisk(A).loss(state.student)
    found = classify(
        state.student,
        state.evaluation,
        loss,
        state.clocks.converged >= 0,
        state.diverged,
        A,
        teacher.zero_loss,
        1e-3,
    )
    return [*found], [clock.tolist() for clock in state.clocks]


@pytest.mark.slow
@pytest.mark.parametrize(("k", "scale"), [(2, 1e-3), (4, 1e-8), (2, 1.0)])
def test_outcomes_phases_and_predictions(k: int, scale: float) -> None:
    """Of shaken initial weights, also at a scale where theory does not speak."""
    teacher, student = axis_teacher(1, 20), drawn("xavier_normal", range(30), k, 20, 1, scale)
    expected, said = outcomes(student), predict(student, teacher.A, 0.1, 1e-6, 600)
    assert len(set(expected[0])) >= 2
    for seed in SEEDS:
        near = shaken(student, seed)
        assert outcomes(near) == expected
        again = predict(near, teacher.A, 0.1, 1e-6, 600)
        assert again.outcome == said.outcome
        for name in ("T_align", "T_growth", "T_converged", "signs"):
            assert torch.equal(getattr(again, name), getattr(said, name))
        assert torch.equal(effective_sign(near, teacher.A), effective_sign(student, teacher.A))


def test_pairs() -> None:
    """Of neurons near perfect pairs, and of random ones."""
    rng = np.random.default_rng(0)
    half = [torch.from_numpy(rng.standard_normal(shape)) for shape in ((20, 3, 5), (20, 3, 3))]
    noise = drawn("theorem", range(20), 6, 5, 3, 1e-9)
    pairs = ReLUStudent(torch.cat([half[0], -half[0]], 1), torch.cat([half[1], -half[1]], 2))
    pairs = ReLUStudent(pairs.W + noise.W, pairs.V + noise.V)
    for student in (pairs, drawn("xavier_normal", range(20), 7, 5, 3, 1.0)):
        expected = pair_neurons(student).partner
        for seed in SEEDS:
            assert torch.equal(pair_neurons(shaken(student, seed)).partner, expected)
