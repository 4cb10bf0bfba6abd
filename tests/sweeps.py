"""Sweeps without training: folders with tables made by hand, and what is made of them."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from reludyn.recording.columns import COLUMNS
from reludyn.sweep.results import Part, finish

Cells = dict[str, object]
Jobs = Sequence[tuple[dict[str, str], Sequence[Cells]]]  # swept keys and values, replicas
FOUND: Cells = {"outcome": "global_minimum", "loss": 2.5e-5, "T_converged": 300}
STUCK: Cells = {"outcome": "non_strict_saddle", "loss": 0.25}
BROKEN: Cells = {"outcome": "diverged"}


def write_jobs(sweep: Path, jobs: Jobs) -> list[Part]:
    """Folders 0, 1, ... with a replicas.csv."""
    parts = []
    for number, (values, replicas) in enumerate(jobs):
        folder = sweep / str(number)
        folder.mkdir(parents=True)
        with (folder / "replicas.csv").open("w", newline="") as file:
            table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            table.writeheader()
            for j, cells in enumerate(replicas):
                table.writerow({"replica": j, "seed": int(values.get("seed", 0)) + j} | cells)
        parts.append(Part(folder, values))
    return parts


def finished(sweep: Path, jobs: Jobs, width: int = 120, **switches: Any) -> str:
    """What is printed at the end of a sweep of these jobs."""
    said = Console(file=io.StringIO(), width=width)
    given: dict[str, Any] = {"picture": "none", "tensorboard": False} | switches
    finish(sweep, write_jobs(sweep, jobs), console=said, **given)
    assert isinstance(said.file, io.StringIO)
    return said.file.getvalue()
