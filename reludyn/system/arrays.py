"""Arrays and tables from files: checked, and nothing in them is executed.

.npz and .safetensors hold arrays by name; .npy, .csv and .parquet hold one table. Every refusal is
a ConfigError that names the file and what is wrong with it. How much a file holds is known before
it is read; one that holds far more than its own size is refused.
"""

from __future__ import annotations

import csv
import math
import re
import textwrap
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray

from reludyn.system.errors import ConfigError
from reludyn.system.machine import physical_memory

Array = NDArray[np.float64]
Arrays = dict[str, NDArray[Any]]
COPIES = 3  # copies of the content in memory until it is checked
MOST = 128  # times its own size that a file above SMALL bytes may hold
SMALL = 2**26
TABLE = ""  # the name of the only array of a table
_INDEX = re.compile(r"(Unnamed: 0|__index_level_\d+__)?")  # what pandas calls the index of a frame
_WHOLE = re.compile(r"[+-]?\d+", re.ASCII)


class Content(NamedTuple):
    """Content of a file: arrays by name, a table under the name TABLE.

    `names` are the names of its columns, if it has any; `left_out` those of columns that number the
    rows and are left out.
    """

    arrays: Arrays
    names: list[str] | None = None
    left_out: Sequence[str] = ()


def read_matrix(path: str, key: str, name: str, shape: tuple[int, int]) -> Array:
    """Read the array `name` of a file of named arrays, or the whole table, of exactly this shape.

    Returns float64. Raises ConfigError for `key`.
    """
    arrays = read_arrays(path, key).arrays
    array = arrays.get(TABLE, arrays.get(name))
    if array is None:
        raise ConfigError(key, path, f"must hold the array {name}; it has {listed(arrays)}")
    matrix = finite_matrix(np.atleast_2d(array) if array.ndim == 1 else array, name, path, key)
    if matrix.shape != shape:
        raise ConfigError(key, path, f"{name} must have the shape {shape}, it has {matrix.shape}")
    return matrix


def read_arrays(path: str, key: str) -> Content:
    """Read a file of any of these kinds. Raises ConfigError for `key`."""
    suffix = Path(path).suffix.lower()
    if suffix not in _READERS:
        raise ConfigError(key, path, f"must end in one of {', '.join(_READERS)}")
    try:
        if not Path(path).is_file():
            kind = "is a folder, not a file" if Path(path).is_dir() else "there is no such file"
            raise ConfigError(key, path, kind)
        return _READERS[suffix](Path(path))
    except ConfigError:
        raise
    except ImportError as error:
        remedy = "Install it: pip install 'reludyn[files]'"
        raise ConfigError(key, path, f"{suffix} needs {error.name}", remedy) from error
    except Exception as error:  # a broken file makes its parser raise nearly anything
        reason = textwrap.shorten(str(error), 200, placeholder=" ...") or type(error).__name__
        raise ConfigError(key, path, f"cannot be read: {reason}") from error


def check_size(held: int, path: Path) -> None:
    """Raise ValueError, before a file is read, where it would hold too many bytes in memory.

    Too many is more than the machine has, or far more than its own size.
    """
    if (most := physical_memory()) < COPIES * held:
        raise ValueError(f"it holds {held / 2**30:,.1f} GiB, for a machine of {most / 2**30:,.1f}")
    if held > max(SMALL, MOST * path.stat().st_size):
        raise ValueError(
            f"it holds {held / 2**20:,.0f} MiB, more than {MOST} times its size; save it "
            "without compression"
        )


def listed(names: Iterable[str]) -> str:
    """Return names of arrays for a message, in one line."""
    return ", ".join(sorted(" ".join(name.split()) for name in names)) or "nothing"


def read_npz(path: Path, names: Container[str] | None = None) -> Content:
    """Read the arrays of an .npz file: all, or those of `names` that it has.

    Raises ValueError, or whatever its parsers raise for a damaged file.
    """
    arrays: Arrays = {}
    with ZipFile(path) as archive:
        members, held = archive.infolist(), 0
        for member in members:
            with archive.open(member) as file:
                held += max(member.file_size, 8 * _count(file, member.file_size))
        check_size(held, path)
        for member in members:
            name = member.filename.removesuffix(".npy")
            if names is not None and name not in names:
                continue
            if name == TABLE:
                raise ValueError("an array has no name")
            if name in arrays:
                raise ValueError(f"two arrays are called {name}")
            with archive.open(member) as file:
                arrays[name] = np.lib.format.read_array(file, allow_pickle=False)
    return Content(arrays)


def _read_safetensors(path: Path) -> Content:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    foreign = "its numbers are of a type that NumPy lacks, such as bfloat16; store float32"
    try:
        check_size(path.stat().st_size, path)
        arrays = load_file(path)
    except SafetensorError as error:
        raise ValueError(str(error)) from error
    except (TypeError, AttributeError) as error:
        raise ValueError(foreign) from error
    if any(array.dtype.isbuiltin != 1 for array in arrays.values()):  # JAX registers such types
        raise ValueError(foreign)
    if TABLE in arrays:
        raise ValueError("an array has no name")
    return Content(arrays)


def _read_npy(path: Path) -> Content:
    check_size(path.stat().st_size, path)
    with path.open("rb") as file:
        _count(file, path.stat().st_size)
    return Content({TABLE: np.array(np.lib.format.open_memmap(path, mode="r"))})


def _count(file: IO[bytes], size: int) -> int:
    """Return how many numbers an .npy file of `size` bytes holds.

    Raises ValueError where its header claims more: NumPy would allocate memory for them.
    """
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"its format {version} is not one of numbers")
    shape, _, dtype = _HEADERS[version](file)
    if dtype.itemsize == 0 or math.prod(shape) * dtype.itemsize > size:
        raise ValueError(f"its header claims {dtype} of shape {shape}, which is not there")
    return math.prod(shape)


def _read_csv(path: Path) -> Content:
    """Read numbers between commas, semicolons or tabs, the latter two also with decimal commas.

    The first line may name the columns; an index, whose name is empty, is left out.
    """
    check_size(4 * path.stat().st_size, path)  # two bytes, as in "1,", become eight
    with _text(path) as file:
        lines = _rows(file)
        (first, line), (_, second) = next(lines, (1, "")), next(lines, (0, ""))
    bare = re.sub('"[^"]*"', "", line)
    separator = next((mark for mark in "\t;" if mark in bare), ",")
    cells = _cells(line.lstrip("# "), separator)
    index, named = _header(cells)
    if not (second if named else line):
        raise ValueError("it has no rows")
    skipped, width = first if named else 0, len(cells)
    try:
        table = _numbers(path, separator, skipped)
        if table.shape[1] != width:
            raise ValueError(f"{width} names, {table.shape[1]} columns")
    except ValueError as error:
        raise ValueError(_fault(path, separator, skipped, width) or str(error)) from error
    if not named and second and all(map(_WHOLE.fullmatch, cells)):
        whole = all(map(_WHOLE.fullmatch, _cells(second, separator))) and not (table[1:] % 1).any()
        counted = width > 1 and cells == [str(i) for i in range(width)]
        if counted == whole:  # 0, 1, ... above whole numbers, or others above decimals
            raise ValueError(
                f"line {first} may be names of columns, or a row: write names as words, or "
                f"{cells[0]} as {cells[0]}.0"
            )
        if counted:  # the header of a frame without names
            named, table = True, table[1:]
    if not named:
        return Content({TABLE: table})
    names = cells[index:]
    if "" in names:
        at = index + names.index("")
        raise ValueError(f"line {first}: column {at} (counted from 0) has no name")
    _check_different(names)
    return Content({TABLE: table[:, index:]}, names, [name or "an index" for name in cells[:index]])


def _text(path: Path) -> IO[str]:
    return path.open(encoding="utf-8-sig")


def _rows(file: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Return the lines that are not blank, with their numbers."""
    return ((i, line) for i, line in enumerate(file, 1) if line.strip())


def _cells(line: str, separator: str) -> list[str]:
    """Return the cells of a line, without quotation marks."""
    return [cell.strip() for cell in next(csv.reader([line], delimiter=separator), [])]


def _header(cells: Sequence[str]) -> tuple[int, bool]:
    """Return how many cells of the first line stand above an index, and whether they are names."""
    index = int(len(cells) > 1 and bool(_INDEX.fullmatch(cells[0])))
    rest = cells[index:]
    counted = bool(index) and [*rest] == [str(i) for i in range(len(rest))]
    return index, counted or not any(_is_number(cell) for cell in rest)


def _numbers(path: Path, separator: str, skipped: int) -> Array:
    """Return the table below the lines that are skipped."""
    with _text(path) as file:
        lines = (line for i, line in _rows(file) if i > skipped)
        rows = lines if separator == "," else _with_points(lines)
        return np.loadtxt(rows, delimiter=separator, ndmin=2, comments=None, quotechar='"')


def _with_points(lines: Iterable[str]) -> Iterator[str]:
    """Yield lines with decimal points for decimal commas. Raises ValueError for both at once."""
    seen: set[str] = set()
    for line in lines:
        seen |= {mark for mark in ",." if mark in line}
        if len(seen) == 2:
            raise ValueError("it has decimal commas and decimal points")
        yield line.replace(",", ".")


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return cell.isascii() and "_" not in cell


def _fault(path: Path, separator: str, skipped: int, width: int) -> str:
    """Return the first line that is not a row of `width` numbers, and why."""
    with _text(path) as file:
        for i, line in _rows(file):
            cells = _cells(line, separator) if i > skipped else []
            if cells and len(cells) != width:
                return f"line {i} has {len(cells)} cells, not {width}"
            for cell in cells:
                if not _is_number(cell if separator == "," else cell.replace(",", ".")):
                    marks = "commas, semicolons or tabs stand between cells"
                    return f"line {i}: {cell!r} is no number; {marks}"
    return ""


def _read_parquet(path: Path) -> Content:
    """Read the columns except the index of a pandas frame."""
    import pyarrow
    from pyarrow import parquet, types

    try:
        with parquet.ParquetFile(path) as file:
            schema, about = file.schema_arrow, file.metadata
            indices = (schema.pandas_metadata or {}).get("index_columns", [])
            at = [
                i
                for i, name in enumerate(schema.names)
                if not (name in indices or (name and _INDEX.fullmatch(name)))
            ]
            names = [schema.names[i] for i in at]
            wrong = [
                schema.names[i]
                for i in at
                if not (types.is_integer(schema.types[i]) or types.is_floating(schema.types[i]))
            ]
            if wrong or about.num_columns != len(schema):  # columns within columns
                raise ValueError(f"the columns {', '.join(wrong)} are not numbers")
            _check_different(names)
            groups = (about.row_group(i).total_byte_size for i in range(about.num_row_groups))
            check_size(max(8 * about.num_rows * len(names), sum(groups)), path)
            table = file.reader.read_all(column_indices=at)
    except pyarrow.ArrowException as error:
        raise ValueError(str(error)) from error
    columns = [table[i].to_numpy() for i in range(table.num_columns)]
    array = np.stack(columns, 1) if columns else np.empty((table.num_rows, 0))
    return Content({TABLE: array}, names, [name for name in schema.names if name not in names])


def _check_different(names: Sequence[str]) -> None:
    """Raise ValueError for names that do not tell columns apart."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"two columns are called {twice[0]}")


_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_READERS: dict[str, Callable[[Path], Content]] = {
    ".npz": read_npz,
    ".npy": _read_npy,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
    ".safetensors": _read_safetensors,
}


def finite_matrix(array: NDArray[Any], name: str, path: str, key: str) -> Array:
    """Return a finite, non-empty matrix of numbers. Raises ConfigError for `key`."""
    if array.dtype.kind not in "iuf":
        raise ConfigError(key, path, f"{name} must be real numbers, not {array.dtype}")
    if array.ndim != 2 or 0 in array.shape:
        raise ConfigError(key, path, f"{name} must be a matrix, its shape is {array.shape}")
    with np.errstate(over="ignore"):
        matrix = array.astype(np.float64, copy=False)
    broken = ~np.isfinite(matrix)
    if broken.any():
        row, column = np.argwhere(broken)[0]
        raise ConfigError(
            key,
            path,
            f"{name} must be finite; {broken.sum()} numbers are not, the first in row {row}, "
            f"column {column} (counted from 0)",
        )
    return matrix
