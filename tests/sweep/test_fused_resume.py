"""A batch of `hydra/launcher=fused` that was killed or interrupted resumes with the command of its
sweep, and its jobs leave what an uninterrupted sweep leaves, to the last bit."""

from __future__ import annotations

import errno
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from reludyn.experiment import write
from reludyn.sweep import fused
from reludyn.training.compiled_engine import CompiledEngine
from reludyn.training.engine import Engine
from tests.support.batches import (
    BASIC,
    FUSED,
    HERE,
    SEEDS,
    SWEPT,
    Killed,
    batches,
    equals,
    same_jobs,
    stop,
)
from tests.support.commands import Command, complaint, contents, interrupt

pytestmark = pytest.mark.usefixtures("short_stretches")

KINDS = {
    "momentum": "optimizer=momentum optimizer.lr=0.05 trainer.steps=80 seed=1,2 init.scale=0.1,0.2",
    "each replica has its own": "trainer.engine=eager trainer.steps=90 seed=0,3 init.scale=0.1,0.5 "
    "optimizer.lr=0.05,0.2 trainer.tolerance=1e-2,1e-6 data.target_norm=1,2 data.dim=6",
    "replicas that stop one by one": "replicas=3 model.width=3 init.signs=random seed=0,5,9 "
    "trainer.steps=300 trainer.tolerance=1e-4 data.dim=6 init.scale=0.5 trainer.engine=eager",
    "adam": "optimizer=adam optimizer.lr=0.01 optimizer.schedule=cosine optimizer.warmup=9 "
    "trainer.steps=80 replicas=2 data.dim=5 seed=0,5",
    "mini-batches": "data=gaussian data.samples=50 data.dim=5 optimizer=sgd optimizer.batch=8 "
    "optimizer.momentum=0.9 optimizer.lr=0.02 trainer.steps=80 seed=0,1 init.scale=0.1",
    "fresh samples": "data=stream data.fresh=true data.samples=9 data.dim=4 trainer.steps=60 "
    "trainer.observables=full seed=0,1",
    "compiled": "trainer.engine=compiled trainer.steps=90 seed=0,1 optimizer.lr=0.1,0.2 "
    "trainer.tolerance=1e-2 init.scale=0.1",
    "two outputs, float32": "data.outputs=2 init.signs=random model.width=4 data.dim=8 "
    "precision=float32 trainer.steps=90 seed=0,1 trainer.tolerance=0",
}


# --- To the last bit --------------------------------------------------------------------------


@pytest.mark.quick(1)
@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_that_was_interrupted_twice_resumes_to_the_last_bit(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str
) -> None:
    """What had been reached can be read meanwhile."""
    words = [*FUSED, *KINDS[kind].split()]
    assert reludyn(*words, "hydra.sweep.dir=whole").code == 0
    sweep = tmp_path / "parts"
    for call in (7, 4):
        with monkeypatch.context() as patch:
            engine = CompiledEngine if kind == "compiled" else Engine
            interrupt(patch, engine, "advance", call, KeyboardInterrupt())
            ended = reludyn(*words, "hydra.sweep.dir=parts")
        assert ended.code == 130
        assert len(batches(sweep)) == 1
        (again,) = [line for line in ended.err.splitlines() if line.startswith("resume ")]
        for folder in ended.folders:
            with np.load(folder / "trajectory.npz") as file:
                assert len(file["step"]) > 1
    resumed = reludyn(*shlex.split(again)[2:])
    assert resumed.code == 0
    assert "the batch resumes at step " in resumed.out
    same_jobs(tmp_path / "whole", sweep)


def test_a_killed_batch_resumes_from_its_last_checkpoint(
    reludyn: Command, killed: Path, whole: Path
) -> None:
    """Until then no job has a file."""
    (file,) = batches(killed)
    assert not [path for path in contents(killed) if path.startswith("0/") and ".hydra" not in path]
    step = torch.load(file, weights_only=True)["step"]
    assert 12 <= step < 50
    resumed = reludyn(*SWEPT, SEEDS, HERE)
    assert f"the batch resumes at step {step}" in resumed.out
    same_jobs(whole, killed)


@pytest.mark.parametrize("place", ["write_done", "write_npz"])
def test_files_that_were_not_written_are_written_without_training(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, whole: Path, place: str
) -> None:
    """Killed before the second job is complete, when all its files are there or none."""
    with monkeypatch.context() as patch:
        interrupt(patch, write, place, 2, Killed())
        with pytest.raises(Killed):
            reludyn(*SWEPT, SEEDS, HERE)
    sweep = tmp_path / "s"
    assert [path.parent.name for path in sweep.rglob("DONE")] == ["0"]
    assert len(batches(sweep)) == 1
    before = contents(sweep / "0")
    interrupt(monkeypatch, Engine, "advance", 1, AssertionError("trained again"))
    assert reludyn(*SWEPT, SEEDS, HERE).code == 0
    assert contents(sweep / "0") == before
    same_jobs(whole, sweep)


def test_the_checkpoint_of_a_batch_that_is_complete_goes(
    reludyn: Command, tmp_path: Path, killed: Path, whole: Path
) -> None:
    """Also where the process was killed just before it went. Nothing runs again."""
    (file,) = batches(killed)
    sweep = Path(shutil.copytree(whole, tmp_path / "complete"))
    (sweep / ".batches").mkdir()
    shutil.copy(file, sweep / ".batches")
    (sweep / ".batches" / "notes.txt").write_text("of somebody else")
    ended = reludyn(*SWEPT, SEEDS, "hydra.sweep.dir=complete")
    assert (ended.code, ended.out.count("batch")) == (0, 0)
    assert [path.name for path in batches(sweep)] == ["notes.txt"]


def test_a_job_that_cannot_be_written_is_written_later(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, whole: Path
) -> None:
    """The others are complete, the batch is kept for it."""
    with monkeypatch.context() as patch:
        interrupt(patch, fused, "write_files", 2, OSError(errno.ENOSPC, "No space left on device"))
        failed = reludyn(*SWEPT, SEEDS, HERE)
    assert failed.code == 1
    assert "reludyn: 1 of 3 jobs failed" in failed.err
    assert len(batches(tmp_path / "s")) == 1
    assert reludyn(*SWEPT, SEEDS, HERE).code == 0
    same_jobs(whole, tmp_path / "s")


# --- Other batches than before ----------------------------------------------------------------


def test_a_sweep_that_has_grown_resumes_the_batch_that_was_begun(
    reludyn: Command, killed: Path, whole: Path
) -> None:
    """The new jobs are a batch of their own; a smaller hydra.launcher.max_replicas is for them."""
    grown = reludyn(*SWEPT, "seed=range(5)", HERE, "hydra.launcher.max_replicas=2")
    assert grown.code == 0
    said = [line for line in grown.out.splitlines() if "batch" in line]
    assert said[0] == "batch 1/2: 3 jobs, 3 replicas"
    assert said[1].startswith("the batch resumes at step ")
    assert said[2] == "batch 2/2: 2 jobs, 2 replicas"
    assert len([*killed.rglob("DONE")]) == 5
    equals(whole, killed, "0", "1", "2")
    assert not batches(killed)


def test_a_batch_with_other_jobs_is_kept_for_them(
    reludyn: Command, killed: Path, whole: Path, tmp_path: Path
) -> None:
    """Those of its jobs that are there begin anew, and the command says so."""
    (file,) = batches(killed)
    fewer = reludyn(*SWEPT, "seed=range(2)", HERE)
    assert fewer.code == 0
    missing = "1 jobs that are not of this command: it stays, and 2 jobs begin anew"
    assert f"{file} is of a batch with {missing}" in fewer.out.replace("s/", f"{tmp_path}/s/", 1)
    assert batches(killed) == [file]
    before = contents(killed / "0")
    again = reludyn(*SWEPT, SEEDS, HERE)
    assert again.code == 0
    assert "the batch resumes at step " in again.out
    assert contents(killed / "0") == before
    equals(whole, killed, "2")
    assert not batches(killed)


def test_a_batch_that_fails_on_the_way_leaves_nothing_but_its_jobs(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its halves are saved by themselves, and complete."""
    interrupt(monkeypatch, Engine, "advance", 14, RuntimeError("a fault"))
    finished = reludyn(*SWEPT, "seed=range(4)", HERE)
    assert finished.code == 0
    assert "4 jobs failed as a batch, its halves run next: a fault" in finished.out
    assert len([*(tmp_path / "s").rglob("DONE")]) == 4
    assert not (tmp_path / "s" / ".batches").exists()


@pytest.mark.slow
def test_halves_of_a_batch_that_failed_resume_as_well(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The batch fails again, and each half resumes from its own checkpoint."""
    train, seeds, limit = fused.train_together, "seed=range(4)", "hydra.launcher.max_replicas="

    def broken(configs: Sequence[object], *others: object) -> object:
        if len(configs) < 4:
            return train(configs, *others)  # type: ignore[arg-type]
        with pytest.MonkeyPatch.context() as patch:
            interrupt(patch, Engine, "advance", 14, RuntimeError("a fault"))
            return train(configs, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(fused, "train_together", broken)
    stop(tmp_path, Killed(), 27, seeds)
    assert len(batches(tmp_path / "s")) == 2
    resumed = reludyn(*SWEPT, seeds, HERE)
    assert resumed.code == 0
    assert resumed.out.count("the batch resumes at step ") == 2
    assert reludyn(*SWEPT, seeds, "hydra.sweep.dir=whole", f"{limit}2").code == 0
    same_jobs(tmp_path / "whole", tmp_path / "s")


# --- Jobs alone, and other ways to run them ---------------------------------------------------


@pytest.mark.slow
def test_a_job_without_company_is_as_under_the_basic_launcher(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With the table of lemmas, which a batch does not have; it resumes from its own checkpoint."""
    words = ("theory.bounds=true", "seed=0,1")
    assert reludyn(*SWEPT, *words, BASIC, "hydra.sweep.dir=whole").code == 0
    finished = stop(tmp_path, KeyboardInterrupt(), 14, *words)
    assert finished is not None
    assert finished.code == 130
    assert not batches(tmp_path / "s")
    # the first job compares its state with a first one, the second one begins
    interrupt(monkeypatch, Engine, "start", 3, AssertionError("begun anew"))
    assert reludyn(*SWEPT, *words, HERE).code == 0
    assert len((tmp_path / "s" / "0" / "bounds.csv").read_text().splitlines()) > 20
    same_jobs(tmp_path / "whole", tmp_path / "s")


def test_a_job_begun_by_the_basic_launcher_resumes_alone(
    reludyn: Command, tmp_path: Path, one_by_one: Path
) -> None:
    """The others go as a batch."""
    stop(tmp_path, Killed(), 14, SEEDS, BASIC)
    finished = reludyn(*SWEPT, SEEDS, HERE)
    assert finished.code == 0
    said = [line for line in finished.out.splitlines() if line.startswith("batch ")]
    assert said == ["batch 1/2: 1 jobs, 1 replicas", "batch 2/2: 2 jobs, 2 replicas"]
    equals(one_by_one, tmp_path / "s", "0")


def test_the_basic_launcher_begins_the_jobs_of_a_batch_anew(
    reludyn: Command, interrupted: Path, one_by_one: Path
) -> None:
    """What an interrupted batch has left in their folders is no hindrance."""
    assert reludyn(*SWEPT, SEEDS, BASIC, HERE).code == 0
    equals(one_by_one, interrupted, "0", "1", "2")


@pytest.mark.parametrize("given", ["the batch", "a job"])
def test_a_job_of_a_batch_does_not_resume_alone(
    reludyn: Command, killed: Path, whole: Path, given: str
) -> None:
    """Of a complete one the checkpoint does not hold the looks."""
    path = batches(killed)[0] if given == "the batch" else whole / "0"
    said = complaint(reludyn(f"resume={path}", "hydra.run.dir=one"))
    assert "is of jobs of a sweep that ran as one batch: none of them resumes alone" in said


def test_another_sweeper_resumes_a_batch_too(reludyn: Command, killed: Path, whole: Path) -> None:
    """Hydra's own, which knows nothing of the jobs that are complete."""
    resumed = reludyn(*SWEPT, SEEDS, "hydra/sweeper=basic", HERE)
    assert resumed.code == 0
    assert "the batch resumes at step " in resumed.out
    same_jobs(whole, killed)
