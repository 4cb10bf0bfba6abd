"""Sweeps without training: folders with tables made by hand, and what is made of them."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from reludyn.runs.columns import COLUMNS
from reludyn.sweep.results import Part, finish

Cells = dict[str, object]
Jobs = Sequence[tuple[dict[str, str], Sequence[Cells]]]  # swept keys and values, replicas
LAUNCHERS = ("basic", "fused")
FOUND: Cells = {"outcome": "global_minimum", "loss": 2.5e-5, "T_converged": 300}
STUCK: Cells = {"outcome": "non_strict_saddle", "loss": 0.25}
BROKEN: Cells = {"outcome": "diverged"}


def complete(folder: Path) -> list[str]:
    """The names of the folders below this one that are complete."""
    return sorted(path.parent.name for path in folder.rglob("DONE"))


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


def write_trajectory(part: Part, steps: Sequence[int], replicas: int) -> dict[str, Any]:
    """Any looks at two neurons at these steps; returns the arrays."""
    rng = np.random.default_rng([len(part.folder.name), *part.folder.name.encode(), replicas])
    shape = (len(steps), replicas)
    arrays = {"step": np.array(steps), "W": np.zeros((len(steps), 1, 2, 3))}
    arrays |= {name: rng.lognormal(size=shape) for name in ("loss", "loss_linear")}
    arrays["loss_rectification"] = arrays["loss"] - arrays["loss_linear"]
    names = ("w_norm", "v_norm", "angle_to_target", "imbalance")
    arrays |= {name: rng.normal(size=(*shape, 2)) for name in names}
    arrays["angle_between"] = rng.uniform(size=(*shape, 2, 2))
    np.savez(part.folder / "trajectory.npz", **arrays)
    return arrays


def finished(sweep: Path, jobs: Jobs, width: int = 120, **switches: Any) -> str:
    """What is printed at the end of a sweep of these jobs."""
    said = Console(file=io.StringIO(), width=width)
    given: dict[str, Any] = {"picture": "none", "tensorboard": False} | switches
    finish(sweep, write_jobs(sweep, jobs), console=said, **given)
    assert isinstance(said.file, io.StringIO)
    return said.file.getvalue()
