"""Input laws, covariances and label noise; the anisotropic population risk."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from reludyn.data.covariance import Covariance, covariance_from_file, power_law
from reludyn.data.laws import LAWS, InputLaw
from reludyn.network.activation import LeakyReLU
from reludyn.network.teacher import axis_teacher, random_teacher
from reludyn.numerics.random import stream
from reludyn.risk import AnisotropicRisk, PopulationRisk
from reludyn.system.errors import ConfigError
from tests.support.commands import Finished
from tests.support.parts import drawn, sampled

ROOT = np.random.default_rng(0).standard_normal((5, 5))
SIGMA = ROOT @ ROOT.T + 0.5 * np.eye(5)


@pytest.fixture
def sigma_file(tmp_path: Path) -> str:
    np.save(tmp_path / "sigma.npy", SIGMA)
    return str(tmp_path / "sigma.npy")


@pytest.mark.parametrize("name", LAWS)
def test_laws_are_symmetric_with_unit_covariance(name: str) -> None:
    n, d = 200_000, 4
    z = InputLaw(name, freedom=8.0).sample(stream(1, "data"), n, d)
    for moment, expected in ((z, np.zeros(d)), (z**3, np.zeros(d))):
        assert (np.abs(moment.mean(0) - expected) <= 4.5 * moment.std(0) / math.sqrt(n)).all()
    products = z[:, :, None] * z[:, None, :]
    error = np.maximum(products.std(0), 1e-12) / math.sqrt(n)
    assert (np.abs(products.mean(0) - np.eye(d)) <= 4.5 * error + 1e-12).all()


def test_laws_are_what_they_are_called() -> None:
    draw = {name: InputLaw(name, 6.0).sample(stream(0, "data"), 100_000, 5) for name in LAWS}
    assert set(np.unique(draw["rademacher"])) == {-1.0, 1.0}
    np.testing.assert_allclose(np.linalg.norm(draw["uniform_sphere"], axis=1), math.sqrt(5))
    kurtosis = {name: float((z**4).mean()) for name, z in draw.items()}
    assert kurtosis["gaussian"] == pytest.approx(3, abs=0.1)
    assert kurtosis["student_t"] == pytest.approx(3 + 6 / (6 - 4), abs=1.0)
    assert kurtosis["uniform_sphere"] == pytest.approx(3 * 5 / 7, abs=0.05)  # 3 d / (d + 2)


def test_power_law_spectrum() -> None:
    root = power_law(50, 1.5).root
    assert (root**2).mean() == pytest.approx(1)
    np.testing.assert_allclose(root[0] ** 2 / root**2, np.arange(1, 51) ** 1.5)


def test_the_root_of_a_file_is_the_root(sigma_file: str) -> None:
    covariance = covariance_from_file(sigma_file, 5)
    np.testing.assert_allclose(covariance.root @ covariance.root, SIGMA, rtol=1e-12)
    np.testing.assert_allclose(covariance.root, covariance.root.T, rtol=1e-12)


@pytest.mark.parametrize("covariance", [None, power_law(5, 1.0), "file"])
def test_samples_have_their_covariance(
    covariance: Covariance | str | None, sigma_file: str
) -> None:
    known = covariance_from_file(sigma_file, 5) if covariance == "file" else covariance
    assert not isinstance(known, str)
    n, teacher = 300_000, axis_teacher(1, 5)
    X, Y = sampled(teacher, n, [3], law=InputLaw(covariance=known))
    root = np.eye(5) if known is None else known.root
    sigma = np.diag(root**2) if root.ndim == 1 else root @ root
    measured = (X[0].T @ X[0]).numpy() / n
    spread = np.sqrt(np.outer(np.diag(sigma), np.diag(sigma)) + sigma**2)
    assert (np.abs(measured - sigma) <= 4.5 * spread / math.sqrt(n)).all()
    torch.testing.assert_close(Y, X[..., :1])


def test_noise_is_added_to_the_same_labels() -> None:
    teacher = random_teacher(2, 4)
    X, Y = sampled(teacher, 100_000, [7, 8])
    X_, noisy = sampled(teacher, 100_000, [7, 8], noise=0.3)
    assert torch.equal(X, X_)
    error = noisy - Y
    assert float(error.std()) == pytest.approx(0.3, rel=0.01)
    assert abs(float((error[..., 0] * X[..., 0]).mean())) < 0.3 * 5 / math.sqrt(200_000)
    assert abs(float((error[0] * error[1]).mean())) < 0.09 * 5 / math.sqrt(200_000)
    _, louder = sampled(teacher, 100_000, [7, 8], noise=0.6)
    torch.testing.assert_close(louder - Y, 2 * error)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "there is no such file"),
        (b"no array", "cannot be read"),
        (np.eye(4), r"must have the shape \(5, 5\), it has \(4, 4\)"),
        (np.eye(5) + np.triu(np.ones((5, 5)), 1), "must be symmetric"),
        (np.full((5, 5), np.nan), "must be finite; 25 numbers are not"),
        (np.ones((5, 5)), "smallest eigenvalue"),
        (np.diag([1.0, 1, 1, 1, -1]), "smallest eigenvalue is -1"),
        (np.array([[print] * 5] * 5, dtype=object), "cannot be read"),
    ],
)
def test_a_matrix_that_is_no_covariance_is_refused(
    tmp_path: Path, content: object, reason: str
) -> None:
    path = tmp_path / "sigma.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.save(path, content)
    with pytest.raises(ConfigError, match=rf"data.covariance_path=.*{reason}"):
        covariance_from_file(str(path), 5)


def anisotropic(diagonal: bool, slope: float, r: int) -> tuple[AnisotropicRisk, Covariance]:
    values, vectors = np.linalg.eigh(SIGMA)
    full = Covariance((vectors * np.sqrt(values)) @ vectors.T)
    covariance = power_law(5, 1.3) if diagonal else full
    teacher = random_teacher(r, 5)
    return AnisotropicRisk(teacher.A, covariance.on(teacher.A), LeakyReLU(slope)), covariance


@pytest.mark.parametrize("diagonal", [True, False])
@pytest.mark.parametrize(("slope", "r"), [(0.0, 1), (0.3, 2)])
def test_anisotropic_gradient_equals_autograd_and_finite_differences(
    diagonal: bool, slope: float, r: int
) -> None:
    risk, _ = anisotropic(diagonal, slope, r)
    for seed in range(10):
        student = drawn("theorem", [seed], 4, 5, r, 2.0)
        leaves = student.map(lambda x: x.clone().requires_grad_())
        loss = risk.loss(leaves).total.sum()
        loss.backward()
        evaluation = risk.evaluate(student)
        torch.testing.assert_close(evaluation.loss.sum(), loss.detach(), rtol=1e-13, atol=0)
        for closed, leaf in zip(evaluation.gradient, leaves, strict=True):
            torch.testing.assert_close(
                closed, leaf.grad, rtol=0, atol=1e-10 * float(leaf.grad.abs().max())
            )
        h, W = 1e-5, student.W.clone()
        W[0, 1, 2] += h
        ahead = risk.loss(student._replace(W=W)).total
        W[0, 1, 2] -= 2 * h
        slope_ = float(ahead - risk.loss(student._replace(W=W)).total) / (2 * h)
        assert slope_ == pytest.approx(float(evaluation.gradient.W[0, 1, 2]), rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("diagonal", [True, False])
@pytest.mark.parametrize(("slope", "r"), [(0.0, 1), (0.3, 2)])
def test_anisotropic_loss_equals_monte_carlo(diagonal: bool, slope: float, r: int) -> None:
    risk, covariance = anisotropic(diagonal, slope, r)
    teacher, student = random_teacher(r, 5), drawn("theorem", [2], 3, 5, r, 1.5)
    X, Y = sampled(teacher, 1_000_000, [4], law=InputLaw(covariance=covariance))
    sample = (student(X, LeakyReLU(slope)) - Y).square().sum(-1) / 2
    assert abs(float(sample.mean() - risk.loss(student).total)) <= 4 * float(sample.std()) / 1000


def test_the_identity_is_isotropic() -> None:
    teacher, student = random_teacher(2, 5), drawn("theorem", range(3), 4, 5, 2, 1.0)
    flat = AnisotropicRisk(teacher.A, Covariance(np.ones(5)).on(teacher.A))
    isotropic = PopulationRisk(teacher.A)
    assert torch.equal(flat.evaluate(student).gradient.W, isotropic.evaluate(student).gradient.W)
    assert torch.equal(flat.loss(student).total, isotropic.loss(student).total)


QUICK = ["data.dim=5", "init.scale=0.3", "figures=false", "logger=none", "trainer.steps=400"]


@pytest.mark.slow
def test_empirical_runs_follow_the_anisotropic_population(reludyn) -> None:  # type: ignore[no-untyped-def]
    """The same seed descends on 20,000 samples nearly as on the population."""
    law = ["data.covariance=power_law", "data.covariance_exponent=0.5", "trainer.tolerance=0"]
    exact: Finished = reludyn(*QUICK, *law, "hydra.run.dir=exact")
    reludyn(*QUICK, *law, "data=gaussian", "data.samples=20000", "hydra.run.dir=near")
    runs = [np.load(exact.where / name / "trajectory.npz") for name in ("exact", "near")]
    np.testing.assert_allclose(runs[0]["W"][0], runs[1]["W"][0], rtol=1e-14)
    np.testing.assert_allclose(runs[0]["W"], runs[1]["W"], atol=0.1)
    np.testing.assert_allclose(runs[0]["loss"], runs[1]["loss_population"], atol=0.02)


@pytest.mark.quick(3)
@pytest.mark.parametrize(
    "overrides",
    [
        ["data.covariance=power_law"],
        ["data=gaussian", "data.samples=30", "data.covariance=power_law", "data.noise=0.1"],
        *(["data=gaussian", "data.samples=30", f"data.law={law}"] for law in LAWS),
        ["data=gaussian", "data.samples=30", "data.law=student_t", "data.freedom=3"],
    ],
    ids=" ".join,
)
def test_every_kind_of_data_trains(reludyn, overrides: list[str]) -> None:  # type: ignore[no-untyped-def]
    finished = reludyn(*QUICK, "trainer.steps=20", "replicas=3", *overrides)
    assert finished.code == 0
    assert ("loss_population" in finished.arrays) == (
        "data=gaussian" in overrides
        and not any(o.startswith("data.law=") and o != "data.law=gaussian" for o in overrides)
    )
