"""Files of checkpoints: damaged ones are noticed; when they are written."""

from __future__ import annotations

import io
import math
import pickle
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from reludyn.system.errors import ConfigError
from reludyn.training import checkpoint as checkpoint_file
from reludyn.training.checkpoint import (
    Checkpoint,
    Checkpoints,
    Unreadable,
    dumped,
    load_checkpoint,
    loaded,
)
from tests.support.commands import Command, refused, run_command
from tests.support.resuming import FEW, KINDS, SHORT

pytestmark = pytest.mark.usefixtures("short_stretches")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    where = tmp_path_factory.mktemp("checkpoint")
    run_command(where, *FEW, *KINDS["adam"].split(), "hydra.run.dir=run", "logger=none")
    return (where / "run/checkpoints/last.pt").read_bytes()


def test_a_checkpoint_that_was_cut_off_is_refused(checkpoint: bytes, tmp_path: Path) -> None:
    path = tmp_path / "cut.pt"
    for size in {*range(0, len(checkpoint), 997), len(checkpoint) - 1}:
        path.write_bytes(checkpoint[:size])
        with pytest.raises(ConfigError, match="not a whole one"):
            load_checkpoint(path)


def test_a_flipped_bit_is_noticed_or_means_nothing(checkpoint: bytes) -> None:
    """Of a name, a size, a number, a program of the pickle: never another state."""
    rng, refused, whole = np.random.default_rng(0), 0, dumped(loaded(checkpoint))
    for place in rng.integers(0, 8 * len(checkpoint), 300).tolist():
        bits = bytearray(checkpoint)
        bits[place // 8] ^= 1 << place % 8
        try:
            state = loaded(bytes(bits))
        except Unreadable:
            refused += 1
        else:
            assert dumped(state) == whole
    assert refused > 200


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "was here",))

    path = tmp_path / "evil.pt"
    for content, said in (
        ({"version": 2, "W": Evil()}, "not a checkpoint"),
        ({"version": 1}, "version 1; this reludyn reads version 2"),
        ({"version": 2}, "lacks"),
        ([1, 2], "no version"),
    ):
        torch.save(content, path)
        with pytest.raises(ConfigError, match=said):
            load_checkpoint(path)
    path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ConfigError, match="not a checkpoint"):
        load_checkpoint(path)
    assert not (tmp_path / "was here").exists()


def test_files_that_would_cost_more_than_they_have_are_refused(
    checkpoint: bytes, tmp_path: Path
) -> None:
    """Deflated, lying over one another, for torch alone, terabytes of nothing, lists of lists of
    lists, tensors of which there is nothing on disk: before memory is taken."""
    path, content = tmp_path / "x.pt", torch.load(io.BytesIO(checkpoint), weights_only=True)

    def said() -> str:
        with pytest.raises(ConfigError) as error:
            load_checkpoint(path)
        return str(error.value)

    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", bytes(10**7))
    assert "its parts are compressed" in said()
    path.write_bytes(b"#!/bin/sh\n" + checkpoint)
    assert "not a checkpoint" in said()
    with path.open("wb") as file:
        file.truncate(2**42)
    assert "it has 4,096.0 GiB, too many for this machine" in said()
    nested: list[Any] = [0]
    for _ in range(25):
        nested = [nested, nested]
    endless: list[Any] = []
    endless.append(endless)
    wide = torch.zeros(1).expand(10**12)
    sparse = torch.sparse_coo_tensor([[0]], [1.0], (10**12,), check_invariants=True)
    for seen in (nested, endless, wide, sparse, 10**30, {(1, 2): 3}, torch.zeros(2).half()):
        torch.save(content | {"seen": seen}, path)
        assert "it holds what no checkpoint of reludyn has" in said()


EDITS: dict[str, Any] = {
    "step": -1,
    "running": torch.ones(2),
    "T_align": None,
    "W": torch.zeros(2, 2, 5),
    "V": torch.zeros(2, 1, 2, 1).double(),
    "basis": torch.zeros(2, 5, 3).double(),
    "previous": [torch.zeros(1)],
    "ceiling": torch.zeros(3).double(),
    "memory": {"optimizer": {}},
    "memory ": [],
    "memory.0": {},
    "memory.0.1": torch.zeros(2, 9),
    "memory.1": [torch.zeros(2, 2, 5), "x"],
    "evaluation": [torch.zeros(2)],
    "now": math.nan,
    "config": [],
    "overrides": [1],
    "files": {"data.path": 3},
    "changes": [{"step": 3}],
    "changes ": [5],
    "seen.seconds": -1.0,
    "config.trainer.steps": math.nan,
    "seen.trajectory": {},
    "seen.trajectory.columns": 3,
    "seen.trajectory.columns.loss": torch.zeros(4, 3),
    "seen.trajectory.row_bytes": 0,
    "seen.trajectory.columns.W": torch.zeros(4, 2, 2, 3).double(),
    "seen.trajectory.whole": 99,
    "seen.trajectory.left_out": [1],
    "seen.trajectory.replicas": -1,
}


@pytest.mark.quick(6)
@pytest.mark.parametrize("key", EDITS)
def test_edited_checkpoints_are_refused(
    reludyn: Command, checkpoint: bytes, tmp_path: Path, key: str
) -> None:
    """Parts that are missing, of other types, shapes or sizes: one line, and nothing is written."""
    content = torch.load(io.BytesIO(checkpoint), weights_only=True)
    *path, last = key.strip().split(".")
    part = content
    place = [int(name) if name.isdigit() else name for name in (*path, last)]
    for name in place[:-1]:
        part = part[name]
    _ = part[place[-1]]  # it is there
    part[place[-1]] = EDITS[key]
    torch.save(content, tmp_path / "edited.pt")
    assert refused(reludyn("resume=edited.pt", "hydra.run.dir=on")).startswith("resume")


def test_checkpoints_are_written_at_their_cadence(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []
    original = checkpoint_file.save_checkpoint

    def noted(path: Path, made: Checkpoint) -> None:
        steps.append(made.state.step)
        original(path, made)

    monkeypatch.setattr(checkpoint_file, "save_checkpoint", noted)
    reludyn(*SHORT, "trainer.looks=500", "trainer.checkpoint_steps=25")
    assert steps == [25, 50, 75, 90]
    steps.clear()
    reludyn(*SHORT, "trainer.checkpoint_minutes=null", "hydra.run.dir=other")
    assert steps == [90]


def test_checkpoints_take_a_twentieth_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step takes a second, a checkpoint ten: every 200 seconds, where every 60 were wanted."""
    clock, saved = [0.0], []
    state = SimpleNamespace(step=0)
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])

    def save(path: Path, _: object) -> None:
        clock[0] += 10
        saved.append(state.step)

    monkeypatch.setattr(checkpoint_file, "save_checkpoint", save)
    checkpoints = Checkpoints(Path("last.pt"), lambda _: None, seconds=60.0)
    checkpoints.begin(state)
    for _ in range(700):
        state.step += 1
        clock[0] += 1
        checkpoints.follow(state)
    assert saved == [60, 260, 460, 660]
