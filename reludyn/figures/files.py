"""The files of a run, as pictures read them."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Rows = list[dict[str, str]]


def arrays(path: Path) -> dict[str, Array]:
    """All arrays of an .npz file."""
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def table(path: Path) -> Rows:
    """The rows of a .csv file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def column(rows: Rows, name: str) -> Array:
    """Numbers (R,), NaN where a cell is empty."""
    return np.array([float(row[name] or "nan") for row in rows])
