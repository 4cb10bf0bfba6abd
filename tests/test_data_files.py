"""Samples and matrices from files: every format as it was written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from conftest import Command, refused
from pyarrow import parquet
from safetensors.numpy import save_file

from reludyn.arrays import read_matrix
from reludyn.data.files import read_samples
from reludyn.errors import ConfigError

RNG = np.random.default_rng(0)
X, A = RNG.standard_normal((12, 4)), RNG.standard_normal((2, 4))
Y = X @ A.T + 0.1
NAMED = {
    ".npz": lambda path, **arrays: np.savez(path, **arrays),
    ".safetensors": lambda path, **arrays: save_file(
        {name: np.ascontiguousarray(a) for name, a in arrays.items()}, path
    ),
}
TABLES = {
    ".npy": lambda path, table, _: np.save(path, table),
    ".csv": lambda path, table, names: np.savetxt(
        path, table, delimiter=",", header=",".join(names), comments="", fmt="%.17g"
    ),
    ".parquet": lambda path, table, names: parquet.write_table(
        pyarrow.table([pyarrow.array(c) for c in table.T], names=names), path
    ),
}


def refusal(path: Path, outputs: int | None = None) -> str:
    """The message for a file of samples; it names the key and the file."""
    with pytest.raises(ConfigError) as error:
        read_samples(str(path), outputs)
    assert error.value.key in ("data.path", "data.outputs")
    assert path.name in str(error.value)
    assert "\n" not in str(error.value)
    return str(error.value)


# --- What is written is read ------------------------------------------------------------------


@pytest.mark.parametrize("suffix", NAMED)
@pytest.mark.parametrize("names", ["XY", "XA", "XYA"])
def test_named_arrays_are_read_exactly(tmp_path: Path, suffix: str, names: str) -> None:
    arrays = {"X": X, "Y": Y, "A": A}
    path = tmp_path / f"data{suffix}"
    NAMED[suffix](path, **{name: arrays[name] for name in names})
    found = dict(zip("XYA", read_samples(str(path), None), strict=True))
    for name in "XYA":
        assert (found[name] is None) == (name not in names)
        if name in names:
            np.testing.assert_array_equal(found[name], arrays[name])
            assert found[name].dtype == np.float64
    np.testing.assert_array_equal(read_samples(str(path), 2)[0], X)


@pytest.mark.parametrize("suffix", NAMED)
def test_one_output_may_have_one_axis(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"data{suffix}"
    NAMED[suffix](path, X=X, Y=Y[:, 0], A=A[0])
    _, labels, matrix = read_samples(str(path), 1)
    np.testing.assert_array_equal(labels, Y[:, :1])
    np.testing.assert_array_equal(matrix, A[:1])


@pytest.mark.parametrize("suffix", TABLES)
@pytest.mark.parametrize("outputs", [None, 1, 2])
def test_the_last_columns_of_a_table_are_the_outputs(
    tmp_path: Path, suffix: str, outputs: int | None
) -> None:
    path, r = tmp_path / f"data{suffix}", outputs or 1
    TABLES[suffix](path, np.hstack([X, Y[:, :r]]), [*"abcdefgh"[: 4 + r]])
    inputs, labels, matrix = read_samples(str(path), outputs)
    np.testing.assert_array_equal(inputs, X)
    np.testing.assert_array_equal(labels, Y[:, :r])
    assert matrix is None


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("labels", [["y", "Y2"], ["y_1", "y_2"]])
def test_columns_named_y_are_the_outputs(tmp_path: Path, suffix: str, labels: list[str]) -> None:
    path = tmp_path / f"data{suffix}"
    table = np.column_stack([X[:, :2], Y[:, 0], X[:, 2], Y[:, 1], X[:, 3]])
    TABLES[suffix](path, table, ["age", "year", labels[0], "x", labels[1], "yes"])
    for outputs in (None, 2):
        inputs, found, _ = read_samples(str(path), outputs)
        np.testing.assert_array_equal(inputs, X)
        np.testing.assert_array_equal(found, Y)
    assert "data.outputs=1: must be null or 2" in refusal(path, 1)


def test_a_csv_may_have_no_header_a_mark_and_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "data.CSV"
    path.write_text("\ufeff1,2,3\n\n4, 5e0 ,6\n", encoding="utf-8")
    inputs, labels, _ = read_samples(str(path), None)
    assert (inputs.tolist(), labels.tolist()) == ([[1, 2], [4, 5]], [[3], [6]])


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int64, np.uint8, ">f8"])
def test_numbers_of_any_width_become_float64(tmp_path: Path, dtype: Any) -> None:
    table = np.arange(12).reshape(4, 3).astype(dtype)
    np.save(tmp_path / "data.npy", table)
    inputs, _, _ = read_samples(str(tmp_path / "data.npy"), None)
    assert inputs.dtype == np.float64
    np.testing.assert_array_equal(inputs, np.arange(12).reshape(4, 3)[:, :2])


@pytest.mark.parametrize("suffix", [*NAMED, *TABLES])
def test_a_matrix_is_read_exactly(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"target{suffix}"
    if suffix in NAMED:
        NAMED[suffix](path, A=A, other=X)
    else:
        TABLES[suffix](path, A, [*"abcd"])
    np.testing.assert_array_equal(read_matrix(str(path), "data.target_path", "A", (2, 4)), A)
    with pytest.raises(ConfigError, match=r"data.target_path=.*A must have the shape \(1, 4\)"):
        read_matrix(str(path), "data.target_path", "A", (1, 4))


def test_a_row_is_a_matrix(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", A[0])
    found = read_matrix(str(tmp_path / "a.npy"), "data.target_path", "A", (1, 4))
    np.testing.assert_array_equal(found, A[:1])


def test_a_file_without_the_matrix_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", B=A, C=A)
    with pytest.raises(ConfigError, match="must hold the array A; it has B, C"):
        read_matrix(str(tmp_path / "a.npz"), "data.target_path", "A", (2, 4))


# --- Through the command ----------------------------------------------------------------------

RUN = ["data=file", "trainer.steps=30", "figures=false", "logger=none", "init.signs=random"]


def test_a_run_on_a_file_equals_the_run_on_the_samples(reludyn: Command, tmp_path: Path) -> None:
    """data=gaussian and a file with the same rows: the same trajectory."""
    from conftest import sampled

    from reludyn.teacher import axis_teacher

    inputs, labels = sampled(axis_teacher(1, 5), 40, [0], noise=0.2)
    np.savez(tmp_path / "samples.npz", X=inputs[0], Y=labels[0], A=np.eye(1, 5))
    common = ["trainer.steps=30", "figures=false", "logger=none", "init.scale=0.3"]
    drawn = reludyn(
        *common, "data=gaussian", "data.dim=5", "data.samples=40", "data.noise=0.2",
        "hydra.run.dir=drawn",
    )  # fmt: skip
    read = reludyn(*common, "data=file", "data.path=samples.npz", "hydra.run.dir=read")
    assert (drawn.code, read.code) == (0, 0)
    runs = [dict(np.load(tmp_path / name / "trajectory.npz")) for name in ("drawn", "read")]
    for name in ("loss", "W", "V", "angle_to_target", "A", "step"):
        np.testing.assert_allclose(runs[1][name], runs[0][name], rtol=1e-12, atol=1e-14)


def test_without_a_the_target_is_that_of_least_squares(reludyn: Command, tmp_path: Path) -> None:
    np.savez(tmp_path / "samples.npz", X=X, Y=Y)
    finished = reludyn(*RUN, "data.path=samples.npz", "replicas=2")
    assert finished.code == 0
    expected, *_ = np.linalg.lstsq(X, Y, rcond=None)
    np.testing.assert_allclose(finished.arrays["A"], expected.T, rtol=1e-10)
    assert finished.arrays["W"].shape[-1] == 4
    assert finished.arrays["V"].shape[-2] == 2


def test_a_run_may_take_the_first_rows(reludyn: Command, tmp_path: Path) -> None:
    np.savez(tmp_path / "all.npz", X=X, A=A)
    np.savez(tmp_path / "few.npz", X=X[:7], A=A)
    few = reludyn(*RUN, "data.path=few.npz", "hydra.run.dir=few")
    first = reludyn(*RUN, "data.path=all.npz", "data.samples=7", "hydra.run.dir=first")
    assert (few.code, first.code) == (0, 0)
    losses = [np.load(tmp_path / name / "trajectory.npz")["loss"] for name in ("few", "first")]
    np.testing.assert_array_equal(*losses)


@pytest.mark.quick(3)
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], "data.path=???: a value is needed"),
        (["data.path=samples.npz", "data.dim=5"], "data.dim=5: must be null or 4"),
        (["data.path=samples.npz", "data.samples=13"], "data.samples=13: must be at most 12"),
        (["data.path=samples.npz", "data.outputs=1"], "data.outputs=1: must be null or 2"),
        (["data.path=zero.npz"], "data.path=zero.npz: the target A must not be zero"),
        (["data.path=samples.npz", "optimizer=sgd"], "optimizer.batch=64: must be at most 12"),
        (["data.path=wide.npz"], "data.outputs=5: must be at most data.dim=4"),
    ],
)
def test_keys_that_do_not_fit_the_file_are_refused(
    reludyn: Command, tmp_path: Path, overrides: list[str], message: str
) -> None:
    np.savez(tmp_path / "samples.npz", X=X, Y=Y)
    np.savez(tmp_path / "zero.npz", X=X, A=0 * A)
    np.savez(tmp_path / "wide.npz", X=X, A=np.ones((5, 4)))
    assert message in refused(reludyn(*RUN, *overrides))


def test_the_target_may_come_from_a_file(reludyn: Command, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", A)
    overrides = ["data.target=file", "data.target_path=a.npy", "data.dim=4", "data.outputs=2"]
    common = ["trainer.steps=5", "figures=false", "logger=none", "init.signs=random"]
    finished = reludyn(*common, *overrides, "data.target_norm=0.5")
    assert finished.code == 0
    np.testing.assert_array_equal(finished.arrays["A"], 0.5 * A)
