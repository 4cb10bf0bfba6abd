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
from conftest import Command, Finished, complaint, contents
from resuming import same, short_stretches  # noqa: F401
from test_interruption import interrupt

from reludyn import resume
from reludyn.recording import run_files
from reludyn.sweep import fused
from reludyn.training import checkpoint
from reludyn.training.compiled import CompiledEngine
from reludyn.training.engine import Engine

FUSED = ("-m", "hydra/launcher=fused", "figures=false", "trainer.looks=12")
SWEPT = (*FUSED, "trainer.engine=eager", "trainer.steps=90", "trainer.checkpoint_steps=12",
         "trainer.tolerance=0", "init.scale=0.1", "data.dim=6")  # fmt: skip
SEEDS = "seed=range(3)"
KINDS = {
    "each replica has its own": "trainer.engine=eager trainer.steps=90 seed=0,3 init.scale=0.1,0.5 "
    "optimizer.lr=0.05,0.2 trainer.tolerance=1e-2,1e-6 data.target_norm=1,2 data.dim=6",
    "replicas that stop one by one": "replicas=3 model.width=3 init.signs=random seed=0,5,9 "
    "trainer.steps=300 trainer.tolerance=1e-4 data.dim=6 init.scale=0.5 trainer.engine=eager",
    "momentum": "optimizer=momentum optimizer.lr=0.05 trainer.steps=80 seed=1,2 init.scale=0.1,0.2",
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
}  # fmt: skip


class Killed(BaseException):
    """An end at which nothing more is done, as with SIGKILL."""


def batches(sweep: Path) -> list[Path]:
    return sorted(sweep.glob(".batches/*"))


def same_jobs(whole: Path, sweep: Path) -> None:
    """The same jobs are complete, with the same files; nothing is left of the batches."""
    names = sorted(done.parent.name for done in whole.rglob("DONE"))
    assert sorted(done.parent.name for done in sweep.rglob("DONE")) == names
    assert names
    for name in names:
        same(Finished(0, "", "", whole / name), sweep / name)
    assert not (sweep / ".batches").exists()


def killed(reludyn: Command, monkeypatch: pytest.MonkeyPatch, *words: str, call: int = 14) -> None:
    """A sweep in the folder s that was killed in its call-th stretch."""
    with monkeypatch.context() as patch:
        interrupt(patch, Engine, "advance", call, Killed())
        with pytest.raises(Killed):
            reludyn(*SWEPT, "hydra.sweep.dir=s", *words)


def whole_sweep(reludyn: Command, *words: str, folder: str = "whole") -> Path:
    ended = reludyn(*SWEPT, f"hydra.sweep.dir={folder}", *words)
    assert ended.code == 0
    return ended.where / folder


# --- To the last bit --------------------------------------------------------------------------


@pytest.mark.quick(2)
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
    reludyn: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    killed(reludyn, monkeypatch, SEEDS)
    (file,) = batches(tmp_path / "s")
    step = torch.load(file, weights_only=True)["step"]
    assert 12 <= step < 50
    resumed = reludyn(*SWEPT, SEEDS, "hydra.sweep.dir=s")
    assert f"the batch resumes at step {step}" in resumed.out
    same_jobs(whole_sweep(reludyn, SEEDS), tmp_path / "s")


def test_files_that_were_not_written_are_written_without_training(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Killed between the files of one job and those of the next, and within them."""
    for name, call in (("write_done", 2), ("write_npz", 2)):
        sweep = ("hydra.sweep.dir=" + name, SEEDS)
        with monkeypatch.context() as patch:
            interrupt(patch, run_files, name, call, Killed())
            with pytest.raises(Killed):
                reludyn(*SWEPT, *sweep)
        folder = tmp_path / name
        assert [path.parent.name for path in folder.rglob("DONE")] == ["0"]
        assert len(batches(folder)) == 1
        before = contents(folder / "0")
        with monkeypatch.context() as patch:
            interrupt(patch, Engine, "advance", 1, AssertionError("trained again"))
            assert reludyn(*SWEPT, *sweep).code == 0
        assert contents(folder / "0") == before
        same_jobs(whole_sweep(reludyn, SEEDS, folder=f"{name}_whole"), folder)


def test_a_job_that_cannot_be_written_is_written_later(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The others are complete, the batch is kept for it."""
    with monkeypatch.context() as patch:
        interrupt(patch, fused, "leave", 2, OSError(errno.ENOSPC, "No space left on device"))
        failed = reludyn(*SWEPT, SEEDS, "hydra.sweep.dir=s")
    assert failed.code == 1
    assert "reludyn: 1 of 3 jobs failed" in failed.err
    assert len(batches(tmp_path / "s")) == 1
    assert reludyn(*SWEPT, SEEDS, "hydra.sweep.dir=s").code == 0
    same_jobs(whole_sweep(reludyn, SEEDS), tmp_path / "s")


# --- Other batches than before ----------------------------------------------------------------


@pytest.mark.parametrize("limit", ["null", "2"])
def test_a_sweep_that_has_grown_resumes_the_batch_that_was_begun(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, limit: str
) -> None:
    """The new jobs are a batch of their own; a smaller hydra.launcher.max_replicas is for them."""
    killed(reludyn, monkeypatch, SEEDS)
    grown = reludyn(
        *SWEPT, "seed=range(5)", "hydra.sweep.dir=s", f"hydra.launcher.max_replicas={limit}"
    )
    assert grown.code == 0
    said = [line for line in grown.out.splitlines() if "batch" in line]
    assert said[0] == "batch 1/2: 3 jobs, 3 replicas"
    assert said[1].startswith("the batch resumes at step ")
    assert said[2] == "batch 2/2: 2 jobs, 2 replicas"
    whole = whole_sweep(reludyn, SEEDS)
    for job in "012":
        same(Finished(0, "", "", whole / job), tmp_path / "s" / job)
    assert not batches(tmp_path / "s")


def test_a_batch_with_other_jobs_is_kept_for_them(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Those of its jobs that are there begin anew, and the command says so."""
    killed(reludyn, monkeypatch, SEEDS)
    (file,) = batches(tmp_path / "s")
    fewer = reludyn(*SWEPT, "seed=range(2)", "hydra.sweep.dir=s")
    assert fewer.code == 0
    name = file.relative_to(tmp_path)
    missing = "1 jobs that are not of this command: it stays, and 2 jobs begin anew"
    assert f"{name} is of a batch with {missing}" in fewer.out
    assert batches(tmp_path / "s") == [file]
    before = contents(tmp_path / "s" / "0")
    again = reludyn(*SWEPT, SEEDS, "hydra.sweep.dir=s")
    assert again.code == 0
    assert "the batch resumes at step " in again.out
    assert contents(tmp_path / "s" / "0") == before
    same(Finished(0, "", "", whole_sweep(reludyn, SEEDS) / "2"), tmp_path / "s" / "2")
    assert not batches(tmp_path / "s")


def test_a_batch_that_fails_on_the_way_leaves_nothing_but_its_jobs(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    interrupt(monkeypatch, Engine, "advance", 14, RuntimeError("a fault"))
    finished = reludyn(*SWEPT, "seed=range(4)", "hydra.sweep.dir=s")
    assert finished.code == 0
    assert "4 jobs failed as a batch, halves of it go on: a fault" in finished.out
    assert len([*(tmp_path / "s").rglob("DONE")]) == 4
    assert not (tmp_path / "s" / ".batches").exists()


def test_halves_of_a_batch_that_failed_resume_as_well(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The batch fails again where it did, and each half resumes from its own checkpoint."""
    train = fused.train_together

    def broken(configs: Sequence[object], *others: object) -> object:
        if len(configs) > 2:
            interrupt(monkeypatch, Engine, "advance", 5, RuntimeError("a fault"))
        return train(configs, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(fused, "train_together", broken)
    seeds = "seed=range(4)"
    killed(reludyn, monkeypatch, seeds)
    assert len(batches(tmp_path / "s")) == 2
    resumed = reludyn(*SWEPT, seeds, "hydra.sweep.dir=s")
    assert resumed.code == 0
    assert resumed.out.count("the batch resumes at step ") == 2
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    whole = whole_sweep(reludyn, seeds, "hydra.launcher.max_replicas=2")
    same_jobs(whole, tmp_path / "s")


# --- What a batch cannot resume from ----------------------------------------------------------


@pytest.mark.parametrize("damage", ["cut", "flipped", "renamed", "of a run"])
def test_a_damaged_checkpoint_of_a_batch_is_refused(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, damage: str
) -> None:
    """Nothing is touched. Without it the batch begins anew."""
    with monkeypatch.context() as patch:
        interrupt(patch, Engine, "advance", 9, KeyboardInterrupt())
        assert reludyn(*SWEPT, SEEDS, "hydra.sweep.dir=s").code == 130
    (file,) = batches(tmp_path / "s")
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 4
    if damage == "renamed":
        file = file.rename(file.with_stem("another"))
    elif damage == "of a run":
        reludyn("trainer.steps=3", "figures=false", "logger=none", "hydra.run.dir=one")
        shutil.copy(tmp_path / "one" / "checkpoints" / "last.pt", file)
    else:
        file.write_bytes(content if damage == "flipped" else content[: len(content) // 3])
    before = contents(tmp_path / "s")
    said = complaint(reludyn(*SWEPT, SEEDS, "hydra.sweep.dir=s"))
    assert said.startswith("hydra.sweep.dir=")
    assert f"a batch cannot resume from .batches/{file.name}: " in said
    assert said.endswith(". Move that file away, and the jobs of the batch begin anew")
    assert contents(tmp_path / "s") == before
    file.unlink()
    again = reludyn(*SWEPT, SEEDS, "hydra.sweep.dir=s")
    assert again.code == 0
    assert "resumes at" not in again.out
    same_jobs(whole_sweep(reludyn, SEEDS), tmp_path / "s")


def test_samples_of_a_batch_that_have_changed_are_refused(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    X = np.random.default_rng(0).standard_normal((20, 3))
    np.savez(tmp_path / "x.npz", X=X, A=np.eye(1, 3))
    given = ("data=file", f"data.path={tmp_path}/x.npz", "data.dim=null", "data.outputs=null",
             SEEDS)  # fmt: skip
    killed(reludyn, monkeypatch, *given)
    X[3, 1] += 1e-3
    np.savez(tmp_path / "x.npz", X=X, A=np.eye(1, 3))
    said = complaint(reludyn(*SWEPT, *given, "hydra.sweep.dir=s"))
    assert "the file that data.path names has changed. Move that file away" in said
    assert len(batches(tmp_path / "s")) == 1


def test_weights_of_a_batch_that_are_not_those_of_its_configs_are_refused(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Another version of a program draws others: here the file tells of another first loss."""
    killed(reludyn, monkeypatch, SEEDS)
    (file,) = batches(tmp_path / "s")
    content = torch.load(file, weights_only=True)
    content["seen"]["trajectory"]["columns"]["loss"] *= 1.001
    torch.save(content, file)
    said = complaint(reludyn(*SWEPT, SEEDS, "hydra.sweep.dir=s"))
    assert "its first weights, or their loss, are not those of this config" in said
    assert batches(tmp_path / "s") == [file]


def test_a_batch_that_resumes_with_other_versions_says_so(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed(reludyn, monkeypatch, SEEDS)
    monkeypatch.setattr(resume, "__version__", "0.0.1")
    resumed = reludyn(*SWEPT, SEEDS, "hydra.sweep.dir=s")
    assert resumed.code == 0
    said = "the run goes on to rounding, not to the bit: reludyn is "
    assert said in resumed.out + resumed.err


def test_a_full_disk_ends_the_sweep_and_the_batch_resumes_when_there_is_room(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It says nothing of the jobs: halves of the batch would meet it as well."""
    with monkeypatch.context() as patch:
        full = OSError(errno.ENOSPC, "No space left on device")
        interrupt(patch, checkpoint, "save_checkpoint", 3, full)
        said = complaint(reludyn(*SWEPT, SEEDS, "hydra.sweep.dir=s"))
    assert said.endswith("No space left on device. Make some room, or choose another folder")
    assert reludyn(*SWEPT, SEEDS, "hydra.sweep.dir=s").code == 0
    same_jobs(whole_sweep(reludyn, SEEDS), tmp_path / "s")


# --- Jobs alone, and other ways to run them ---------------------------------------------------


def test_a_job_without_company_is_as_under_the_basic_launcher(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With the table of lemmas, which a batch does not have; it resumes from its own checkpoint."""
    words = (*SWEPT, "theory.bounds=true", "seed=0,1")
    assert reludyn(*words, "hydra/launcher=basic", "hydra.sweep.dir=whole").code == 0
    with monkeypatch.context() as patch:
        interrupt(patch, Engine, "advance", 14, KeyboardInterrupt())
        ended = reludyn(*words, "hydra.sweep.dir=s")
    assert ended.code == 130
    assert not batches(tmp_path / "s")
    with monkeypatch.context() as patch:
        interrupt(patch, Engine, "start", 2, AssertionError("begun anew"))
        assert reludyn(*words, "hydra.sweep.dir=s").code == 0
    assert len((tmp_path / "s" / "0" / "bounds.csv").read_text().splitlines()) > 20
    same_jobs(tmp_path / "whole", tmp_path / "s")


def test_a_job_begun_by_the_basic_launcher_resumes_alone(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    killed(reludyn, monkeypatch, SEEDS, "hydra/launcher=basic")
    fused = reludyn(*SWEPT, SEEDS, "hydra.sweep.dir=s")
    assert fused.code == 0
    said = [line for line in fused.out.splitlines() if line.startswith("batch ")]
    assert said == ["batch 1/2: 1 jobs, 1 replicas", "batch 2/2: 2 jobs, 2 replicas"]
    whole = whole_sweep(reludyn, SEEDS, "hydra/launcher=basic")
    same(Finished(0, "", "", whole / "0"), tmp_path / "s" / "0")


def test_the_basic_launcher_begins_the_jobs_of_a_batch_anew(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What an interrupted batch has left in their folders is no hindrance."""
    with monkeypatch.context() as patch:
        interrupt(patch, Engine, "advance", 14, KeyboardInterrupt())
        assert reludyn(*SWEPT, SEEDS, "hydra.sweep.dir=s").code == 130
    assert reludyn(*SWEPT, SEEDS, "hydra.sweep.dir=s", "hydra/launcher=basic").code == 0
    whole = whole_sweep(reludyn, SEEDS, "hydra/launcher=basic")
    for job in "012":
        same(Finished(0, "", "", whole / job), tmp_path / "s" / job)


@pytest.mark.parametrize("path", ["s/.batches", "whole/0"])
def test_a_job_of_a_batch_does_not_resume_alone(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, path: str
) -> None:
    killed(reludyn, monkeypatch, SEEDS)
    whole_sweep(reludyn, SEEDS)
    (file,) = batches(tmp_path / "s")
    given = file.relative_to(tmp_path) if path == "s/.batches" else path
    said = complaint(reludyn(f"resume={given}", "hydra.run.dir=one"))
    assert "is of jobs of a sweep that ran as one batch: none of them resumes alone" in said


def test_another_sweeper_resumes_a_batch_too(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    words = (SEEDS, "hydra/sweeper=basic")
    killed(reludyn, monkeypatch, *words)
    assert len(batches(tmp_path / "s")) == 1
    resumed = reludyn(*SWEPT, *words, "hydra.sweep.dir=s")
    assert resumed.code == 0
    assert "the batch resumes at step " in resumed.out
    same_jobs(whole_sweep(reludyn, SEEDS), tmp_path / "s")
