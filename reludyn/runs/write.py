"""The files of a run, each complete or absent: trajectory.npz, replicas.csv, summary.json, DONE."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reludyn.system.files import atomic, csv_file

Array = NDArray[Any]


def write_npz(path: Path, arrays: Mapping[str, Array]) -> None:
    """Uncompressed, complete or not there at all."""
    with atomic(path) as file:
        np.savez(file, **dict(arrays))  # type: ignore[arg-type]  # NumPy's stub has allow_pickle


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, object]]) -> None:
    """One row a replica; None is empty, floats in full precision."""
    with csv_file(path, columns) as add:
        for row in rows:
            add([row[c] for c in columns])


def write_json(path: Path, values: Mapping[str, object]) -> None:
    """Indented; NaN is not JSON and must have become None."""
    with atomic(path) as file:
        file.write((json.dumps(values, indent=2, allow_nan=False) + "\n").encode())


def write_done(folder: Path, digest: str) -> None:
    """DONE, last of all: the run finished, with the config of this hash."""
    with atomic(folder / "DONE") as file:
        file.write(f"{digest}\n".encode())
