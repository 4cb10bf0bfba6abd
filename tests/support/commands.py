"""Commands of reludyn inside this process or as one of their own, and what they leave."""

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
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from numpy.typing import NDArray
from omegaconf import DictConfig

from reludyn.__main__ import main

COMMAND = str(Path(sys.executable).with_name("reludyn"))


QUICK = ("trainer.steps=5", "figures=false", "logger=none")  # a run of a few milliseconds


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


def interrupt(
    monkeypatch: pytest.MonkeyPatch, owner: object, name: str, call: int, error: BaseException
) -> None:
    """The call-th call of owner.name raises."""
    original, calls = getattr(owner, name), iter(range(1, 10**9))

    def method(*arguments: object) -> object:
        if next(calls) == call:
            raise error
        return original(*arguments)

    monkeypatch.setattr(owner, name, method)
