"""Generated data files: each is read, or refused in one line."""

from __future__ import annotations

import io
import math
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from reludyn.system.arrays import read_matrix
from reludyn.system.errors import ConfigError
from tests.support.commands import QUICK, run_command
from tests.support.fuzzing import MARKS, cases, ended, one_line, soon
from tests.support.tables import npy, read

pytestmark = MARKS


DTYPES = [
    "f8",
    "f4",
    "f2",
    ">f8",
    "i8",
    "u1",
    "i2",
    "?",
    "c16",
    "S3",
    "U3",
    "M8[s]",
    "m8[s]",
    "O",
    "V5",
    [("a", "f8"), ("b", "i4")],
    [("a", "O")],
    ("f8", (2,)),
    "f8",
    "f8",
    "f8",
]


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray:
    shape = tuple(draw(st.lists(st.integers(0, 6), max_size=4)))
    if draw(st.booleans()):
        shape = (draw(st.integers(1, 8)), draw(st.integers(1, 4)))
    array = np.zeros(shape, dtype=np.dtype(draw(st.sampled_from(DTYPES))))
    if array.dtype.kind == "f" and array.size:
        special = st.floats() | st.sampled_from([1e308, 5e-324, math.nan, math.inf])
        array.flat[draw(st.integers(0, array.size - 1))] = draw(special)
    return np.asfortranarray(array) if draw(st.booleans()) else array


@st.composite
def headers(draw: st.DrawFn) -> bytes:
    """An .npy file whose header says whatever."""
    size = st.integers(-2, 5) | st.sampled_from([10**9, 10**15, 2**63, 2**64, 10**40])
    shape = tuple(draw(st.lists(size, max_size=3)))
    kind = draw(st.sampled_from(["<f8", "|O", "|V1000000000", "<f2", "|S0", "x", "", "<M8"]))
    text = draw(
        st.sampled_from(
            [
                f"{{'descr': {kind!r}, 'fortran_order': False, 'shape': {shape}}}",
                f"{{'descr': {kind!r}, 'fortran_order': 3, 'shape': {shape}, 'more': 1}}",
                f"{{'descr': [('a', {kind!r})], 'fortran_order': True, 'shape': {shape}}}",
                "(" * 3000,
                "[" * 90 + "]" * 90,
                "{'shape': __import__('os').mkdir('harm')}",
                "x" * 60_000,
            ]
        )
    )
    version = draw(st.sampled_from([b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\x09\x00"]))
    length = len(text).to_bytes(2 if version[0] == 1 else 4, "little")
    return b"\x93NUMPY" + version + length + text.encode() + bytes(64)


def archive(members: dict[str, bytes], method: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as into:
        for name, content in members.items():
            into.writestr(name, content)
    return file.getvalue()


member = arrays().map(npy) | headers() | st.binary(max_size=40)
cells = st.one_of(
    st.floats().map(str),
    st.integers().map(str),
    st.text(max_size=6),
    st.sampled_from(["", "nan", "1e400", "0x1", "1_0", '"1"', '"', "x" * 5000, "9" * 5000, "y"]),
)
tables = st.one_of(
    st.lists(st.lists(cells, max_size=5), max_size=6),
    st.integers(1, 4).flatmap(
        lambda n: st.lists(st.lists(st.floats().map(str), min_size=n, max_size=n), max_size=5)
    ),
).map(lambda rows: "\n".join(",".join(row) for row in rows).encode(errors="surrogatepass"))


@st.composite
def data_files(draw: st.DrawFn) -> tuple[str, bytes]:
    """A suffix and a content, perhaps damaged."""
    suffix = draw(st.sampled_from([".npy", ".npz", ".csv", ".parquet", ".safetensors"]))
    if suffix == ".npy":
        content = draw(member)
    elif suffix == ".npz":
        called = st.sampled_from(["X.npy", "Y.npy", "A.npy", "X", "../x.npy", "W.npy", "é.npy"])
        members = draw(st.dictionaries(called, member, max_size=4))
        content = archive(members, draw(st.sampled_from([0, 8, 12, 14])))
    elif suffix == ".csv":
        content = draw(tables)
    else:
        content = draw(st.binary(max_size=80))
        if suffix == ".safetensors":
            text = draw(
                st.sampled_from(
                    [
                        b'{"X":{"dtype":"F64","shape":[1000000000000000,9],"data_offsets":[0,8]}}',
                        b'{"X":{"dtype":"F64","shape":[1,1],"data_offsets":[0,8]}}',
                        b"{}",
                        b"[" * 5000,
                    ]
                )
            )
            content = len(text).to_bytes(8, "little") + text + content
    if content and draw(st.integers(0, 3)) == 0:
        place = draw(st.integers(0, len(content) - 1))
        flipped = bytes([content[place] ^ (1 << draw(st.integers(0, 7)))])
        content = content[:place] + flipped + content[place + 1 :]
        content = content[: draw(st.just(len(content)) | st.integers(0, len(content)))]
    return suffix, content


@given(file=data_files(), outputs=st.sampled_from([None, 1, 1, 2, 10**15]))
@cases(200)
def test_a_data_file_is_read_or_refused_in_one_line(
    file: tuple[str, bytes], outputs: int | None
) -> None:
    suffix, content = file
    with tempfile.TemporaryDirectory() as folder, soon():
        path = Path(folder, f"data{suffix}")
        path.write_bytes(content)
        try:
            inputs, labels, matrix, _ = read(path, outputs)
            for array in (inputs, labels, matrix):
                assert array is None or np.isfinite(array).all()
        except ConfigError as error:
            one_line(error)
        try:
            assert read_matrix(str(path), "init.path", "X", (2, 2)).shape == (2, 2)
        except ConfigError as error:
            one_line(error)
        assert [*Path(folder).iterdir()] == [path]


@given(file=data_files(), few=st.booleans())
@cases(3)
def test_a_run_on_a_data_file_ends_with_its_files_or_in_one_line(
    file: tuple[str, bytes], few: bool
) -> None:
    suffix, content = file
    with tempfile.TemporaryDirectory() as folder, soon():
        Path(folder, f"data{suffix}").write_bytes(content)
        words = ["data=file", f"data.path=data{suffix}", "init.signs=random", "data.samples=1"]
        finished = run_command(Path(folder), *QUICK, *words[: 4 if few else 3])
        ended(finished)
