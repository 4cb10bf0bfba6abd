"""Tables of text and numbers, read from .csv files."""

from __future__ import annotations

import csv
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[Any]
TEXT = {
    "outcome",
    "predicted_outcome",
    "basin_rule",
    "sign_rule",
    "signs",
    "predicted_signs",
    "stopped_because",
}


class Table(Mapping[str, Array]):
    """Columns of the same length by name, (R,) each: numbers, or text.

    A column of numbers is an array of floats, NaN where a cell is empty; a column with a cell that
    is not a number is an array of text. `cells` has the cells as they are in the file.

    Args:
        cells: columns by name.

    Examples:
        >>> import reludyn
        >>> table = reludyn.Table({"seed": ["0", "1"], "outcome": ["diverged", "unconverged"]})
        >>> table
        Table of 2 rows: seed, outcome
        >>> table["seed"].tolist(), table["outcome"].tolist()
        ([0.0, 1.0], ['diverged', 'unconverged'])
    """

    def __init__(self, cells: Mapping[str, Sequence[object]]) -> None:
        self.cells = dict(cells)
        self._typed: dict[str, Array] = {}

    @classmethod
    def read(cls, path: Path) -> Table:
        """Read a .csv file with a header.

        Raises:
            ValueError: where the file is damaged.
        """
        with whole(path), path.open(encoding="utf-8", newline="") as file:
            header, *rows = [*csv.reader(file)] or [[]]
        if not header or any(len(row) != len(header) for row in rows):
            raise ValueError(f"{path} is damaged: its rows are not of one length")
        return cls({name: [row[i] for row in rows] for i, name in enumerate(header)})

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(next(iter(self.cells.values()), ()))

    def __getitem__(self, name: str) -> Array:
        if name not in self.cells:
            raise KeyError(f"{name}: the columns are {', '.join(self.cells)}")
        if name not in self._typed:
            self._typed[name] = _typed(self.cells[name], name in TEXT)
        return self._typed[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.cells)

    def _ipython_key_completions_(self) -> list[str]:
        return [*self.cells]

    def __len__(self) -> int:
        """Return the number of columns, as for any mapping."""
        return len(self.cells)

    def __repr__(self) -> str:
        return f"Table of {self.rows:,} rows: {', '.join(self.cells)}"

    def to_pandas(self) -> pd.DataFrame:
        """Return a DataFrame.

        Raises:
            ImportError: without pandas.
        """
        frame: pd.DataFrame = pandas_module().DataFrame(dict(self))
        return frame


def _typed(cells: Sequence[object], text: bool) -> Array:
    if not text:
        try:
            return np.array([float("nan" if x in (None, "") else x) for x in cells])  # type: ignore[arg-type]
        except (TypeError, ValueError):
            pass
    return np.array(["" if x is None else str(x) for x in cells])


def pandas_module() -> Any:
    try:
        import pandas
    except ImportError as error:
        raise ImportError("to_pandas needs pandas: pip install 'reludyn[pandas]'") from error
    return pandas


@contextmanager
def whole(path: Path) -> Iterator[None]:
    """Raise ValueError in place of any exception by which a parser refuses a damaged file.

    An OSError is raised as it is: then the file cannot be opened.
    """
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        reason = textwrap.shorten(str(error), 200, placeholder=" ...") or type(error).__name__
        raise ValueError(f"{path} is damaged: {reason}") from error
