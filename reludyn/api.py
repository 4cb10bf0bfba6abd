"""Runs in Python, without a command line and without files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from reludyn.allowed import guarded
from reludyn.arguments import resumed
from reludyn.assembly import Experiment
from reludyn.config import conf_directory, parse, prepare_hydra
from reludyn.errors import ConfigError
from reludyn.experiment import experiment
from reludyn.messages import check_overrides, explain, is_for_the_user
from reludyn.resume import begin
from reludyn.runs import Layers, Run, Table
from reludyn.settings import Config
from reludyn.student import ReLUStudent


def train(*overrides: str) -> Run:
    """Train what `reludyn OVERRIDES` trains, in memory: no folder, no pictures, no TensorBoard.

    Raises ValueError (ConfigError is one) with the line that the command would print.
    """
    if not all(isinstance(word, str) for word in overrides):
        raise ValueError("overrides are separate words: train('seed=1', 'replicas=10')")
    words = [word for word in resumed(overrides) if not word.startswith("hydra.run.dir=")]
    config = configure(*words)
    record = experiment(config, Console(quiet=True), start=begin(config, Path()))
    columns = {name: [row[name] for row in record.rows] for name in record.rows[0]}
    parts = record.parts
    ends = _layers(parts, parts.student), _layers(parts, record.state.student)
    return Run(record.arrays, Table(columns), record.summary, asdict(config), ends=ends)


def configure(*overrides: str) -> Config:
    """The checked settings of `reludyn OVERRIDES`. Raises ValueError as `train` does."""
    try:
        check_overrides(overrides)
        return parse(_composed(overrides))
    except Exception as error:
        if isinstance(error, ConfigError) or not is_for_the_user(error):
            raise
        raise ValueError(explain(error, overrides)) from error


def _composed(overrides: Sequence[str]) -> DictConfig:
    """What Hydra makes of overrides, without its own part."""
    prepare_hydra()
    directory = str(conf_directory())
    with guarded(overrides), initialize_config_dir(directory, version_base="1.3"):
        whole = compose("config", overrides=list(overrides), return_hydra_config=True)
    name = whole.name  # resolved while Hydra's part is there
    ours = OmegaConf.masked_copy(whole, list(Config.__dataclass_fields__))
    ours.name = name
    return ours


def _layers(parts: Experiment, student: ReLUStudent) -> Layers:
    """W (R, k, d) and V (R, r, k) in all inputs."""
    if parts.subspace is not None:
        student = parts.subspace.lift(student)
    W, V = student.to("cpu", torch.float64)
    return W.numpy(), V.numpy()
