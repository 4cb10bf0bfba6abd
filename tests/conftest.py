"""Runs of the command inside this process, and a few finished ones that many tests read."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import logging
import os
import subprocess
import sys
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hypothesis import settings
from numpy.typing import NDArray
from omegaconf import DictConfig
from torch import Tensor

os.environ.pop("HYDRA_FULL_ERROR", None)
if "PYTEST_XDIST_WORKER" in os.environ:  # one worker a core: no threads beside them
    os.environ["OMP_NUM_THREADS"] = "1"  # of processes that tests start
    torch.set_num_threads(1)

from reludyn.__main__ import main
from reludyn.config.parse import OPTIONS, conf_directory, prepare_hydra
from reludyn.config.schema import Init
from reludyn.config.security import guarded
from reludyn.data.laws import InputLaw
from reludyn.data.layouts import Resident
from reludyn.data.samples import Source
from reludyn.network.activation import RELU, LeakyReLU
from reludyn.network.initialization import draw_students
from reludyn.network.student import ReLUStudent
from reludyn.network.teacher import LinearTeacher, axis_teacher
from reludyn.risk import EmpiricalRisk

settings.register_profile("patient", deadline=None)  # time belongs in benchmarks
settings.load_profile("patient")
COMMAND = str(Path(sys.executable).with_name("reludyn"))
QUICK = ("trainer.steps=5", "figures=false", "logger=none")  # a run of a few milliseconds


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of a test marked quick(n) all cases but n, spread evenly, are slow."""
    cases = defaultdict[str, list[pytest.Item]](list)
    for item in items:
        if item.get_closest_marker("quick"):
            cases[item.nodeid.partition("[")[0]].append(item)
    for test in cases.values():
        (number,) = test[0].get_closest_marker("quick").args
        kept = {i * len(test) // number for i in range(number)}
        for i in set(range(len(test))) - kept:
            test[i].add_marker("slow")


@dataclass(frozen=True)
class Finished:
    """What a command printed, how it ended, and what it left below its working directory."""

    code: int
    out: str
    err: str
    where: Path

    @property
    def errors(self) -> list[str]:
        """The lines that say what is wrong."""
        return [line for line in self.err.splitlines() if line.startswith("reludyn: error: ")]

    @property
    def folders(self) -> list[Path]:
        """The folders of its runs, in order."""
        return sorted(config.parent for config in self.where.rglob(".hydra"))

    @cached_property
    def folder(self) -> Path:
        (folder,) = self.folders
        return folder

    def table(self, name: str) -> list[dict[str, str]]:
        """The rows of one of its tables."""
        with (self.folder / name).open(newline="") as file:
            return list(csv.DictReader(file))

    @cached_property
    def arrays(self) -> dict[str, NDArray[Any]]:
        with np.load(self.folder / "trajectory.npz", allow_pickle=False) as file:
            return dict(file)

    @cached_property
    def rows(self) -> list[dict[str, str]]:
        return self.table("replicas.csv")

    @cached_property
    def summary(self) -> dict[str, Any]:
        return json.loads((self.folder / "summary.json").read_text())

    def claims_success(self) -> bool:
        names = ("DONE", "summary.json")
        return any(path.name in names for path in self.where.rglob("*"))


Command = Callable[..., Finished]  # takes the arguments


@contextlib.contextmanager
def _as_a_new_process(where: Path, arguments: tuple[str, ...]) -> Iterator[None]:
    """No state of Hydra's or of logging from earlier commands, and none left for later ones."""
    GlobalHydra.instance().clear()
    HydraConfig.instance().cfg = None
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.chdir(where)
        patch.setattr("sys.argv", ["reludyn", *arguments])
        try:
            yield
        finally:
            for handler in set(root.handlers) - set(handlers):
                handler.close()
            root.handlers[:], root.level = handlers, level


def run_command(where: Path, *arguments: str) -> Finished:
    """`reludyn ARGUMENTS` in the folder `where`; exceptions come through."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    captured = contextlib.redirect_stdout(out), contextlib.redirect_stderr(err)
    with _as_a_new_process(where, arguments), captured[0], captured[1]:
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
    return Finished(code, out.getvalue(), err.getvalue(), where)


@pytest.fixture
def reludyn(tmp_path: Path) -> Command:
    """The command, in a folder of the test's own."""
    return lambda *arguments: run_command(tmp_path, *arguments)


@pytest.fixture(scope="session")
def fig3(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """`reludyn` without arguments."""
    return run_command(tmp_path_factory.mktemp("fig3"))


@pytest.fixture(scope="session")
def ensemble(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Six replicas of width three: every axis has a length of its own."""
    return run_command(
        tmp_path_factory.mktemp("ensemble"),
        "replicas=6", "model.width=3", "init.signs=random", "init.scale=0.1", "data.dim=20",
        "trainer.steps=60", "figures=false",
    )  # fmt: skip


@pytest.fixture(scope="session")
def empirical(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Two replicas on samples, two outputs."""
    return run_command(
        tmp_path_factory.mktemp("empirical"),
        "replicas=2", "data=gaussian", "data.samples=30", "data.dim=5", "data.outputs=2",
        "init.signs=random", "init.scale=0.1", "trainer.steps=20", "figures=false",
    )  # fmt: skip


def contents(folder: Path) -> dict[str, bytes]:
    """Every file but the log, which may grow."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".log")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def reludyn_in(reludyn: Command, folder: str, *overrides: str) -> Finished:
    """A quick run in a folder of that name."""
    finished = reludyn(*QUICK, f"hydra.run.dir={folder}", *overrides)
    return Finished(finished.code, finished.out, finished.err, finished.where / folder)


def process(*arguments: str, where: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """`reludyn ARGUMENTS` as a process of its own."""
    return subprocess.run(
        arguments, cwd=where, env=os.environ | environment, capture_output=True, text=True
    )


def complaint(finished: Finished) -> str:
    """The one line with which a command ended that refused its input."""
    (line,) = finished.errors
    assert finished.code == 2
    assert "Traceback" not in finished.out + finished.err
    return line.removeprefix("reludyn: error: ")


def refused(finished: Finished) -> str:
    """The same, of a command that leaves nothing, where nothing was before."""
    assert not finished.claims_success()
    return complaint(finished)


Composer = Callable[..., DictConfig]
NAMED = "name=test"  # the default takes the name from Hydra's own config, which is not here


@pytest.fixture(scope="module")
def composed() -> Iterator[Composer]:
    """The config that some overrides give."""
    prepare_hydra()
    with guarded([]), initialize_config_dir(str(conf_directory()), version_base="1.3"):
        yield lambda *overrides, **options: compose("config", [NAMED, *overrides], **options)


def drawn(
    name: str, seeds: Sequence[int], k: int, d: int, r: int, scale: float, signs: str = "random",
    teacher: LinearTeacher | None = None, **others: Any,
) -> ReLUStudent:  # fmt: skip
    """Students of an initialisation, without a configuration."""
    given = {"name": name, "scale": scale, "scale_to": None, "output_scale": None, "signs": signs}
    settings = OPTIONS["init"].get(name, Init)(**given | others)
    return draw_students(settings, seeds, k, teacher or axis_teacher(r, d))


def sampled(
    teacher: LinearTeacher, n: int, seeds: Sequence[int], law: InputLaw | None = None,
    noise: float = 0.0,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """X and Y of standard Gaussian inputs, or of another law."""
    samples = Source(teacher, law or InputLaw(), seeds, noise).draw(n)
    return samples.X, samples.Y


def empirical_risk(X: Tensor, Y: Tensor, activation: LeakyReLU = RELU) -> EmpiricalRisk:
    """Of samples in memory."""
    return EmpiricalRisk(Resident(X, Y), activation)
