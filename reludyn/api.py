"""Runs in Python, without a command line and without files."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch
from rich.console import Console

from reludyn.config.compose import configure
from reludyn.experiment.build import Setup
from reludyn.experiment.command_line import resumed
from reludyn.experiment.resume import find_resume_point
from reludyn.experiment.run import execute
from reludyn.network.student import ReLUStudent
from reludyn.numerics.surroundings import undisturbed
from reludyn.runs.load import Layers, Run
from reludyn.runs.table import Table


@undisturbed()
def train(*overrides: str) -> Run:
    """Train what the command `reludyn OVERRIDES` trains, in memory: without folder and pictures.

    Settings of PyTorch, NumPy and Hydra that the program has made neither change the run nor are
    changed by it.

    Args:
        *overrides: settings as on the command line, one per word, such as "init.scale=1e-3".

    Returns:
        Run with recorded trajectory, table of replicas and summary; its `folder` is None.

    Raises:
        ValueError: (or its subclass ConfigError) with the line that the command would print.

    Examples:
        >>> import reludyn
        >>> run = reludyn.train("data.dim=4", "replicas=3", "trainer.steps=10")
        >>> run.loss.shape == (len(run.step), 3)
        True
        >>> run.final.W.shape  # R, k, d
        torch.Size([3, 2, 4])
    """
    if not all(isinstance(word, str) for word in overrides):
        raise ValueError("overrides are separate words: train('seed=1', 'replicas=10')")
    words = [word for word in resumed(overrides) if not word.startswith("hydra.run.dir=")]
    config = configure(*words)
    results = execute(config, Console(quiet=True), start=find_resume_point(config, Path()))
    columns = {name: [row[name] for row in results.rows] for name in results.rows[0]}
    setup = results.setup
    ends = _layers(setup, setup.student), _layers(setup, results.trained.state.student)
    return Run(results.arrays, Table(columns), results.summary, asdict(config), ends=ends)


def _layers(setup: Setup, student: ReLUStudent) -> Layers:
    """Return W (R, k, d) and V (R, r, k) in all d inputs."""
    if setup.subspace is not None:
        student = setup.subspace.lift(student)
    W, V = student.to("cpu", torch.float64)
    return W.numpy(), V.numpy()
