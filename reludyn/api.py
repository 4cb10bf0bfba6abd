"""Runs in Python, without a command line and without files."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from torch import Tensor

from reludyn.config import conf_directory, parse, prepare_hydra
from reludyn.experiment import experiment
from reludyn.messages import check_overrides, explain
from reludyn.settings import Config
from reludyn.student import ReLUStudent

Array = NDArray[Any]
TEXT = {
    "outcome", "predicted_outcome", "basin_rule", "sign_rule", "signs", "predicted_signs",
    "stopped_because",
}  # fmt: skip


@dataclass(frozen=True)
class Run:
    """A run: the arrays of trajectory.npz, also as attributes (`run.loss` (T, R), `run.w_norm`
    (T, R, k), ...); the columns of replicas.csv, (R,) each, numbers as floats, NaN where empty;
    summary.json; initial and final weights W (R, k, d), V (R, r, k), of a run that was loaded those
    of the replicas whose weights were kept; the target A (r, d)."""

    arrays: Mapping[str, Array]
    replicas: Mapping[str, Array]
    summary: Mapping[str, Any]
    initial: ReLUStudent
    final: ReLUStudent
    A: Tensor

    def __getattr__(self, name: str) -> Array:
        if name.startswith("__"):
            raise AttributeError(name)
        if name not in self.arrays:
            raise AttributeError(f"a run has {', '.join(self.arrays)}; there is no {name}")
        return self.arrays[name]


def train(*overrides: str) -> Run:
    """Train what `reludyn OVERRIDES` trains, in memory: no folder, no pictures, no TensorBoard.

    Raises ValueError (ConfigError is one) with the line that the command would print.
    """
    record = experiment(configure(*overrides), Console(quiet=True))
    columns = {name: [row[name] for row in record.rows] for name in record.rows[0]}
    parts = record.parts
    layers = (parts.student, record.state.student)
    if parts.subspace is not None:
        layers = (parts.subspace.lift(layers[0]), parts.subspace.lift(layers[1]))
    initial, final = (student.to("cpu", torch.float64) for student in layers)
    return Run(
        record.arrays, _typed(columns), record.summary, initial, final, parts.teacher.A
    )  # fmt: skip


def configure(*overrides: str) -> Config:
    """The checked settings of `reludyn OVERRIDES`. Raises ValueError as `train` does."""
    try:
        check_overrides(overrides)
        return parse(_composed(overrides))
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(explain(error, overrides)) from error


def load_run(folder: str | Path) -> Run:
    """The run in a folder. Raises FileNotFoundError for one that did not come to its end."""
    folder = Path(folder)
    if not (folder / "DONE").is_file():
        raise FileNotFoundError(f"{folder} is not the folder of a complete run: it has no DONE")
    with np.load(folder / "trajectory.npz", allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    with (folder / "replicas.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    columns = {name: [row[name] or None for row in rows] for name in rows[0]}
    summary = json.loads((folder / "summary.json").read_text())
    initial, final = (
        ReLUStudent(*(torch.from_numpy(arrays[name][look]).double() for name in "WV"))
        for look in (0, -1)
    )
    return Run(arrays, _typed(columns), summary, initial, final, torch.from_numpy(arrays["A"]))


def _composed(overrides: Sequence[str]) -> DictConfig:
    """What Hydra makes of overrides, without its own part."""
    prepare_hydra()
    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        whole = compose("config", overrides=list(overrides), return_hydra_config=True)
    name = whole.name  # resolved while Hydra's part is there
    ours = OmegaConf.masked_copy(whole, list(Config.__dataclass_fields__))
    ours.name = name
    return ours


def _typed(columns: Mapping[str, Sequence[object]]) -> dict[str, Array]:
    return {
        name: np.array([value or "" for value in values])
        if name in TEXT
        else np.array([np.nan if value is None else value for value in values], dtype=float)
        for name, values in columns.items()
    }
