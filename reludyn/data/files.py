"""Samples from files: named arrays X, Y, A, or the columns of a table."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from reludyn.system.arrays import TABLE, Array, Arrays, Content, finite_matrix, listed, read_arrays
from reludyn.system.errors import ConfigError, one_line

KEY = "data.path"
NAMES = ("X", "Y", "A")
SHOWN = 12  # columns that a line lists at most
_LABEL = re.compile(r"y(_?\d+)?", re.IGNORECASE)  # the columns of a table that are outputs
# other names of outputs: beside them, columns called y need not be the outputs
_RIVAL = re.compile(r"(targets?|labels?|outputs?|responses?)([_ ]?\d+|_\w+)?", re.IGNORECASE)
Column = str | int  # a column's name or, in a table without names, its number, from 0
Columns = Sequence[object] | None


@dataclass(frozen=True)
class Read:
    """Summary of what was read: `inputs` and `outputs` name columns of a table, or arrays."""

    path: str
    rows: int
    inputs: Sequence[Column]
    outputs: Sequence[Column]
    left_out: Sequence[Column] = ()

    def __str__(self) -> str:
        """Return the summary in one line."""
        parts = {"inputs": self.inputs, "outputs": self.outputs, "left out": self.left_out}
        said = [f"{what} {_listed(columns)}" for what, columns in parts.items() if columns]
        return one_line(f"{self.path}: {self.rows:,} rows; {'; '.join(said)}")


class Samples(NamedTuple):
    """Samples X (n, d), with Y (n, r), A (r, d) or both; float64."""

    X: Array
    Y: Array | None
    A: Array | None
    read: Read


def read_samples(
    path: str, columns_x: Columns = None, columns_y: Columns = None, outputs: int | None = None
) -> Samples:
    """Read the samples of a file.

    Named arrays: X, with Y or A or both; one axis of Y or A may be left out for r = 1. Tables: Y
    are the columns that `columns_y` names, X those of `columns_x`, or all others. Where these keys
    are null, Y are the columns named y, y1, y_2 ... at either end of the table, or the last
    `outputs` columns. Raises ConfigError where it stays open, or is contradictory, which columns
    are outputs.
    """
    content = read_arrays(path, KEY)
    arrays = content.arrays
    if TABLE in arrays:
        table = finite_matrix(arrays.pop(TABLE), "the table", path, KEY)
        names: Sequence[Column] = content.names or range(table.shape[1])
        x, y = _split(path, columns_x, columns_y, outputs, names, content)
        taken = {*x, *y}
        rest = [name for i, name in enumerate(names) if i not in taken]
        read = Read(
            path,
            len(table),
            [names[i] for i in x],
            [names[i] for i in y],
            [*content.left_out, *rest],
        )
        return Samples(table[:, x], table[:, y], None, read)
    for name, columns in (("columns_x", columns_x), ("columns_y", columns_y)):
        if columns is not None:
            allowed = f"must be null: {path} has arrays, not the columns of a table"
            raise ConfigError(f"data.{name}", _shown(columns), allowed)
    unknown = set(arrays) - set(NAMES)
    if unknown:
        raise ConfigError(KEY, path, f"must hold only X, and Y or A; it has {listed(unknown)}")
    if "X" not in arrays or len(arrays) < 2:
        raise ConfigError(KEY, path, f"must hold X, and Y or A; it has {listed(arrays)}")
    X = finite_matrix(arrays["X"], "X", path, KEY)
    Y = _named(arrays, "Y", path, column=True)
    A = _named(arrays, "A", path, column=False)
    _check_shapes(X, Y, A, outputs, path)
    return Samples(X, Y, A, Read(path, len(X), ["X"], [name for name in "YA" if name in arrays]))


def _named(arrays: Arrays, name: str, path: str, column: bool) -> Array | None:
    """Return a named array as a finite matrix, or None where the file has none."""
    if name not in arrays:
        return None
    array = arrays[name]
    if array.ndim == 1:
        array = array[:, None] if column else array[None]
    return finite_matrix(array, name, path, KEY)


def _split(
    path: str,
    columns_x: Columns,
    columns_y: Columns,
    r: int | None,
    names: Sequence[Column],
    content: Content,
) -> tuple[list[int], list[int]]:
    """Return the indices of the input columns and of the output columns of a table."""
    width = len(names)
    no_inputs = ConfigError(KEY, path, f"its {width} columns leave no inputs beside the outputs")
    if max(2, (r or 1) + 1) > width:  # checked first: r may be too large to list columns
        raise no_inputs
    if columns_y is None:
        if columns_x is not None:
            allowed = "needs data.columns_y as well: the columns that are outputs"
            raise ConfigError("data.columns_x", _shown(columns_x), allowed)
        y = _labels(names, r, path)
    else:
        y = _places("data.columns_y", columns_y, names, content)
    if r not in (None, len(y)):
        allowed = f"must be null or {len(y)}, the outputs {_listed([names[i] for i in y])}"
        raise ConfigError("data.outputs", r, allowed)
    outputs = set(y)
    if columns_x is None:
        x = [i for i in range(width) if i not in outputs]
    else:
        x = _places("data.columns_x", columns_x, names, content)
    both = [names[i] for i in x if i in outputs]
    if both:
        allowed = f"{both[0]} is one of data.columns_y: a column is an input or an output"
        raise ConfigError("data.columns_x", _shown(columns_x or []), allowed)
    if not x:
        raise no_inputs
    return x, y


def _labels(names: Sequence[Column], outputs: int | None, path: str) -> list[int]:
    """Return the indices of the output columns where no key names them."""
    width, labels = len(names), [i for i, name in enumerate(names) if _LABEL.fullmatch(str(name))]
    if not labels and outputs is not None:
        return [*range(width - outputs, width)]
    together = labels in ([*range(len(labels))], [*range(width - len(labels), width)])
    rivals = [name for name in names if _RIVAL.fullmatch(str(name))]
    if labels and together and not rivals:
        return labels
    chosen = rivals or [names[i] for i in labels] or [names[-1]]
    remedy = f"Name them, such as data.columns_y={_shown(chosen)}"
    if labels:
        reason = f"{_listed([names[i] for i in labels])} may be its outputs, or not"
    else:
        reason = "nothing says which of its columns are outputs"
        remedy += ", or take the last ones: data.outputs=1"
    raise ConfigError(KEY, path, f"{reason}; its columns are {_listed(names)}", remedy)


def _places(
    key: str, columns: Sequence[object], names: Sequence[Column], content: Content
) -> list[int]:
    """Return the indices of columns given by name, or by number in a table without names."""
    known = {str(name): i for i, name in enumerate(names)}
    shown = _shown(columns)
    if not columns:
        raise ConfigError(key, shown, "must name a column, or be null")
    for column in columns:
        if type(column) not in (str, int) or str(column) not in known:
            what = "names" if content.names else "numbers"
            allowed = f"{column} is none of the {what} of columns: {_listed(names)}"
            raise ConfigError(key, shown, allowed)
    places = [known[str(column)] for column in columns]
    if len({*places}) < len(places):
        raise ConfigError(key, shown, "names a column twice")
    return places


def _listed(columns: Sequence[Column]) -> str:
    """Return the columns in one line; of many, only the first and the last."""
    said = [textwrap.shorten(str(name), 40, placeholder=" ...") for name in columns[:SHOWN]]
    if len(columns) > SHOWN:
        said = [*said[:-2], "...", str(columns[-1])[:40]]
        return f"{', '.join(said)} ({len(columns):,})"
    return ", ".join(said)


def _shown(columns: Sequence[object]) -> str:
    """Return the columns as one would type them in an override."""
    words = (str(name) for name in columns[:SHOWN])
    return "[" + ",".join(w if re.fullmatch(r"\w+", w) else f"'{w}'" for w in words) + "]"


def _check_shapes(
    X: Array, Y: Array | None, A: Array | None, outputs: int | None, path: str
) -> None:
    """Raise ConfigError where X, Y, A and the number of outputs do not fit together."""
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
