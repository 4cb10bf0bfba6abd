"""trajectory.npz: its arrays, their shapes and values, and what is left out of large ones."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from reludyn.recording.look import Look
from reludyn.recording.quantities import CORE
from reludyn.recording.theory_observer import Beside
from reludyn.recording.trajectory import Trajectory
from tests.support.commands import QUICK, Command, Finished, reludyn_in
from tests.support.parts import drawn

ADDED_TO_TRAJECTORY = {"thinned", "time"}
CURVES = "loss", "w_norm", "v_norm", "angle_to_target", "learned"
PREDICTED = {f"predicted_{name}" for name in (*CURVES, "T_direction")}


def shapes(T: int, R: int, kept: int, k: int, d: int, r: int) -> dict[str, tuple[int, ...]]:
    """Return those of the documented arrays, and of all other quantities that are registered: later
    versions only add."""
    neurons = dict.fromkeys(("w_norm", "v_norm", "angle_to_target", "imbalance"), (T, R, k))
    weights = {"W": (T, kept, k, d), "V": (T, kept, r, k), "A": (r, d)}
    parts = dict.fromkeys(("loss", "loss_linear", "loss_rectification"), (T, R))
    sizes = {"k": k, "r": r, "2": 2}
    registered = {name: (T, R, *(sizes[axis] for axis in x.axes)) for name, x in CORE.items()}
    del registered["loss_population"]
    named = {"step": (T,), "angle_between": (T, R, k, k), **parts, **neurons, **weights}
    assert registered | named == named | registered  # what both say is the same
    return registered | named


def test_arrays_of_one_replica(fig3: Finished) -> None:
    expected = shapes(T=fig3.summary["steps"] + 1, R=1, kept=1, k=2, d=100, r=1)
    assert {name: fig3.arrays[name].shape for name in expected} == expected
    assert set(fig3.arrays) - set(expected) == ADDED_TO_TRAJECTORY | PREDICTED


def test_arrays_of_an_ensemble(ensemble: Finished) -> None:
    expected = shapes(T=61, R=6, kept=4, k=3, d=20, r=1)
    assert {name: ensemble.arrays[name].shape for name in expected} == expected
    assert set(ensemble.arrays) - set(expected) == ADDED_TO_TRAJECTORY | PREDICTED
    assert ensemble.arrays["predicted_loss"].shape == (61, 4)
    assert ensemble.arrays["predicted_w_norm"].shape == (61, 4, 3)


def test_arrays_on_samples(empirical: Finished) -> None:
    expected = shapes(T=21, R=2, kept=2, k=2, d=5, r=2)
    assert {name: empirical.arrays[name].shape for name in expected} == expected
    added = ADDED_TO_TRAJECTORY | PREDICTED | {"loss_population", "partner"}
    assert set(empirical.arrays) - set(expected) == added


@pytest.mark.parametrize("run", ["fig3", "ensemble", "empirical"])
def test_numbers_have_full_precision(run: str, request: pytest.FixtureRequest) -> None:
    arrays = request.getfixturevalue(run).arrays
    assert arrays["step"].dtype == np.int64
    floats = set(arrays) - {"step", "thinned", "partner"}
    assert {arrays[name].dtype for name in floats} == {np.dtype(np.float64)}


def test_single_precision_is_kept_single(reludyn: Command) -> None:
    arrays = reludyn(*QUICK, "precision=float32").arrays
    assert {arrays[name].dtype for name in ("loss", "W", "V")} == {np.dtype(np.float32)}


def test_wide_networks_have_no_angles_between_all(reludyn: Command) -> None:
    assert "angle_between" in reludyn_in(reludyn, "16", "model.width=16").arrays
    assert "angle_between" not in reludyn_in(reludyn, "17", "model.width=17").arrays


@pytest.mark.parametrize("keep", [0, 1, 3, 7])
def test_keep_weights_is_the_number_of_replicas_with_weights(reludyn: Command, keep: int) -> None:
    arrays = reludyn(*QUICK, "replicas=3", f"trainer.keep_weights={keep}").arrays
    assert arrays["W"].shape == (6, min(keep, 3), 2, 100)
    assert arrays["V"].shape == (6, min(keep, 3), 1, 2)
    assert arrays["w_norm"].shape == (6, 3, 2)


@pytest.mark.parametrize("run", ["fig3", "ensemble", "empirical"])
def test_the_first_row_is_step_0_and_the_last_the_final_step(
    run: str, request: pytest.FixtureRequest
) -> None:
    finished = request.getfixturevalue(run)
    step = finished.arrays["step"]
    assert step[0] == 0
    assert step[-1] == finished.summary["steps"]
    assert (np.diff(step) > 0).all()


def test_the_first_row_holds_the_drawn_weights(ensemble: Finished) -> None:
    expected = drawn("xavier_normal", range(4), k=3, d=20, r=1, scale=0.1)
    np.testing.assert_allclose(ensemble.arrays["W"][0], expected.W, rtol=0, atol=1e-16)
    np.testing.assert_array_equal(ensemble.arrays["V"][0], expected.V)


def test_on_samples_the_first_row_is_what_was_drawn(empirical: Finished) -> None:
    expected = drawn("xavier_normal", range(2), k=2, d=5, r=2, scale=0.1)
    np.testing.assert_array_equal(empirical.arrays["W"][0], expected.W)
    np.testing.assert_array_equal(empirical.arrays["V"][0], expected.V)


def test_the_teacher_is_there(fig3: Finished) -> None:
    np.testing.assert_array_equal(fig3.arrays["A"], np.eye(1, 100))


@pytest.mark.parametrize("run", ["fig3", "ensemble", "empirical"])
def test_order_parameters_are_those_of_the_weights(
    run: str, request: pytest.FixtureRequest
) -> None:
    arrays = request.getfixturevalue(run).arrays
    W, V, A = arrays["W"], arrays["V"], arrays["A"]
    kept = W.shape[1]
    w, v = np.linalg.norm(W, axis=-1), np.linalg.norm(V, axis=-2)
    target = np.swapaxes(V, -1, -2) @ A
    cosine = (W * target).sum(-1) / w / np.linalg.norm(target, axis=-1)
    between = W @ np.swapaxes(W, -1, -2) / w[..., None] / w[..., None, :]
    seen = {name: array[:, :kept] for name, array in arrays.items() if array.ndim > 1}
    np.testing.assert_allclose(seen["w_norm"], w, rtol=1e-13)
    np.testing.assert_allclose(seen["v_norm"], v, rtol=1e-13)
    np.testing.assert_allclose(seen["imbalance"], w**2 - v**2, atol=1e-15)
    np.testing.assert_allclose(np.cos(seen["angle_to_target"]), cosine, atol=1e-13)
    np.testing.assert_allclose(np.cos(seen["angle_between"]), between, atol=1e-13)


def test_the_loss_is_the_sum_of_its_parts(ensemble: Finished) -> None:
    parts = ensemble.arrays["loss_linear"] + ensemble.arrays["loss_rectification"]
    np.testing.assert_allclose(ensemble.arrays["loss"], parts, rtol=1e-14)


def random_looks(T: int, R: int, k: int, kept: int = 2) -> Iterator[Look]:
    """T looks of random numbers, in three inputs."""
    draw, never = np.random.default_rng(0), np.full(R, -1)
    for step in range(T):
        sizes: dict[str, tuple[int, ...]] = {
            **dict.fromkeys(("loss", "loss_linear", "loss_rectification"), (R,)),
            **dict.fromkeys(("w_norm", "v_norm", "angle_to_target", "imbalance"), (R, k)),
            "angle_between": (R, k, k),
        }
        yield Look(
            steps=np.full(R, step),
            times=np.full(R, 0.1 * step),
            going=np.ones(R, dtype=bool),
            measured={name: draw.random(size) for name, size in sizes.items()},
            beside=Beside(),
            T_align=never,
            T_growth=never,
            T_converged=never,
            diverged=never >= 0,
            W=draw.random((kept, k, 3)),
            V=draw.random((kept, 1, k)),
        )


def thinned(T: int, R: int, k: int, limit: int) -> dict[str, NDArray[Any]]:
    """The arrays of random looks."""
    trajectory = Trajectory(T, inputs=3, limit=limit)
    for look in random_looks(T, R, k):
        trajectory.record(look)
    return trajectory.arrays(lambda W: W, np.eye(1, 3))


@pytest.mark.parametrize(("missing", "fits"), [("imbalance", True), ("loss", False), ("W", False)])
def test_a_run_resumes_that_did_not_know_a_quantity_yet(missing: str, fits: bool) -> None:
    """Later versions only add quantities: these are not a number up to there."""
    earlier, trajectory = (Trajectory(9, inputs=3) for _ in range(2))
    first, *rest = random_looks(5, R=3, k=2)
    earlier.record(first)
    saved = earlier.saved()
    del saved["columns"][missing]
    trajectory.restore(saved)
    assert trajectory.fits(rest[0]) is fits
    if fits:
        for look in rest:
            trajectory.record(look)
        found = trajectory.rows.columns[missing]
        assert np.isnan(found[0]).all()
        np.testing.assert_array_equal(found[1:], [look.measured[missing] for look in rest])


def test_what_fits_is_kept() -> None:
    arrays = thinned(T=10, R=6, k=2, limit=10**6)
    assert arrays["step"].tolist() == list(range(10))
    assert (arrays["w_norm"].shape, arrays["W"].shape) == ((10, 6, 2), (10, 2, 2, 3))
    assert arrays["thinned"] == ""


@pytest.mark.parametrize("T", [2, 10, 11, 100])
@pytest.mark.parametrize("limit", [2000, 5000])
def test_the_first_and_the_last_look_are_always_kept(T: int, limit: int) -> None:
    step = thinned(T, R=40, k=2, limit=limit)["step"]
    assert (step[0], step[-1]) == (0, T - 1)
    assert (np.diff(step) > 0).all()


def test_thinned_looks_are_said() -> None:
    arrays = thinned(T=100, R=40, k=2, limit=40_000)
    stride = int(arrays["step"][1])
    assert stride > 1
    assert f"every {stride}th look" in str(arrays["thinned"])
    assert arrays["loss"].shape[1] == 40


def test_thinned_replicas_are_said() -> None:
    arrays = thinned(T=100, R=40, k=2, limit=40_000)
    kept = arrays["w_norm"].shape[1]
    assert 0 < kept < 40
    assert f"neurons of {kept} of 40 replicas" in str(arrays["thinned"])


@pytest.mark.parametrize(("T", "R", "k"), [(100, 40, 2), (100, 1, 8), (50, 400, 1)])
def test_the_size_stays_below_the_limit(T: int, R: int, k: int) -> None:
    arrays, limit = thinned(T, R, k, limit=40_000), 40_000
    size = sum(array.nbytes for array in arrays.values())
    two_rows = 2 * size / len(arrays["step"])  # the first and the last are there in any case
    assert size < limit + two_rows


@pytest.mark.slow
def test_a_run_of_many_looks_still_has_its_pictures(reludyn: Command) -> None:
    finished = reludyn("trainer.steps=1000000", "trainer.looks=1000000", "logger=none")
    assert finished.code == 0
    assert (finished.folder / "figures" / "phases.png").exists()
