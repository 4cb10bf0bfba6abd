"""Initialisations: their laws, their signs, their seeds."""

import math

import numpy as np
import pytest
import torch

from reludyn.errors import ConfigError
from reludyn.initialization import INITIALIZATIONS, draw_students, initialization
from reludyn.randomness import stream


def four_standard_errors(values: np.ndarray, mean: float) -> bool:
    return abs(values.mean() - mean) <= 4 * values.std() / math.sqrt(values.size)


@pytest.mark.parametrize(("k", "d", "r"), [(2, 100, 1), (6, 20, 3)])
def test_xavier_normal_has_its_variances(k: int, d: int, r: int) -> None:
    W, V = (x.numpy() for x in draw_students("xavier_normal", range(4000), k, d, r, 0.1))
    for layer, variance in ((W, 0.01 * 2 / (d + k)), (V, 0.01 * 2 / (k + r))):
        assert four_standard_errors(layer, 0.0)
        assert four_standard_errors(layer**2, variance)
        assert four_standard_errors(layer**4, 3 * variance**2)


@pytest.mark.parametrize("r", [1, 3])
def test_theorem_has_the_laws_of_theorem_2(r: int) -> None:
    d, sigma = 10, 0.5
    W, V = (x.numpy() for x in draw_students("theorem", range(4000), 2, d, r, sigma))
    assert four_standard_errors(W**2, sigma**2 / d)
    length = np.linalg.norm(V, axis=1)  # sigma / sqrt(d) chi_d
    assert four_standard_errors(length**2, sigma**2)
    assert four_standard_errors(length**4, sigma**4 * (d + 2) / d)
    chi = math.sqrt(2) * math.gamma((d + 1) / 2) / math.gamma(d / 2)
    assert four_standard_errors(length, sigma / math.sqrt(d) * chi)
    assert four_standard_errors(np.sign(V), 0.0)
    assert four_standard_errors((V[:, 0] / length) ** 2, 1 / r) or r == 1


def test_sign_patterns_keep_the_magnitudes() -> None:
    drawn = {s: draw_students("xavier_normal", range(50), 5, 4, 1, 1.0, s).V for s in
             ("random", "alternating", "same")}  # fmt: skip
    assert (drawn["same"] > 0).all()
    assert torch.equal(drawn["alternating"].sign(), torch.tensor([[[1, -1, 1, -1, 1]]] * 50))
    assert 0.3 < (drawn["random"] > 0).double().mean() < 0.7
    for V in drawn.values():
        assert torch.equal(V.abs(), drawn["same"])


def test_sign_patterns_need_a_scalar_output() -> None:
    with pytest.raises(ConfigError, match=r"init.signs=same: must be random"):
        draw_students("xavier_normal", [0], 4, 5, 2, 1.0, "same")


@pytest.mark.parametrize("name", sorted(INITIALIZATIONS))
def test_a_replica_is_its_seed_bit_for_bit(name: str) -> None:
    batch = draw_students(name, range(10, 16), 3, 7, 2, 1e-4)
    for j, seed in enumerate(range(10, 16)):
        alone = draw_students(name, [seed], 3, 7, 2, 1e-4)
        assert torch.equal(batch.W[j], alone.W[0])
        assert torch.equal(batch.V[j], alone.V[0])
    assert len({float(x) for x in batch.W[:, 0, 0]}) == 6


@pytest.mark.parametrize("name", sorted(INITIALIZATIONS))
def test_scale_is_linear(name: str) -> None:
    small, large = (draw_students(name, [1], 3, 7, 1, s) for s in (1e-8, 1.0))
    torch.testing.assert_close(small.W * 1e8, large.W, rtol=1e-14, atol=0)
    torch.testing.assert_close(small.V * 1e8, large.V, rtol=1e-14, atol=0)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"init.name=glorot: must be one of theorem, xavier_norm"):
        draw_students("glorot", [0], 1, 1, 1, 1.0)


def test_a_new_initialisation_takes_five_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reludyn.initialization.INITIALIZATIONS", dict(INITIALIZATIONS))

    @initialization("constant")
    def constant(draw, k, d, r, scale):  # type: ignore[no-untyped-def]
        return np.full((k, d), scale), np.full((r, k), scale)

    assert (draw_students("constant", [0, 1], 2, 3, 1, 0.5).W == 0.5).all()


def test_draws_do_not_touch_global_random_state() -> None:
    np.random.seed(0)  # noqa: NPY002  # the global state is what is watched here
    torch.manual_seed(0)
    before = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    draw_students("theorem", range(3), 2, 5, 1, 1.0)
    assert np.array_equal(np.random.get_state()[1], before[0])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[1])


def test_streams_of_one_seed_are_independent() -> None:
    draws = [stream(7, purpose).standard_normal(4) for purpose in ("weights", "data", "target")]
    assert not np.isclose(draws[0], draws[1]).any()
    assert not np.isclose(draws[1], draws[2]).any()
    assert np.array_equal(stream(7, "data").standard_normal(4), draws[1])
