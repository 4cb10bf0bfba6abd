"""Runs in Python, without a command line and without files."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import torch
from hydra import version
from hydra._internal.utils import create_config_search_path
from hydra.core.utils import setup_globals
from hydra.types import RunMode
from omegaconf import OmegaConf
from omegaconf.basecontainer import BaseContainer
from rich.console import Console

from reludyn.config.explain import check_overrides, explain, is_for_the_user
from reludyn.config.parse import EXPERIMENT, conf_directory, parse, prepare_hydra, without_hydra
from reludyn.config.schema import Config
from reludyn.config.security import Loader, given
from reludyn.experiment.build import Experiment
from reludyn.experiment.command_line import resumed
from reludyn.experiment.resume import begin
from reludyn.experiment.run import experiment
from reludyn.network.student import ReLUStudent
from reludyn.numerics.surroundings import undisturbed
from reludyn.runs.load import Layers, Run, Table
from reludyn.system.errors import ConfigError

_COMPOSING = threading.Lock()


@undisturbed()
def train(*overrides: str) -> Run:
    """Train what `reludyn OVERRIDES` trains, in memory: no folder, no pictures, no TensorBoard.

    What the program has set of PyTorch, NumPy and Hydra neither changes the run nor is changed by
    it. Raises ValueError (ConfigError is one) with the line that the command would print.
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
        with _hydra_aside():
            search = create_config_search_path(str(conf_directory()))
            loader = Loader(search, given(overrides))
            whole = loader.load_configuration("config", [*overrides], RunMode.RUN, from_shell=False)
            whole.name = whole.name  # resolved while Hydra's part is there
            return parse(without_hydra(whole))
    except Exception as error:
        if isinstance(error, ConfigError) or not is_for_the_user(error):
            raise
        raise ValueError(explain(error, overrides)) from error


@contextmanager
def _hydra_aside() -> Iterator[None]:
    """What Hydra composes with, beside what the program makes of Hydra itself: its resolvers and
    its version of Hydra's behaviour are there again afterwards, `GlobalHydra` is left alone."""
    with _COMPOSING:
        resolvers, base = {**BaseContainer._resolvers}, version.getbase()
        setup_globals()
        BaseContainer._resolvers |= resolvers  # those of the program come first
        prepare_hydra()
        version.setbase("1.3")
        try:
            yield
        finally:
            version.VersionBase.instance().version_base = base
            for name in {"now", "hydra", "python_version", EXPERIMENT} - {*resolvers}:
                OmegaConf.clear_resolver(name)


def _layers(parts: Experiment, student: ReLUStudent) -> Layers:
    """W (R, k, d) and V (R, r, k) in all inputs."""
    if parts.subspace is not None:
        student = parts.subspace.lift(student)
    W, V = student.to("cpu", torch.float64)
    return W.numpy(), V.numpy()
