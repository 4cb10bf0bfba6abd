"""Kernels of pairs of neurons against 60-digit arithmetic, degenerate geometry included."""

import math
from itertools import product

import mpmath
import numpy as np
import pytest
import torch

from reludyn.numerics.kernels import abs_kernel, angle, bend, pairwise_angle, relu_kernel, unit
from tests.oracles.reference import abs_kernel_mp, relu_kernel_mp

SMALL_ANGLES = [0.0, 1e-300, 1e-16, 1e-12, 1e-8, 1e-4, 1e-2, 0.3, 0.49999, 0.5, 0.50001, 1.0, 1.57]


def pair_at(theta: float, d: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two random vectors of different lengths at an angle of about theta."""
    rng = np.random.default_rng(seed)
    Q, _ = np.linalg.qr(rng.standard_normal((d, 2)))
    p, q = Q.T
    return 1.7 * p, 0.3 * (math.cos(theta) * p + math.sin(theta) * q)


def as_torch(*vectors: np.ndarray) -> tuple[torch.Tensor, ...]:
    return tuple(torch.from_numpy(v) for v in vectors)


@pytest.mark.parametrize("near", ["zero", "pi"])
@pytest.mark.parametrize("theta", SMALL_ANGLES)
def test_kernels_equal_high_precision(theta: float, near: str) -> None:
    p, q = pair_at(theta)
    q = -q if near == "pi" else q
    P, Q = as_torch(p, q)
    scale = np.linalg.norm(p) * np.linalg.norm(q)
    assert float(abs_kernel(P, Q)) == pytest.approx(float(abs_kernel_mp(p, q)), rel=1e-14)
    expected = float(relu_kernel_mp(p, q))
    assert float(relu_kernel(P, Q)) == pytest.approx(expected, rel=1e-14, abs=1e-16 * scale)


@pytest.mark.parametrize("a", SMALL_ANGLES[2:])
def test_bend_keeps_its_relative_precision(a: float) -> None:
    with mpmath.workdps(60):
        exact = mpmath.sin(mpmath.mpf(a)) - mpmath.mpf(a) * mpmath.cos(mpmath.mpf(a))
        assert float(bend(torch.tensor(a, dtype=torch.float64))) == pytest.approx(
            float(exact), rel=5e-15
        )


@pytest.mark.parametrize("theta", [1e-15, 1e-12, 1e-9, 1e-6, 1e-3, 1.0])
def test_angle_is_precise_near_zero_and_pi(theta: float) -> None:
    p = torch.tensor([1.0, 0.0], dtype=torch.float64)
    q = torch.tensor([math.cos(theta), math.sin(theta)], dtype=torch.float64)
    assert float(angle(p, q)) == pytest.approx(theta, rel=1e-14)
    assert math.pi - float(angle(p, -q)) == pytest.approx(theta, rel=1e-14, abs=1e-15)


def test_singular_geometry_is_decided() -> None:
    zero, p = torch.zeros(3, dtype=torch.float64), torch.tensor([0.0, 2.0, 0.0]).double()
    assert unit(zero).tolist() == [0, 0, 0]
    assert float(angle(zero, p)) == float(angle(p, zero)) == float(angle(zero, zero)) == math.pi / 2
    assert float(relu_kernel(zero, p)) == float(abs_kernel(zero, p)) == 0
    assert float(angle(p, p)) == 0
    assert float(angle(p, -p)) == math.pi


def test_pairwise_angles_are_the_angles_of_all_pairs() -> None:
    """Also of vectors that are zero, parallel, antiparallel or 1e-9 apart."""
    w = torch.randn(3, 7, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    w[0, 3], w[1, 2], w[1, 4] = 0, 2 * w[1, 1], -w[1, 0]
    w[2, 6] = w[2, 5] + 1e-9 * w[2, 4]
    expected = torch.zeros(3, 7, 7, dtype=torch.float64)
    for j, i, h in product(range(3), range(7), range(7)):
        expected[j, i, h] = angle(w[j, i], w[j, h]) if i != h else 0
    assert 0 < float(expected[2, 5, 6]) < 1e-8
    torch.testing.assert_close(pairwise_angle(w), expected, rtol=1e-14, atol=0)
