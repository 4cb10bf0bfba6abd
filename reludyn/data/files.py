"""Samples from files: named arrays X, Y, A, or the columns of a table."""

from __future__ import annotations

import re

from reludyn.arrays import TABLE, Array, Arrays, finite_matrix, listed, read_arrays
from reludyn.errors import ConfigError

KEY = "data.path"
NAMES = ("X", "Y", "A")
_LABEL = re.compile(r"y(_?\d+)?", re.IGNORECASE)  # the columns of a table that are outputs


def read_samples(path: str, outputs: int | None) -> tuple[Array, Array | None, Array | None]:
    """X (n, d), and Y (n, r), A (r, d) or both; float64.

    Named arrays: X, with Y or A or both; one axis of Y or A may be left out for r = 1. Tables: the
    columns named y, y1, y_2 ... are Y, the others X; without such names the last `outputs` (None:
    1) columns are Y. Raises ConfigError for data.path.
    """
    arrays, names = read_arrays(path, KEY)
    if TABLE in arrays:
        table = finite_matrix(arrays[TABLE], "the table", path, KEY)
        return *_split(table, names or [], outputs, path), None
    unknown = set(arrays) - set(NAMES)
    if unknown:
        raise ConfigError(KEY, path, f"must hold only X, and Y or A; it has {listed(unknown)}")
    if "X" not in arrays or len(arrays) < 2:
        raise ConfigError(KEY, path, f"must hold X, and Y or A; it has {listed(arrays)}")
    X = finite_matrix(arrays["X"], "X", path, KEY)
    Y = _named(arrays, "Y", path, column=True)
    A = _named(arrays, "A", path, column=False)
    _check_shapes(X, Y, A, outputs, path)
    return X, Y, A


def _named(arrays: Arrays, name: str, path: str, column: bool) -> Array | None:
    if name not in arrays:
        return None
    array = arrays[name]
    if array.ndim == 1:
        array = array[:, None] if column else array[None]
    return finite_matrix(array, name, path, KEY)


def _split(table: Array, names: list[str], outputs: int | None, path: str) -> tuple[Array, Array]:
    """Inputs and outputs of a table."""
    labels = [i for i, name in enumerate(names) if _LABEL.fullmatch(name)]
    if labels and outputs not in (None, len(labels)):
        allowed = f"must be null or {len(labels)}, the columns y of {path}"
        raise ConfigError("data.outputs", outputs, allowed)
    width = table.shape[1]
    if (len(labels) or outputs or 1) >= width:  # before so many are listed
        raise ConfigError(KEY, path, f"its {width} columns leave no inputs beside the outputs")
    labels = labels or list(range(width - (outputs or 1), width))
    inputs = [i for i in range(width) if i not in labels]
    return table[:, inputs], table[:, labels]


def _check_shapes(
    X: Array, Y: Array | None, A: Array | None, outputs: int | None, path: str
) -> None:
    if Y is not None and len(Y) != len(X):
        raise ConfigError(KEY, path, f"X has {len(X)} rows, Y has {len(Y)}")
    if A is not None and A.shape[1] != X.shape[1]:
        allowed = f"X has {X.shape[1]} columns, A has {A.shape[1]}"
        raise ConfigError(KEY, path, allowed)
    sizes = {"Y": None if Y is None else Y.shape[1], "A": None if A is None else len(A)}
    known = {name: size for name, size in sizes.items() if size is not None}
    if len(set(known.values())) > 1:
        allowed = f"Y has {known['Y']} outputs, A has {known['A']}"
        raise ConfigError(KEY, path, allowed)
    r = next(iter(known.values()))
    if outputs not in (None, r):
        raise ConfigError("data.outputs", outputs, f"must be null or {r}, as in {path}")
