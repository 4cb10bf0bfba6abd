"""Samples and matrices from files: every format as written, everything else refused in one line."""

from __future__ import annotations

import io
import re
import struct
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
import torch
from conftest import Finished, refused
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch

from reludyn.arrays import read_matrix
from reludyn.data.files import read_samples
from reludyn.errors import ConfigError

Command = Callable[..., Finished]
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


# --- What is refused --------------------------------------------------------------------------


def with_hole(value: float) -> np.ndarray:
    broken = X.copy()
    broken[7, 2] = broken[9, 0] = value
    return broken


@pytest.mark.parametrize("suffix", NAMED)
@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"X": X}, "must hold X, and Y or A; it has X"),
        ({"Y": Y, "A": A}, "must hold X, and Y or A; it has A, Y"),
        ({"X": X, "Y": Y, "weights": A}, "holds X, Y and A; it has weights"),
        ({"X": X, "Y": Y[:5]}, "X has 12 rows, Y has 5"),
        ({"X": X, "A": A[:, :3]}, "X has 4 columns, A has 3"),
        ({"X": X, "Y": Y, "A": A[:1]}, "Y has 2 outputs, A has 1"),
        ({"X": X[0], "Y": Y}, r"X must be a matrix, its shape is (4,)"),
        ({"X": X[None], "Y": Y}, r"X must be a matrix, its shape is (1, 12, 4)"),
        ({"X": X[:0], "Y": Y[:0]}, r"X must be a matrix, its shape is (0, 4)"),
        ({"X": X > 0, "Y": Y}, "X must be real numbers, not bool"),
        ({"X": with_hole(np.nan), "Y": Y}, "2 numbers are not, the first in row 7, column 2"),
        ({"X": X, "Y": with_hole(np.inf)}, "Y must be finite; 2 numbers are not"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    tmp_path: Path, suffix: str, arrays: dict[str, np.ndarray], reason: str
) -> None:
    path = tmp_path / f"data{suffix}"
    NAMED[suffix](path, **arrays)
    assert reason in refusal(path)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (X + 1j, "must be real numbers, not complex128"),
        (X.astype(str), "must be real numbers, not <U"),
        (np.array([[object()] * 3] * 3), "cannot be read"),
        (np.zeros((3, 2), dtype=[("a", float), ("b", object)]), "cannot be read"),
        (X[:, :1], "its 1 columns leave no inputs"),
        (X[0], "must be a matrix"),
    ],
)
def test_tables_that_are_no_samples_are_refused(
    tmp_path: Path, array: np.ndarray, reason: str
) -> None:
    np.save(tmp_path / "data.npy", array, allow_pickle=True)
    assert reason in refusal(tmp_path / "data.npy")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "cannot be read: it has no rows"),
        ("a,b\n", "cannot be read: it has no rows"),
        ("1,2\n3\n", "cannot be read: line 2 has 1 cells, not 2"),
        ("a,b\n\n1,2\n1,x\n", "cannot be read: line 4: 'x' is no number"),
        ("a,b,c\n1,2\n", "cannot be read: line 2 has 2 cells, not 3"),
        ("1,2,x\n3,4,5\n", "cannot be read: line 1: 'x' is no number"),
        ("1,,3\n4,5,6\n", "cannot be read: line 1: '' is no number"),
        (",a,y\n0,1,2\n", r"line 1: column 0 \(counted from 0\) has no name"),
        ("1,nan\n", "must be finite"),
    ],
)
def test_csv_files_that_are_no_tables_are_refused(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "data.csv").write_text(text)
    assert re.search(reason, refusal(tmp_path / "data.csv"))


def test_more_outputs_than_memory_holds_are_refused(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("1,2\n")
    assert "its 2 columns leave no inputs" in refusal(tmp_path / "data.csv", 10**15)
    (tmp_path / "data.csv").write_text("y,y2\n1,2\n")
    assert "its 2 columns leave no inputs" in refusal(tmp_path / "data.csv")


def test_a_parquet_file_of_words_or_gaps_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    parquet.write_table(pyarrow.table({"a": ["x", "z"], "y": [1.0, 2.0]}), path)
    assert "the columns a are not numbers" in refusal(path)
    parquet.write_table(pyarrow.table({"a": [1.0, None], "y": [1.0, 2.0]}), path)
    assert "must be finite; 1 numbers are not, the first in row 1, column 0" in refusal(path)


def test_files_that_are_not_there_are_refused(tmp_path: Path) -> None:
    assert "there is no such file" in refusal(tmp_path / "none.npz")
    (tmp_path / "folder.npz").mkdir()
    assert "is a folder, not a file" in refusal(tmp_path / "folder.npz")
    assert "cannot be read: " in refusal(tmp_path / f"{'x' * 300}.npz")
    assert "must end in one of .npz, .npy, .csv" in refusal(tmp_path / "data.pt")


def test_nothing_of_a_pickle_is_executed(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "harm",)

    table = np.array([[Bomb(), 1.0]] * 2, dtype=object)
    np.save(tmp_path / "data.npy", table, allow_pickle=True)
    np.savez(tmp_path / "data.npz", X=table, Y=table)
    for name in ("data.npy", "data.npz"):
        assert "cannot be read" in refusal(tmp_path / name)
    assert not (tmp_path / "harm").exists()


def test_a_header_that_claims_more_than_there_is_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.npy"
    np.save(path, np.zeros((3, 4)))
    claim = path.read_bytes().replace(b"(3, 4)", b"(300000000, 400000)".ljust(6))
    path.write_bytes(claim)
    assert "cannot be read" in refusal(path)


def test_half_precision_of_torch_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.safetensors"
    save_torch({"X": torch.zeros(3, 2, dtype=torch.bfloat16), "Y": torch.zeros(3)}, path)
    assert "such as bfloat16; store float32" in refusal(path)


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def header(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + bytes(96)


@pytest.mark.parametrize(
    "text",
    [
        "{'descr': '<f8',",
        "  a\n b\n",
        "'''",
        "-" * 5000 + "1",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999999999999, 3)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (300000000, 3)}",
        "{'descr': '|S0', 'fortran_order': False, 'shape': (300000000, 9)}",
    ],
)
def test_headers_that_are_no_headers_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "data.npy").write_bytes(header(text))
    with zipfile.ZipFile(tmp_path / "data.npz", "w") as archive:
        archive.writestr("X.npy", header(text))
    for name in ("data.npy", "data.npz"):
        said = refusal(tmp_path / name)
        assert "cannot be read: " in said
        assert "llocate" not in said


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv", ".parquet", ".safetensors"])
def test_a_file_that_memory_does_not_hold_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    """Deflated zeros, or the same page of a table again and again, are small on disk."""
    path = tmp_path / f"data{suffix}"
    if suffix == ".npz":
        np.savez_compressed(path, X=np.zeros((1000, 1000)), Y=np.zeros((1000, 1)))
        assert path.stat().st_size < 10**5
    elif suffix in NAMED:
        NAMED[suffix](path, X=np.zeros((1000, 1000)), Y=np.zeros((1000, 1)))
    else:
        TABLES[suffix](path, np.zeros((1000, 500)), [f"x{i}" for i in range(500)])
    monkeypatch.setattr("reludyn.arrays.physical_memory", lambda: 10**6)
    assert "cannot be read: it holds 0.0 GiB, for a machine of 0.0" in refusal(path)
    monkeypatch.setattr("reludyn.arrays.physical_memory", lambda: 10**9)
    assert len(read_samples(str(path), None)[0]) == 1000


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("members", "reason"),
    [
        (["X", "Y"], "cannot be read"),
        (["X.npy", "X", "Y.npy"], "cannot be read: two arrays are called X"),
        (["X.npy", "X.npy", "Y.npy"], "cannot be read: two arrays are called X"),
        ([".npy"], "cannot be read: an array has no name"),
        (["X.npy", "a\nb.npy"], "holds X, Y and A; it has a b"),
    ],
)
def test_archives_of_something_else_are_refused(
    tmp_path: Path, members: list[str], reason: str
) -> None:
    with zipfile.ZipFile(tmp_path / "data.npz", "w") as archive:
        for name in members:
            archive.writestr(name, b"text" if members == ["X", "Y"] else npy(X))
    assert reason in refusal(tmp_path / "data.npz")


def test_an_array_without_a_name_is_no_table(tmp_path: Path) -> None:
    save_file({"": X}, tmp_path / "data.safetensors")
    assert "an array has no name" in refusal(tmp_path / "data.safetensors")


def test_a_format_under_the_suffix_of_another_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data.npz").write_bytes(npy(X))
    assert "not a zip file" in refusal(tmp_path / "data.npz")
    np.savez(tmp_path / "true.npz", X=X, Y=Y)
    (tmp_path / "true.npz").rename(tmp_path / "data.npy")
    assert "the magic string is not correct" in refusal(tmp_path / "data.npy")


@pytest.mark.parametrize(
    ("suffix", "module"), [(".parquet", "pyarrow"), (".safetensors", "safetensors")]
)
def test_a_missing_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, module: str
) -> None:
    (tmp_path / f"data{suffix}").write_bytes(b"x")
    for name in (module, f"{module}.numpy", f"{module}.parquet"):
        monkeypatch.setitem(sys.modules, name, None)
    assert "Install it: pip install 'reludyn[files]'" in refusal(tmp_path / f"data{suffix}")


@given(
    content=st.binary(max_size=300), suffix=st.sampled_from([*NAMED, *TABLES]), npy=st.booleans()
)
@settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_bytes_are_read_or_refused(
    tmp_path: Path, content: bytes, suffix: str, npy: bool
) -> None:
    magic = {
        ".npy": b"\x93NUMPY\x01\x00",
        ".npz": b"PK\x03\x04",
        ".parquet": b"PAR1",
        ".csv": b"1,2\n",
    }
    path = tmp_path / f"data{suffix}"
    path.write_bytes((magic.get(suffix, b"") if npy else b"") + content)
    try:
        inputs, _, _ = read_samples(str(path), None)
    except ConfigError:
        return
    assert np.isfinite(inputs).all()


def written(suffix: str) -> bytes:
    """A small file of samples; .lzma, .deflate: archives of that compression."""
    if suffix in (".lzma", ".deflate"):
        file = io.BytesIO()
        method = zipfile.ZIP_LZMA if suffix == ".lzma" else zipfile.ZIP_DEFLATED
        with zipfile.ZipFile(file, "w", method) as archive:
            for name in ("X.npy", "Y.npy"):
                archive.writestr(name, npy(X))
        return file.getvalue()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"data{suffix}"
        if suffix in NAMED:
            NAMED[suffix](path, X=X, Y=Y)
        else:
            TABLES[suffix](path, X, ["a", "b", "c", "y"])
        return path.read_bytes()


WHOLE = {suffix: written(suffix) for suffix in (*NAMED, *TABLES, ".lzma", ".deflate")}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("suffix", WHOLE)
@given(data=st.data())
@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_damaged_files_are_read_or_refused(
    tmp_path: Path, suffix: str, data: st.DataObject
) -> None:
    """A few bytes replaced, the end perhaps cut off."""
    content = bytearray(WHOLE[suffix])
    place = st.integers(0, len(content) - 1)
    for i in data.draw(st.lists(place, min_size=1, max_size=5)):
        content[i] = data.draw(st.integers(0, 255))
    path = tmp_path / f"data{'.npz' if suffix in ('.lzma', '.deflate') else suffix}"
    path.write_bytes(content[: data.draw(st.just(len(content)) | place)])
    try:
        inputs, _, _ = read_samples(str(path), None)
    except ConfigError:
        return
    assert np.isfinite(inputs).all()


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
