"""Initialisations: their laws, their signs, their seeds."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from reludyn.dynamics.order_parameters import hidden_norms, output_norms, saddle_ratio
from reludyn.network.initialization import INITIALIZATIONS, Draw, initialization
from reludyn.network.teacher import random_teacher
from reludyn.numerics.random import stream
from reludyn.risk import PopulationRisk
from reludyn.system.errors import ConfigError
from tests.support.parts import drawn

OTHERS: dict[str, dict[str, float]] = {name: {} for name in INITIALIZATIONS}
OTHERS["dominated"] = {"ratio": 3.0}
SEEDED = sorted(set(INITIALIZATIONS) - {"explicit", "near_saddle"})  # any k, r; scaled


def four_standard_errors(values: np.ndarray, mean: float) -> bool:
    return abs(values.mean() - mean) <= 4 * values.std() / math.sqrt(values.size)


@pytest.mark.parametrize(("k", "d", "r"), [(2, 100, 1), (6, 20, 3)])
def test_xavier_normal_has_its_variances(k: int, d: int, r: int) -> None:
    W, V = (x.numpy() for x in drawn("xavier_normal", range(4000), k, d, r, 0.1))
    for layer, variance in ((W, 0.01 * 2 / (d + k)), (V, 0.01 * 2 / (k + r))):
        assert four_standard_errors(layer, 0.0)
        assert four_standard_errors(layer**2, variance)
        assert four_standard_errors(layer**4, 3 * variance**2)


@pytest.mark.parametrize("r", [1, 3])
def test_theorem_has_the_laws_of_theorem_2(r: int) -> None:
    d, sigma = 10, 0.5
    W, V = (x.numpy() for x in drawn("theorem", range(4000), 2, d, r, sigma))
    assert four_standard_errors(W**2, sigma**2 / d)
    length = np.linalg.norm(V, axis=1)  # sigma / sqrt(d) chi_d
    assert four_standard_errors(length**2, sigma**2)
    assert four_standard_errors(length**4, sigma**4 * (d + 2) / d)
    chi = math.sqrt(2) * math.gamma((d + 1) / 2) / math.gamma(d / 2)
    assert four_standard_errors(length, sigma / math.sqrt(d) * chi)
    assert four_standard_errors(np.sign(V), 0.0)
    assert four_standard_errors((V[:, 0] / length) ** 2, 1 / r) or r == 1


def test_sign_patterns_keep_the_magnitudes() -> None:
    patterns = ("random", "alternating", "same")
    V = {s: drawn("xavier_normal", range(50), 5, 4, 1, 1.0, s).V for s in patterns}
    assert (V["same"] > 0).all()
    assert torch.equal(V["alternating"].sign(), torch.tensor([[[1.0, -1, 1, -1, 1]]] * 50))
    assert 0.3 < (V["random"] > 0).double().mean() < 0.7
    assert all(torch.equal(v.abs(), V["same"]) for v in V.values())


def test_sign_patterns_need_a_scalar_output() -> None:
    with pytest.raises(ConfigError, match=r"init.signs=same: must be random"):
        drawn("xavier_normal", [0], 4, 5, 2, 1.0, "same")


@pytest.mark.parametrize("name", SEEDED)
def test_a_replica_is_its_seed_bit_for_bit(name: str) -> None:
    batch = drawn(name, range(10, 16), 3, 7, 2, 1e-4, **OTHERS[name])
    for j, seed in enumerate(range(10, 16)):
        alone = drawn(name, [seed], 3, 7, 2, 1e-4, **OTHERS[name])
        assert torch.equal(batch.W[j], alone.W[0])
        assert torch.equal(batch.V[j], alone.V[0])
    assert len({float(x) for x in batch.W[:, 0, 0]}) == 6


@pytest.mark.parametrize("name", SEEDED)
def test_scale_is_linear(name: str) -> None:
    small, large = (drawn(name, [1], 3, 7, 1, s, **OTHERS[name]) for s in (1e-8, 1.0))
    torch.testing.assert_close(small.W * 1e8, large.W, rtol=1e-14, atol=0)
    torch.testing.assert_close(small.V * 1e8, large.V, rtol=1e-14, atol=0)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"init.name=glorot: must be one of balanced, dominated"):
        drawn("glorot", [0], 1, 1, 1, 1.0)


def test_a_new_initialisation_takes_five_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reludyn.network.initialization.INITIALIZATIONS", dict(INITIALIZATIONS))

    @initialization("constant")
    def constant(draw: Draw) -> tuple[np.ndarray, np.ndarray]:
        return np.ones((draw.k, draw.d)), np.ones((draw.r, draw.k))

    assert (drawn("constant", [0, 1], 2, 3, 1, 0.5).W == 0.5).all()


@pytest.mark.parametrize("r", [1, 3])
def test_unit_outputs_have_length_one(r: int) -> None:
    W, V = (x.numpy() for x in drawn("unit_output", range(4000), 4, 9, r, 0.1, output_scale=1.0))
    np.testing.assert_allclose(np.linalg.norm(V, axis=1), 1, rtol=1e-14)
    assert four_standard_errors(V, 0.0)
    assert four_standard_errors(W, 0.0)
    assert four_standard_errors(W**2, 0.01 / 9)


def test_he_normal_has_its_variances() -> None:
    W, V = (x.numpy() for x in drawn("he_normal", range(4000), 5, 12, 3, 0.1))
    for layer, variance in ((W, 0.01 * 2 / 12), (V, 0.01 * 2 / 5)):
        assert four_standard_errors(layer, 0.0)
        assert four_standard_errors(layer**2, variance)
        assert four_standard_errors(layer**4, 3 * variance**2)


@pytest.mark.parametrize(("k", "d", "r"), [(3, 7, 2), (9, 4, 2), (2, 4, 4)])
def test_orthogonal_layers_are_semi_orthogonal_and_uniform(k: int, d: int, r: int) -> None:
    students = drawn("orthogonal", range(3000), k, d, r, 2.0)
    for layer in students:
        rows, columns = layer.shape[1:]
        gram = layer @ layer.mT if rows <= columns else layer.mT @ layer
        identity = 4 * torch.eye(min(rows, columns)).double().expand_as(gram)
        torch.testing.assert_close(gram, identity, rtol=0, atol=1e-13)
        assert four_standard_errors(layer.numpy()[:, 0, 0], 0.0)
        assert four_standard_errors(layer.numpy()[:, 0, -1] ** 2, 4 / max(rows, columns))


@pytest.mark.parametrize(("name", "ratio"), [("balanced", 1.0), ("dominated", 3.0)])
@pytest.mark.parametrize("r", [1, 3])
def test_output_weights_have_their_ratio_to_hidden_ones(name: str, ratio: float, r: int) -> None:
    students = drawn(name, range(2000), 4, 9, r, 0.3, **OTHERS[name])
    hidden, output = hidden_norms(students), output_norms(students)
    torch.testing.assert_close(output, ratio * hidden, rtol=1e-14, atol=0)
    assert four_standard_errors(students.W.numpy() ** 2, 0.09 / 9)
    assert four_standard_errors(students.V.numpy(), 0.0)


def test_explicit_weights_are_taken_as_given(tmp_path: Path) -> None:
    W, V = [[1.5, 0.1], [1.5, -0.1]], [[1.0, -1.0]]
    given = drawn("explicit", [0, 1], 2, 5, 1, 2.0, W=W, V=V, path=None)
    assert given.W.tolist() == [[[3.0, 0.2, 0, 0, 0], [3.0, -0.2, 0, 0, 0]]] * 2
    assert given.V.tolist() == [[[2.0, -2.0]]] * 2
    np.savez(tmp_path / "w.npz", W=given.W[0], V=given.V[0])
    path = str(tmp_path / "w.npz")
    read = drawn("explicit", [0], 2, 5, 1, 1.0, W=None, V=None, path=path)
    assert torch.equal(read.W[0], given.W[0])
    assert torch.equal(read.V[0], given.V[0])


@pytest.mark.parametrize(
    ("W", "V", "message"),
    [
        (None, [[1, 1]], r"init.W=.*: must be 2 rows of at most 3 numbers"),
        ([[1, 2], [3]], [[1, 1]], r"init.W=.*: must be 2 rows of at most 3 numbers"),
        ([[1], [2], [3]], [[1, 1]], r"init.W=.*: must be 2 rows of at most 3 numbers"),
        ([[1, 2, 3, 4]] * 2, [[1, 1]], r"init.W=.*: must be 2 rows of at most 3 numbers"),
        ([["a"], ["b"]], [[1, 1]], r"init.W=.*: must be 2 rows of at most 3 numbers"),
        ([[1], [2]], [[1]], r"init.V=\[\[1\]\]: must be 1 rows of 2 numbers"),
        ([[1], [float("nan")]], [[1, 1]], r"init.W=.*: must be finite numbers"),
    ],
)
def test_explicit_weights_of_a_wrong_shape_are_refused(W, V, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError, match=message):
        drawn("explicit", [0], 2, 3, 1, 1.0, W=W, V=V, path=None)


@pytest.mark.parametrize("content", [b"", b"not an archive", None])
def test_a_file_that_holds_no_weights_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "w.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"init.path=.*(cannot be read|there is no such file)"):
        drawn("explicit", [0], 2, 3, 1, 1.0, W=None, V=None, path=str(path))


def test_a_file_with_other_arrays_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", W=np.ones((2, 3)))
    with pytest.raises(ConfigError, match=r"init.path=.*: must be .* with the arrays W .* and V"):
        drawn("explicit", [0], 2, 3, 1, 1.0, W=None, V=None, path=str(tmp_path / "w.npz"))


def test_a_file_with_pickled_objects_is_not_loaded(tmp_path: Path) -> None:
    objects = np.array([[print, print]], dtype=object)
    np.savez(tmp_path / "w.npz", W=objects, V=objects)
    with pytest.raises(ConfigError, match=r"init.path"):
        drawn("explicit", [0], 2, 3, 1, 1.0, W=None, V=None, path=str(tmp_path / "w.npz"))


@pytest.mark.parametrize("c", [0.5, 2.0, -1.5, -3.0])
def test_near_saddle_is_at_its_distance_from_the_saddle(c: float) -> None:
    teacher = random_teacher(1, 6, 2.5)
    settings = {"teacher": teacher, "c": c}
    at = drawn("near_saddle", [0], 2, 6, 1, 1.0, **settings, distance=0.0)
    gradient = PopulationRisk(teacher.A).evaluate(at).gradient
    assert max(float(g.abs().max()) for g in gradient) < 1e-14
    assert float(saddle_ratio(at, teacher.A)) == pytest.approx(c)
    near = drawn("near_saddle", range(5), 2, 6, 1, 1.0, **settings, distance=0.1)
    offset = [a - b for a, b in zip(near, at, strict=True)]
    length = (offset[0].square().sum((1, 2)) + offset[1].square().sum((1, 2))).sqrt()
    torch.testing.assert_close(length, torch.full((5,), 0.1 * 2.5**0.5).double())


@pytest.mark.parametrize("signs", ["random", "alternating", "same"])
def test_given_signs_are_kept_or_the_pattern_is_refused(signs: str) -> None:
    given = {"W": [[1.0], [2.0], [3.0]], "path": None}
    for V in ([[1.0, -1.0, 2.0]], [[1.0, 0.0, 2.0]], [[-1.0, 1.0, -2.0]], [[1.0, 1.0, 2.0]]):
        pattern = {"random": V[0], "alternating": [1, -1, 1], "same": [1, 1, 1]}[signs]
        if all(v * s >= 0 for v, s in zip(V[0], pattern, strict=True)):
            student = drawn("explicit", [0], 3, 1, 1, 1.0, signs, **given, V=V)
            assert student.V.tolist() == [V]
        else:
            with pytest.raises(ConfigError, match=f"init.signs={signs}: init=explicit prescribes"):
                drawn("explicit", [0], 3, 1, 1, 1.0, signs, **given, V=V)


def test_near_saddle_needs_a_saddle() -> None:
    with pytest.raises(ConfigError, match=r"init.c=-0.5: must be > 0 or < -1"):
        drawn("near_saddle", [0], 2, 6, 1, 1.0, c=-0.5, distance=0.1)
    with pytest.raises(ConfigError, match=r"init=near_saddle: needs data.outputs=1"):
        drawn("near_saddle", [0], 3, 6, 1, 1.0, c=0.5, distance=0.1)


def test_scales_may_differ_between_layers_and_along_the_batch() -> None:
    plain = drawn("theorem", range(5), 2, 6, 1, 1.0)
    layers = drawn("theorem", range(5), 2, 6, 1, 1e-3, output_scale=0.5)
    torch.testing.assert_close(layers.W, 1e-3 * plain.W)
    torch.testing.assert_close(layers.V, 0.5 * plain.V)
    swept = drawn("theorem", range(5), 2, 6, 1, 1e-8, scale_to=1.0)
    scales = torch.tensor([1e-8, 1e-6, 1e-4, 1e-2, 1.0]).double().view(5, 1, 1)
    torch.testing.assert_close(swept.W, scales * plain.W)
    torch.testing.assert_close(swept.V, scales * plain.V)


def test_draws_do_not_touch_global_random_state() -> None:
    np.random.seed(0)  # noqa: NPY002  # the global state is what is watched here
    torch.manual_seed(0)
    before = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    drawn("theorem", range(3), 2, 5, 1, 1.0)
    assert np.array_equal(np.random.get_state()[1], before[0])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[1])


def test_streams_of_one_seed_are_independent() -> None:
    draws = [stream(7, purpose).standard_normal(4) for purpose in ("weights", "data", "target")]
    assert not np.isclose(draws[0], draws[1]).any()
    assert not np.isclose(draws[1], draws[2]).any()
    assert np.array_equal(stream(7, "data").standard_normal(4), draws[1])
