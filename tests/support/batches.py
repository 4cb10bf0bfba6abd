"""Batches of `hydra/launcher=fused` that end before their end, and what their jobs leave."""

from __future__ import annotations

from pathlib import Path

import pytest

from reludyn.experiment import cost
from reludyn.training.engine import Engine
from tests.support.commands import Finished, interrupt, run_command
from tests.support.resuming import same

FUSED = ("-m", "hydra/launcher=fused", "figures=false", "trainer.looks=12")
SWEPT = (
    *FUSED,
    "logger=none",
    "trainer.engine=eager",
    "trainer.steps=90",
    "trainer.checkpoint_steps=12",
    "trainer.tolerance=0",
    "init.scale=0.1",
    "data.dim=6",
)
SEEDS = "seed=range(3)"
HERE = "hydra.sweep.dir=s"
BASIC = "hydra/launcher=basic"


class Killed(BaseException):
    """An end at which nothing more is done, as with SIGKILL."""


def batches(sweep: Path) -> list[Path]:
    return sorted(sweep.glob(".batches/*"))


def same_jobs(whole: Path, sweep: Path) -> None:
    """The same jobs are complete, with the same files; nothing is left of the batches."""
    names = sorted(done.parent.name for done in whole.rglob("DONE"))
    assert sorted(done.parent.name for done in sweep.rglob("DONE")) == names
    assert names
    equals(whole, sweep, *names)
    assert not (sweep / ".batches").exists()


def stop(where: Path, error: BaseException, call: int, *words: str) -> Finished | None:
    """A sweep in the folder s below `where` that ended in its call-th stretch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cost, "EAGER", 4e-4)  # as the fixture short_stretches has it
        interrupt(patch, Engine, "advance", call, error)
        if isinstance(error, KeyboardInterrupt):
            return run_command(where, *SWEPT, HERE, *words)
        with pytest.raises(type(error)):
            run_command(where, *SWEPT, HERE, *words)
    return None


def equals(whole: Path, sweep: Path, *jobs: str) -> None:
    """These jobs left the same files in both."""
    for job in jobs:
        same(Finished(0, "", "", whole / job), sweep / job)
