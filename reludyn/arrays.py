"""Arrays and tables from files, checked, nothing executed.

.npz and .safetensors hold arrays by name; .npy, .csv and .parquet hold one table. Every refusal is
a ConfigError that names the file and what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reludyn.errors import ConfigError
from reludyn.files import UNREADABLE

Array = NDArray[np.float64]
Arrays = dict[str, NDArray[Any]]
TABLE = ""  # the name of the only array of a table


def read_matrix(path: str, key: str, name: str, shape: tuple[int, int]) -> Array:
    """The array `name` of a file of named arrays, or the whole table, of exactly this shape;
    float64. Raises ConfigError for `key`."""
    arrays, _ = read_arrays(path, key)
    array = arrays.get(TABLE, arrays.get(name))
    if array is None:
        has = ", ".join(sorted(arrays)) or "nothing"
        raise ConfigError(key, path, f"must hold the array {name}; it has {has}")
    matrix = finite_matrix(np.atleast_2d(array) if array.ndim == 1 else array, name, path, key)
    if matrix.shape != shape:
        raise ConfigError(key, path, f"{name} must have the shape {shape}, it has {matrix.shape}")
    return matrix


def read_arrays(path: str, key: str) -> tuple[Arrays, list[str] | None]:
    """The arrays by name, a table under the name TABLE; the names of its columns, if it has any."""
    suffix = Path(path).suffix.lower()
    if suffix not in _READERS:
        raise ConfigError(key, path, f"must end in one of {', '.join(_READERS)}")
    if not Path(path).is_file():
        raise ConfigError(key, path, "there is no such file")
    try:
        return _READERS[suffix](Path(path))
    except ImportError as error:
        remedy = "Install it: pip install 'reludyn[files]'"
        raise ConfigError(key, path, f"{suffix} needs {error.name}", remedy) from error
    except (*UNREADABLE, MemoryError, KeyError, RecursionError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(key, path, f"cannot be read: {reason}") from error


def _read_npz(path: Path) -> tuple[Arrays, None]:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}, None


def _read_safetensors(path: Path) -> tuple[Arrays, None]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path), None
    except SafetensorError as error:
        raise ValueError(str(error)) from error


def _read_npy(path: Path) -> tuple[Arrays, None]:
    table = np.load(
        path, mmap_mode="r", allow_pickle=False
    )  # a header cannot claim what is not there
    return {TABLE: np.array(table)}, None


def _read_csv(path: Path) -> tuple[Arrays, list[str] | None]:
    with path.open(encoding="utf-8-sig") as file:
        first = next((line for line in file if line.strip()), "")
        cells = [cell.strip().strip('"') for cell in first.split(",")]
        try:
            [float(cell) for cell in cells]
            names = None
            file.seek(0)
        except ValueError:
            names = cells
        rows = [line for line in file if line.strip()]
    if not rows:
        raise ValueError("it has no rows")
    table = np.loadtxt(rows, delimiter=",", ndmin=2, comments=None)
    if names is not None and table.shape[1] != len(names):
        raise ValueError(f"{len(names)} names, {table.shape[1]} columns")
    return {TABLE: table}, names


def _read_parquet(path: Path) -> tuple[Arrays, list[str]]:
    import pyarrow
    from pyarrow import parquet

    try:
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
