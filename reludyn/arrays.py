"""Arrays and tables from files, checked, nothing executed.

.npz and .safetensors hold arrays by name; .npy, .csv and .parquet hold one table. Every refusal is
a ConfigError that names the file and what is wrong with it.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray

from reludyn.errors import ConfigError
from reludyn.launch import physical_memory

Array = NDArray[np.float64]
Arrays = dict[str, NDArray[Any]]
COPIES = 3  # of what is read, until it is checked
TABLE = ""  # the name of the only array of a table


def read_matrix(path: str, key: str, name: str, shape: tuple[int, int]) -> Array:
    """The array `name` of a file of named arrays, or the whole table, of exactly this shape;
    float64. Raises ConfigError for `key`."""
    arrays, _ = read_arrays(path, key)
    array = arrays.get(TABLE, arrays.get(name))
    if array is None:
        raise ConfigError(key, path, f"must hold the array {name}; it has {listed(arrays)}")
    matrix = finite_matrix(np.atleast_2d(array) if array.ndim == 1 else array, name, path, key)
    if matrix.shape != shape:
        raise ConfigError(key, path, f"{name} must have the shape {shape}, it has {matrix.shape}")
    return matrix


def read_arrays(path: str, key: str) -> tuple[Arrays, list[str] | None]:
    """The arrays by name, a table under the name TABLE; the names of its columns, if it has any."""
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


def _fits(size: int) -> None:
    """Refuse what would hold more bytes in memory than the machine has, before it is read."""
    if (most := physical_memory()) < COPIES * size:
        raise ValueError(f"it holds {size / 2**30:,.1f} GiB, for a machine of {most / 2**30:,.1f}")


def listed(names: Iterable[str]) -> str:
    """Names of arrays for a message, in one line."""
    return ", ".join(sorted(" ".join(name.split()) for name in names)) or "nothing"


def _read_npz(path: Path) -> tuple[Arrays, None]:
    arrays: Arrays = {}
    with ZipFile(path) as archive:
        _fits(sum(member.file_size for member in archive.infolist()))
        for member in archive.infolist():
            name = member.filename.removesuffix(".npy")
            if name == TABLE:
                raise ValueError("an array has no name")
            if name in arrays:
                raise ValueError(f"two arrays are called {name}")
            with archive.open(member) as file:
                _check_header(file, member.file_size)
            with archive.open(member) as file:
                arrays[name] = np.lib.format.read_array(file, allow_pickle=False)
    return arrays, None


def _read_safetensors(path: Path) -> tuple[Arrays, None]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    foreign = "its numbers are of a type that NumPy lacks, such as bfloat16; store float32"
    try:
        _fits(path.stat().st_size)
        arrays = load_file(path)
    except SafetensorError as error:
        raise ValueError(str(error)) from error
    except (TypeError, AttributeError) as error:
        raise ValueError(foreign) from error
    if any(array.dtype.isbuiltin != 1 for array in arrays.values()):  # JAX teaches NumPy such types
        raise ValueError(foreign)
    if TABLE in arrays:
        raise ValueError("an array has no name")
    return arrays, None


def _read_npy(path: Path) -> tuple[Arrays, None]:
    _fits(path.stat().st_size)
    with path.open("rb") as file:
        _check_header(file, path.stat().st_size)
    return {TABLE: np.array(np.lib.format.open_memmap(path, mode="r"))}, None


def _check_header(file: IO[bytes], size: int) -> None:
    """Refuse an .npy file of `size` bytes that claims more: NumPy would make room for it."""
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"its format {version} is not one of numbers")
    shape, _, dtype = _HEADERS[version](file)
    if dtype.itemsize == 0 or math.prod(shape) * dtype.itemsize > size:
        raise ValueError(f"its header claims {dtype} of shape {shape}, which is not there")


def _read_csv(path: Path) -> tuple[Arrays, list[str] | None]:
    _fits(path.stat().st_size)
    with path.open(encoding="utf-8-sig") as file:
        lines = [(i, line) for i, line in enumerate(file, 1) if line.strip()]
    first, line = lines[0] if lines else (1, "")
    cells = [cell.strip().strip('"') for cell in line.split(",")]
    names = None if any(_is_number(cell) for cell in cells) else cells
    rows = lines if names is None else lines[1:]
    if not rows:
        raise ValueError("it has no rows")
    if names is not None and "" in names:
        raise ValueError(f"line {first}: column {names.index('')} (counted from 0) has no name")
    try:
        table = np.loadtxt([line for _, line in rows], delimiter=",", ndmin=2, comments=None)
        if table.shape[1] != len(cells):
            raise ValueError(f"{len(cells)} names, {table.shape[1]} columns")
    except ValueError as error:
        raise ValueError(_fault(rows, len(cells)) or str(error)) from error
    return {TABLE: table}, names


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return cell.isascii() and "_" not in cell


def _fault(rows: list[tuple[int, str]], width: int) -> str:
    """The first line that is no row of `width` numbers, and why."""
    for i, line in rows:
        cells = line.split(",")
        if len(cells) != width:
            return f"line {i} has {len(cells)} cells, not {width}"
        for cell in cells:
            if not _is_number(cell):
                return f"line {i}: {cell.strip()!r} is no number"
    return ""


def _read_parquet(path: Path) -> tuple[Arrays, list[str]]:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            _fits(8 * file.metadata.num_rows * file.metadata.num_columns)
        table = parquet.read_table(path)
    except pyarrow.ArrowException as error:
        raise ValueError(str(error)) from error
    columns = [table[i].to_numpy() for i in range(table.num_columns)]
    wrong = [
        n for n, c in zip(table.column_names, columns, strict=True) if c.dtype.kind not in "iuf"
    ]
    if wrong:
        raise ValueError(f"the columns {', '.join(wrong)} are not numbers")
    array = np.stack(columns, 1) if columns else np.empty((table.num_rows, 0))
    return {TABLE: array}, list(table.column_names)


_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_READERS: dict[str, Callable[[Path], tuple[Arrays, list[str] | None]]] = {
    ".npz": _read_npz,
    ".npy": _read_npy,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
    ".safetensors": _read_safetensors,
}


def finite_matrix(array: NDArray[Any], name: str, path: str, key: str) -> Array:
    """A finite, non-empty matrix of numbers."""
    if array.dtype.kind not in "iuf":
        raise ConfigError(key, path, f"{name} must be real numbers, not {array.dtype}")
    if array.ndim != 2 or 0 in array.shape:
        raise ConfigError(key, path, f"{name} must be a matrix, its shape is {array.shape}")
    with np.errstate(over="ignore"):
        matrix = array.astype(np.float64)
    broken = ~np.isfinite(matrix)
    if broken.any():
        row, column = np.argwhere(broken)[0]
        raise ConfigError(
            key, path,
            f"{name} must be finite; {broken.sum()} numbers are not, the first in row {row}, "
            f"column {column} (counted from 0)",
        )  # fmt: skip
    return matrix
