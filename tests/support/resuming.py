"""Runs that end before their end and go on, and what they leave: for test_resume.py and others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reludyn.training.engine import Engine
from tests.support.boards import events
from tests.support.commands import Command, Finished, interrupt

FEW = ("figures=false", "trainer.looks=12", "trainer.tolerance=0", "init.scale=0.1")
KINDS = {
    "gd": "trainer.steps=90 trainer.engine=eager theory.bounds=true theory.spectrum=true",
    "a batch that stops one by one": "replicas=5 model.width=3 init.signs=random trainer.steps=300 "
    "trainer.tolerance=1e-4 data.dim=6 init.scale=0.5 trainer.engine=eager",
    "momentum": "optimizer=momentum optimizer.lr=0.05 trainer.steps=80",
    "adam": "optimizer=adam optimizer.lr=0.01 optimizer.schedule=cosine optimizer.warmup=9 "
    "trainer.steps=80 replicas=2 data.dim=5",
    "mini-batches": "data=gaussian data.samples=50 data.dim=5 optimizer=sgd optimizer.batch=8 "
    "optimizer.momentum=0.9 optimizer.lr=0.02 trainer.steps=80 replicas=2",
    "samples": "data=gaussian data.samples=60 data.dim=4 replicas=3 trainer.steps=80",
    "stream": "data=stream data.samples=50 data.dim=4 trainer.steps=60 replicas=2",
    "fresh samples": "data=stream data.fresh=true data.samples=9 data.dim=4 trainer.steps=60 "
    "trainer.observables=full",
    "gradient flow": "optimizer=gradient_flow trainer.steps=60 optimizer.rtol=1e-6",
    "compiled": "trainer.engine=compiled trainer.steps=90 replicas=3 trainer.tolerance=1e-2",
    "compiled, samples": "trainer.engine=compiled data=gaussian data.samples=90 data.dim=4 "
    "trainer.steps=90 replicas=2 trainer.tolerance=1e-3",
    "two outputs, float32": "data.outputs=2 init.signs=random model.width=4 data.dim=8 "
    "precision=float32 trainer.steps=90 replicas=2",
}


def told(folder: Path) -> dict[str, list[Any]]:
    """Of each event file what is not of a moment: steps, tags and numbers, in order."""
    found = {}
    for path in sorted(folder.rglob("events.*")):
        found[str(path.parent.relative_to(folder))] = [
            (event.step, value.tag, value.simple_value, list(value.tensor.float_val))
            for event in events(path.parent)
            for value in event.summary.value
            if not value.tag.startswith(("about/", "_hparams_", "custom_scalars"))
        ]
    return found


def same(whole: Finished, folder: Path) -> None:
    """A run that went on in a folder left what `whole` left."""
    with np.load(folder / "trajectory.npz") as file:
        assert set(file.files) == set(whole.arrays)
        for name, x in whole.arrays.items():
            np.testing.assert_array_equal(file[name], x, err_msg=name, strict=True)
    for name in ("replicas.csv", "bounds.csv", "DONE"):
        if (whole.folder / name).exists():
            assert (folder / name).read_bytes() == (whole.folder / name).read_bytes()
    assert told(folder / "tensorboard") == told(whole.folder / "tensorboard")
    summaries = [json.loads((f / "summary.json").read_text()) for f in (whole.folder, folder)]
    for summary in summaries:
        assert summary.pop("wall_seconds") > 0
    assert summaries[0] == summaries[1]
    saved = [
        torch.load(f / "checkpoints/last.pt", weights_only=True) for f in (whole.folder, folder)
    ]
    assert equal({**saved[0], "seen": None}, {**saved[1], "seen": None})


def equal(a: Any, b: Any) -> bool:
    """Nested values, to the last bit."""
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return set(a) == set(b) and all(equal(a[name], b[name]) for name in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(equal, a, b))
    return bool(a == b)


SHORT = [*FEW, *KINDS["gd"].split()[:2]]
CRASH = RuntimeError("the machine is gone")


def crashed(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch, folder: str, *overrides: str, call: int = 14
) -> None:
    """A run that ended without a word in its call-th stretch; a checkpoint is some stretches old,
    events have gone on."""
    words = [*SHORT, "trainer.checkpoint_steps=12", f"hydra.run.dir={folder}", *overrides]
    with monkeypatch.context() as patch:
        interrupt(patch, Engine, "advance", call, CRASH)
        with pytest.raises(RuntimeError, match="is gone"):
            reludyn(*words)


def whole_run(reludyn: Command, *overrides: str) -> Finished:
    ended = reludyn(*SHORT, "trainer.checkpoint_steps=12", "hydra.run.dir=whole", *overrides)
    return Finished(ended.code, ended.out, ended.err, ended.where / "whole")
