"""What a batch of `hydra/launcher=fused` cannot resume from; what it says of other conditions."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from reludyn.experiment import resume
from reludyn.training import checkpoint
from tests.support.batches import HERE, SEEDS, SWEPT, Killed, batches, same_jobs, stop
from tests.support.commands import Command, complaint, contents, interrupt

pytestmark = pytest.mark.usefixtures("short_stretches")


# --- What a batch cannot resume from ----------------------------------------------------------


@pytest.mark.quick(2)
@pytest.mark.parametrize("damage", ["cut", "flipped", "renamed", "of a run"])
def test_a_damaged_checkpoint_of_a_batch_is_refused(
    reludyn: Command, interrupted: Path, whole: Path, damage: str
) -> None:
    """Nothing of its jobs is touched: what Ctrl-C had left can still be read."""
    (file,) = batches(interrupted)
    content = bytearray(file.read_bytes())
    if damage == "renamed":
        file = file.rename(file.with_stem("another"))
    elif damage == "of a run":
        shutil.copy(whole / "0" / "checkpoints" / "last.pt", file)
    elif damage == "flipped":
        weights = torch.load(file, weights_only=True)["W"].numpy().tobytes()
        content[content.index(weights)] ^= 4
        file.write_bytes(content)
    else:
        file.write_bytes(content[: len(content) // 3])
    (interrupted / "multirun.yaml").unlink()
    before = contents(interrupted)
    said = complaint(reludyn(*SWEPT, SEEDS, HERE))
    assert said.startswith("hydra.sweep.dir=")
    assert f"a batch cannot resume from .batches/{file.name}: " in said
    assert said.endswith(". Move that file away, and the jobs of the batch begin anew")
    (interrupted / "multirun.yaml").unlink()  # of this command
    assert contents(interrupted) == before


def test_without_its_checkpoint_a_batch_begins_anew(
    reludyn: Command, interrupted: Path, whole: Path
) -> None:
    """Over what Ctrl-C had left."""
    batches(interrupted)[0].unlink()
    again = reludyn(*SWEPT, SEEDS, HERE)
    assert again.code == 0
    assert "resumes at" not in again.out
    same_jobs(whole, interrupted)


def test_samples_of_a_batch_that_have_changed_are_refused(reludyn: Command, tmp_path: Path) -> None:
    X = np.random.default_rng(0).standard_normal((20, 3))
    np.savez(tmp_path / "x.npz", X=X, A=np.eye(1, 3))
    sizes = ("data.dim=null", "data.outputs=null")
    given = ("data=file", f"data.path={tmp_path}/x.npz", *sizes, SEEDS)
    stop(tmp_path, Killed(), 14, *given)
    X[3, 1] += 1e-3
    np.savez(tmp_path / "x.npz", X=X, A=np.eye(1, 3))
    said = complaint(reludyn(*SWEPT, *given, HERE))
    assert "the file that data.path names has changed. Move that file away" in said
    assert len(batches(tmp_path / "s")) == 1


def test_weights_of_a_batch_that_are_not_those_of_its_configs_are_refused(
    reludyn: Command, killed: Path
) -> None:
    """Another version of a program draws others: here the file tells of another first loss."""
    (file,) = batches(killed)
    content = torch.load(file, weights_only=True)
    content["seen"]["trajectory"]["columns"]["loss"] *= 1.001
    torch.save(content, file)
    said = complaint(reludyn(*SWEPT, SEEDS, HERE))
    assert "its first weights, or their loss, are not those of this config" in said
    assert batches(killed) == [file]


@pytest.mark.usefixtures("killed")
def test_a_batch_that_resumes_with_other_versions_says_so(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a run does."""
    monkeypatch.setattr(resume, "version", lambda _: "0.0.1")
    resumed = reludyn(*SWEPT, SEEDS, HERE)
    assert resumed.code == 0
    said = "the run goes on to rounding, not to the bit: reludyn is "
    assert said in resumed.out + resumed.err


def test_a_full_disk_ends_the_sweep_and_the_batch_resumes_when_there_is_room(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, whole: Path
) -> None:
    """It says nothing of the jobs: halves of the batch would meet it as well."""
    with monkeypatch.context() as patch:
        full = OSError(errno.ENOSPC, "No space left on device")
        interrupt(patch, checkpoint, "save_checkpoint", 3, full)
        said = complaint(reludyn(*SWEPT, SEEDS, HERE))
    assert said.endswith("No space left on device. Make some room, or choose another folder")
    assert reludyn(*SWEPT, SEEDS, HERE).code == 0
    same_jobs(whole, tmp_path / "s")
