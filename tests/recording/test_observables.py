"""Observables of the full tier: against independent loops, in all files, opt-in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from reludyn.data.covariance import power_law
from reludyn.data.laws import InputLaw
from reludyn.data.samples import Source
from reludyn.network.activation import LeakyReLU
from reludyn.network.student import ReLUStudent
from reludyn.network.teacher import axis_teacher
from reludyn.recording.observables import FULL
from reludyn.risk import AnisotropicRisk, EmpiricalRisk, PopulationRisk
from tests.oracles import reference
from tests.oracles import reference_optimizers as oracle
from tests.support.commands import Command, reludyn_in
from tests.support.parts import drawn

FULL_RUN = ["trainer.observables=full", "data.dim=6", "init.scale=0.5", "trainer.keep_weights=9"]
# the public contract, written out here so that a change of it is seen
NAMES = {
    "gradient_hidden",
    "gradient_output",
    "update_hidden",
    "update_output",
    "distance_hidden",
    "distance_output",
    "pattern_change",
    "Q",
    "M",
    "effective_along",
    "effective_across",
    "group_along",
    "group_across",
    "learned",
    "loss_test",
}


def test_the_observables_are_known() -> None:
    assert set(FULL) == NAMES
    assert len({observable.tag for observable in FULL.values()}) == len(NAMES)
    assert all(observable.measure.__doc__ for observable in FULL.values())


def test_the_core_tier_has_none_of_them(reludyn: Command) -> None:
    assert NAMES & set(reludyn_in(reludyn, "core").arrays) == set()


@pytest.mark.parametrize(("k", "r"), [(2, 1), (5, 1), (4, 2)])
def test_they_equal_independent_loops(reludyn: Command, k: int, r: int) -> None:
    """In the coordinates of the subspace, at every iteration, for each replica."""
    arrays = reludyn_in(
        reludyn,
        "full",
        *FULL_RUN,
        "replicas=2",
        f"model.width={k}",
        f"data.outputs={r}",
        "init.signs=random",
        "data.target=random",
        "optimizer.lr=0.2",
    ).arrays
    W, V, A = arrays["W"], arrays["V"], arrays["A"]
    expected_names = NAMES - {"loss_test"} - ({"group_along", "group_across"} if r > 1 else set())
    assert NAMES & set(arrays) == expected_names
    for t in range(len(W)):
        for j in range(2):
            gW, gV = reference.population_gradient(W[t, j], V[t, j], A)
            before = max(t - 1, 0)
            expected = oracle.observables(
                W[t, j], V[t, j], W[0, j], V[0, j], W[before, j], V[before, j], A, gW, gV
            )
            assert set(expected) == expected_names - {"pattern_change", "learned"}
            for name, value in expected.items():
                np.testing.assert_allclose(arrays[name][t, j], value, rtol=1e-10, atol=1e-13)
    shapes = {name: arrays[name].shape[2:] for name in expected_names}
    assert shapes["Q"] == (k, k)
    assert shapes["M"] == (k, r)
    assert shapes["pattern_change"] == (k,)


def test_how_much_of_each_direction_is_learned(reludyn: Command, tmp_path: Path) -> None:
    """p_j^T V W q_j / (2 s_j), for a target with different singular values."""
    A = np.random.default_rng(2).standard_normal((3, 6)) * 0.4
    np.save(tmp_path / "A.npy", A)
    arrays = reludyn_in(
        reludyn,
        "run",
        *FULL_RUN,
        "data.outputs=3",
        "init.signs=random",
        "model.width=4",
        "data.target=file",
        f"data.target_path={tmp_path}/A.npy",
    ).arrays
    U, s, Q = np.linalg.svd(A, full_matrices=False)
    expected = np.einsum(
        "aj,tak,tkd,jd->tj", U, arrays["V"][:, 0], arrays["W"][:, 0], Q, optimize=True
    ) / (2 * s)
    np.testing.assert_allclose(arrays["learned"][:, 0], expected, rtol=1e-9, atol=1e-13)


def test_wide_networks_have_no_overlaps_between_all(reludyn: Command) -> None:
    arrays = reludyn_in(reludyn, "wide", *FULL_RUN, "model.width=17").arrays
    assert "Q" not in arrays
    assert arrays["M"].shape[2:] == (17, 1)


# --- Activation patterns ----------------------------------------------------------------------


@pytest.mark.parametrize("coloured", [False, True])
def test_pattern_changes_of_the_population_equal_monte_carlo(coloured: bool) -> None:
    teacher, covariance = axis_teacher(1, 5), power_law(5, 1.5)
    before, after = (drawn(name, [0], 4, 5, 1, 1.0) for name in ("theorem", "balanced"))
    A = teacher.A
    risk = AnisotropicRisk(A, covariance.on(A)) if coloured else PopulationRisk(A)
    rows = [s.W[0].numpy() * (covariance.root if coloured else 1) for s in (before, after)]
    fraction, error = oracle.pattern_change_monte_carlo(*rows, 400_000, np.random.default_rng(1))
    assert (np.abs(risk.switched(before, after)[0].numpy() - fraction) <= 4 * error).all()


def test_pattern_changes_of_samples_are_counted() -> None:
    samples = Source(axis_teacher(1, 4), InputLaw(), [3, 4]).draw(500)
    before, after = (drawn(name, [0, 1], 3, 4, 1, 1.0) for name in ("theorem", "balanced"))
    found = EmpiricalRisk(samples, LeakyReLU(0.1)).switched(before, after)
    for j in range(2):
        on = [samples.X[j].numpy() @ s.W[j].numpy().T > 0 for s in (before, after)]
        np.testing.assert_allclose(found[j], (on[0] != on[1]).mean(0))


def test_the_pattern_of_a_zero_neuron() -> None:
    """Never active: it does not change where it stays, and half of the inputs wake it."""
    zero = ReLUStudent(torch.zeros(1, 1, 3).double(), torch.ones(1, 1, 1).double())
    other = zero._replace(W=torch.ones(1, 1, 3).double())
    risk = PopulationRisk(axis_teacher(1, 3).A)
    assert float(risk.switched(zero, zero)) == 0
    assert float(risk.switched(zero, other)) == 0.5
    assert float(risk.switched(other, other)) == 0


# --- Test loss --------------------------------------------------------------------------------


@pytest.mark.quick(1)
@pytest.mark.parametrize("data", ["gaussian", "stream"])
def test_the_test_loss_estimates_that_of_the_population(reludyn: Command, data: str) -> None:
    """On 10,000 fresh samples without label noise, the same for all replicas."""
    arrays = reludyn_in(
        reludyn, "run", *FULL_RUN, f"data={data}", "data.samples=30", "data.noise=0.5", "replicas=3"
    ).arrays
    test, population = arrays["loss_test"], arrays["loss_population"]
    np.testing.assert_allclose(test, population, rtol=0.1)
    assert (np.abs(arrays["loss"] - population) > 0.01 * population).any()
    alone = reludyn_in(
        reludyn, "alone", *FULL_RUN, f"data={data}", "data.samples=30", "data.noise=0.5", "seed=2"
    ).arrays
    np.testing.assert_allclose(alone["loss_test"][:, 0], test[:, 2], rtol=1e-12)


def test_other_laws_have_a_test_loss_too(reludyn: Command) -> None:
    arrays = reludyn_in(
        reludyn, "run", *FULL_RUN, "data=gaussian", "data.samples=30", "data.law=rademacher"
    ).arrays
    assert (arrays["loss_test"] > 0).all()
    assert "loss_population" not in arrays


# --- TensorBoard ------------------------------------------------------------------------------


def test_tensorboard_shows_them(reludyn: Command) -> None:
    overrides = [*FULL_RUN, "logger=tensorboard", "trainer.steps=4", "figures=false"]
    finished = reludyn(*overrides, "model.width=3", "init.signs=random")
    board = EventAccumulator(str(finished.folder / "tensorboard"))
    board.Reload()
    tags = set(board.Tags()["scalars"])
    pairs = {f"{i}-{j}" for i in (1, 2, 3) for j in (1, 2, 3)}
    assert {f"overlap/Q/{pair}" for pair in pairs} <= tags
    assert {f"overlap/M/{i}-1" for i in (1, 2, 3)} <= tags
    assert {"gradient/hidden", "update/output", "pattern/change/2", "group/along/1"} <= tags
    values = [event.value for event in board.Scalars("overlap/Q/1-2")]
    np.testing.assert_allclose(values, finished.arrays["Q"][:, 0, 0, 1], rtol=1e-6)
    values = [event.value for event in board.Scalars("gradient/hidden")]
    np.testing.assert_allclose(values, finished.arrays["gradient_hidden"][:, 0], rtol=1e-6)


def test_an_ensemble_has_quantiles_of_them(reludyn: Command) -> None:
    overrides = [*FULL_RUN, "logger=tensorboard", "trainer.steps=4", "figures=false"]
    finished = reludyn(*overrides, "replicas=5")
    board = EventAccumulator(str(finished.folder / "tensorboard"))
    board.Reload()
    values = [event.value for event in board.Scalars("distance/hidden/median")]
    expected = np.median(finished.arrays["distance_hidden"], 1)
    np.testing.assert_allclose(values, expected, rtol=1e-6)
