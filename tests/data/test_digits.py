"""The digits: their matrices, targets, and the Gaussian risk of the same covariance beside them."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits

from reludyn.data.digits import blur_matrix, read_digits, sample_covariance, whitened
from tests.support.commands import Command, refused, reludyn_in

RUN = ["data=digits", "model.width=4", "init.signs=random", "trainer.steps=3"]


def digits(
    target: str = "identity", whiten: bool = False, samples: int | None = None, blur: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    return read_digits(target, blur, whiten, samples)


def test_images_are_centred_with_unit_mean_variance() -> None:
    X, Y = digits()
    assert X.shape == (1797, 64)
    assert np.array_equal(X, Y)
    np.testing.assert_allclose(X.mean(0), 0, atol=1e-14)
    assert X.var(0).mean() == pytest.approx(1)
    raw = load_digits().data
    assert np.corrcoef(X[:, 20], raw[:, 20])[0, 1] == pytest.approx(1)


def test_a_blur_is_an_average_of_neighbours() -> None:
    """Rows of B are non-negative weights that sum to one; a narrow Gaussian does nothing; the
    centre weighs most."""
    B = blur_matrix(1.0)
    assert (B >= 0).all()
    np.testing.assert_allclose(B.sum(1), 1)
    np.testing.assert_allclose(blur_matrix(0.1), np.eye(64), atol=1e-15)
    row = B[27].reshape(8, 8)
    assert np.unravel_index(row.argmax(), row.shape) == (3, 3)
    t = np.arange(-3, 4)
    weights = np.exp(-(t**2) / 2)
    assert row[3, 4] / row[3, 3] == pytest.approx(weights[4] / weights[3], rel=1e-2)


def test_the_targets_are_linear_maps_of_the_images() -> None:
    images, _ = digits()
    B = blur_matrix(1.0)
    X, Y = digits("blur")
    np.testing.assert_array_equal(X, images)
    np.testing.assert_allclose(Y, images @ B.T)
    X, Y = digits("deblur")
    np.testing.assert_allclose(X, images @ B.T)
    np.testing.assert_array_equal(Y, images)


def test_whitening_makes_a_projection_of_the_covariance() -> None:
    X, Y = digits(whiten=True)
    values = np.linalg.eigvalsh(X.T @ X / len(X))
    np.testing.assert_allclose(values, [0] * 3 + [1] * 61, atol=1e-10)  # three constant pixels
    assert np.array_equal(X, Y)
    np.testing.assert_allclose(whitened(2 * X), X, atol=1e-10)


def test_the_gaussian_of_the_same_covariance() -> None:
    X, _ = digits()
    root = sample_covariance(X).root
    np.testing.assert_allclose(root @ root, X.T @ X / len(X), atol=1e-12)
    np.testing.assert_allclose(root, root.T)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "whiten"), [("identity", "true"), ("blur", "false"), ("deblur", "true")]
)
def test_a_run(reludyn: Command, target: str, whiten: str) -> None:
    run = reludyn_in(
        reludyn, "run", *RUN, f"data.target={target}", f"data.whiten={whiten}", "figures=true"
    )
    assert run.code == 0, run.err
    X, Y = digits(target, whiten == "true")
    arrays = run.arrays
    assert arrays["loss"][0, 0] == pytest.approx((Y**2).sum(1).mean() / 2, rel=1e-3)
    # both losses of the first weights: the linear parts agree, as covariances do
    np.testing.assert_allclose(arrays["loss_population"][0], arrays["loss"][0], rtol=1e-3)
    np.testing.assert_allclose(X @ arrays["A"].T, Y, atol=1e-6)
    with np.load(run.where / "reconstructions.npz") as file:
        images = dict(file)
    np.testing.assert_allclose(images["inputs"], X[:10])
    hidden = np.maximum(X[:10] @ arrays["W"][-1, 0].T, 0)
    np.testing.assert_allclose(images["outputs"], hidden @ arrays["V"][-1, 0].T, atol=1e-12)
    assert (run.where / "figures" / "digits.png").stat().st_size > 10_000


def test_the_first_samples(reludyn: Command) -> None:
    run = reludyn_in(reludyn, "run", *RUN, "data.samples=100")
    assert run.code == 0
    line = refused(reludyn_in(reludyn, "more", *RUN, "data.samples=2000"))
    assert "data.samples=2000: must be at most 1797" in line


@pytest.mark.parametrize(("key", "value"), [("data.dim", 60), ("data.outputs", 3)])
def test_sizes_are_those_of_the_images(reludyn: Command, key: str, value: int) -> None:
    line = refused(reludyn_in(reludyn, "run", *RUN, f"{key}={value}"))
    assert f"{key}={value}: must be null or 64, as in digits" in line


def test_without_scikit_learn(reludyn: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    line = refused(reludyn_in(reludyn, "run", *RUN))
    assert "needs scikit-learn. Install it: pip install 'reludyn[digits]'" in line
