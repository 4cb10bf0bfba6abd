"""Files of samples that are no samples, damaged, or of any bytes: one line each."""

from __future__ import annotations

import io
import re
import struct
import sys
import tempfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch

from reludyn.system.errors import ConfigError
from tests.support.commands import QUICK, Command, refused
from tests.support.tables import NAMED, TABLES, A, X, Y, npy, read, refusal


def with_hole(value: float) -> np.ndarray:
    broken = X.copy()
    broken[7, 2] = broken[9, 0] = value
    return broken


@pytest.mark.parametrize("size", [1e-200, 1e-101, 1e101, 1e200])
def test_targets_of_sizes_whose_squares_get_lost_are_refused(
    reludyn: Command, tmp_path: Path, size: float
) -> None:
    """By the range that data.target_norm has, wherever the target comes from."""
    allowed = f"must have a size from 1e-100 to 1e+100, not {size:.3g}. Use other units"
    np.savez(tmp_path / "labels.npz", X=X, Y=size * np.sign(X[:, :1]))
    np.savez(tmp_path / "target.npz", A=size * np.eye(1, 4))
    labels = reludyn("data=file", "data.path=labels.npz", *QUICK)
    assert re.search(r"^data.path=.*labels.npz: the (target A|labels Y) must have", refused(labels))
    line = refused(reludyn("data.target=file", "data.target_path=target.npz", "data.dim=4", *QUICK))
    assert f"target.npz: the target A {allowed}" in line


def test_a_factor_that_makes_the_target_infinite_is_refused(
    reludyn: Command, tmp_path: Path
) -> None:
    np.savez(tmp_path / "target.npz", A=1e300 * np.eye(1, 4))
    found = reludyn(
        "data.target=file",
        "data.target_path=target.npz",
        "data.dim=4",
        "data.target_norm=1e100",
        *QUICK,
    )
    assert "must have a size from 1e-100 to 1e+100, not inf" in refused(found)


@pytest.mark.parametrize("suffix", NAMED)
@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"X": X}, "must hold X, and Y or A; it has X"),
        ({"Y": Y, "A": A}, "must hold X, and Y or A; it has A, Y"),
        ({"X": X, "Y": Y, "weights": A}, "must hold only X, and Y or A; it has weights"),
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
        ("a,,y\n0,1,2\n", r"line 1: column 1 \(counted from 0\) has no name"),
        (",1.5,2\n0,1,2\n", "line 1: '' is no number"),
        ("a b y\n1 2 3\n", "line 2: '1 2 3' is no number; commas, semicolons or tabs"),
        ("a|y\n1|2\n", "line 2: '1|2' is no number; commas, semicolons or tabs stand between"),
        ("a;b;y\n1,5;2.5;3\n", "it has decimal commas and decimal points"),
        ("a;b;y\n1.234,5;2;3\n", "line 2: '1.234,5' is no number"),
        ('a,y\n"1,5",2\n', "line 2: '1,5' is no number"),
        ("a,y\n1,2,\n", "line 2 has 3 cells, not 2"),
        ("a,y\n1,NA\n", "line 2: 'NA' is no number"),
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
    monkeypatch.setattr("reludyn.system.arrays.physical_memory", lambda: 10**6)
    assert "cannot be read: it holds 0.0 GiB, for a machine of 0.0" in refusal(path)
    monkeypatch.setattr("reludyn.system.arrays.physical_memory", lambda: 10**9)
    assert len(read(path, None if suffix in NAMED else 1).X) == 1000


def zeros(path: Path, dtype: str) -> None:
    """A small file that holds much."""
    np.savez_compressed(path, X=np.zeros((5 * 10**6, 9), dtype), Y=np.zeros((5 * 10**6, 1), dtype))


def words(path: Path) -> None:
    """A table whose dictionary has one long word."""
    entry = pyarrow.array(np.zeros(10**6, np.int32))
    column = pyarrow.DictionaryArray.from_arrays(entry, ["x" * 9999])
    parquet.write_table(pyarrow.table({"a": column, "y": np.zeros(10**6)}), path)


@pytest.mark.parametrize(
    ("name", "write", "said"),
    [
        ("float.npz", lambda path: zeros(path, "f8"), "more than 128 times its size; save it with"),
        ("byte.npz", lambda path: zeros(path, "u1"), "it holds 381 MiB, more than 128 times"),
        ("words.parquet", words, "the columns a are not numbers"),
        (
            "same.parquet",
            lambda path: parquet.write_table(
                pyarrow.table({"a": np.zeros(10**7), "y": np.zeros(10**7)}), path
            ),
            "it holds 153 MiB",
        ),
        ("line.csv", lambda path: path.write_text("1," * 10**5 + "1\n"), None),
        ("names.csv", lambda path: path.write_text("a," * 10**5 + "y\n1\n"), "1 cells, not 100001"),
        ("rows.csv", lambda path: path.write_text("1,2,3\n" * 10**5), None),
        ("quote.csv", lambda path: path.write_text('"' * 10**6), "cannot be read"),
    ],
)
def test_no_file_costs_much_more_memory_than_it_has_bytes(
    tmp_path: Path, name: str, write: Callable[[Path], object], said: str | None
) -> None:
    """At most what docs/limits.md says: 400 times as much, or 200 MiB."""
    path = tmp_path / name
    write(path)
    before = pyarrow.total_allocated_bytes()
    tracemalloc.start()
    try:
        if said is None:
            read(path, 1)
        else:
            assert said in refusal(path, 1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak + pyarrow.total_allocated_bytes() - before < 400 * path.stat().st_size
    if said is not None:  # nothing was read
        assert peak < 10 * 2**20 or path.suffix == ".csv"


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("members", "reason"),
    [
        (["X", "Y"], "cannot be read"),
        (["X.npy", "X", "Y.npy"], "cannot be read: two arrays are called X"),
        (["X.npy", "X.npy", "Y.npy"], "cannot be read: two arrays are called X"),
        ([".npy"], "cannot be read: an array has no name"),
        (["X.npy", "a\nb.npy"], "must hold only X, and Y or A; it has a b"),
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
        inputs, *_ = read(path, None)
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
        inputs, *_ = read(path, None)
    except ConfigError:
        return
    assert np.isfinite(inputs).all()
