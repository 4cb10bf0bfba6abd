"""The state of a run on disk, complete or absent, readable without executing anything."""

from __future__ import annotations

import io
import math
import pickle
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reludyn.errors import ConfigError
from reludyn.files import atomic
from reludyn.notation import Evaluation, Gradient
from reludyn.phases import Clocks
from reludyn.student import ReLUStudent
from reludyn.training.engine import State

VERSION = 2
ORIGIN = {
    "config_hash": str, "config": dict, "overrides": list, "files": dict, "changes": list,
    "made_by": dict,
}  # fmt: skip
SHARE = 0.05  # of the time, at most, that writing checkpoints takes at a cadence


@dataclass(frozen=True)
class Checkpoint:
    """A state, where it comes from, and what the instruments had recorded.

    basis: the weights in R^d are W basis^T, with basis (R, d, m); W itself where it is None.
    origin, seen: mappings of plain values and tensors; `origin` has the entries of ORIGIN.
    """

    state: State
    basis: Tensor | None
    origin: Mapping[str, Any]
    seen: Mapping[str, Any] = field(default_factory=dict)


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """W (R, k, m), V (R, r, k), all else of the state, and what came with it.

    `torch.load(path, weights_only=True)` reads it; config_hash is that of DONE.
    """
    content = dumped(checkpoint)
    with atomic(path) as file:
        file.write(content)


def dumped(checkpoint: Checkpoint) -> bytes:
    """The content of such a file."""
    state = checkpoint.state
    content = {
        "version": VERSION,
        "W": state.student.W,
        "V": state.student.V,
        "basis": checkpoint.basis,
        "step": state.step,
        "time": state.time,
        "memory": state.memory,
        "steps": state.steps,
        "running": state.running,
        "diverged": state.diverged,
        "stationary": state.stationary,
        **{f"T_{name}": clock for name, clock in state.clocks._asdict().items()},
        "previous": tuple(state.previous),
        "evaluation": (state.evaluation.loss, *state.evaluation.gradient),
        "now": state.now,
        "ceiling": state.ceiling,
        "seen": checkpoint.seen,
        **checkpoint.origin,
    }
    whole = io.BytesIO()  # torch ends the process where it cannot finish a file
    torch.save(_on_host(content), whole)
    return whole.getvalue()


def load_checkpoint(path: Path) -> Checkpoint:
    """What `save_checkpoint` wrote. Raises ConfigError where the file is not that, whole."""
    try:
        return loaded(path.read_bytes())
    except Unreadable as error:
        raise ConfigError(
            "resume", path, str(error), "Start the run anew, or resume another checkpoint"
        ) from error


def loaded(content: bytes) -> Checkpoint:
    """The checkpoint with this content. Raises Unreadable."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as members:
            broken = members.testzip()  # torch does not compare checksums
        if broken is not None:
            raise Unreadable("the checkpoint is damaged: a checksum is wrong")
        values = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (zipfile.BadZipFile, pickle.UnpicklingError, RuntimeError, EOFError, OSError,
            NotImplementedError, ValueError) as error:  # fmt: skip
        if isinstance(error, Unreadable):
            raise
        raise Unreadable("this is not a checkpoint, or not a whole one") from error
    version = values.get("version") if isinstance(values, dict) else None
    if version != VERSION:
        found = "no version" if version is None else f"version {version}"
        raise Unreadable(f"the checkpoint has {found}; this reludyn reads version {VERSION}")
    return _checkpoint(values)


class Unreadable(ValueError):
    """Not a whole checkpoint of this version."""


class Checkpoints:
    """Saves what a run has reached, at a cadence and when it is asked to.

    make: the checkpoint of a state, now; every so many iterations, and every so many seconds but
    in at most SHARE of the time, the one between two stretches is saved.
    """

    def __init__(
        self,
        path: Path,
        make: Callable[[State], Checkpoint],
        steps: float = math.inf,
        seconds: float = math.inf,
    ) -> None:
        self.path, self.make, self.steps, self.seconds = path, make, steps, seconds
        self.latest: State | None = None  # between the last two stretches
        self.saved: int | None = None  # its iteration
        self.due_step, self.due = steps, time.monotonic() + seconds

    def begin(self, state: State) -> None:
        """The state before the first stretch."""
        self.latest, self.due_step = state, state.step + self.steps

    def follow(self, state: State) -> bool:
        """The state after a stretch; whether it was saved."""
        self.latest = state
        now = time.monotonic()
        if state.step < self.due_step and now < self.due:
            return False
        self.save()
        end = time.monotonic()
        self.due = end + max(self.seconds, (end - now) / SHARE)
        self.due_step = state.step + self.steps
        return True

    def save(self) -> None:
        """What was reached last."""
        if self.latest is not None:
            save_checkpoint(self.path, self.make(self.latest))
            self.saved = self.latest.step


def _on_host(x: Any) -> Any:
    """Nested values with each tensor in memory of its own: a part of a batch would keep all."""
    if isinstance(x, Tensor):
        return x.cpu().clone()
    if isinstance(x, np.ndarray):
        return torch.from_numpy(np.ascontiguousarray(x).reshape(x.shape))
    if isinstance(x, Mapping):
        return {name: _on_host(value) for name, value in x.items()}
    if isinstance(x, (tuple, list)):
        return [_on_host(value) for value in x]
    return x


def _checkpoint(values: dict[str, Any]) -> Checkpoint:
    """From what a file holds, of which `origin` is what is not of the state."""
    try:
        previous, (loss, *gradient) = values.pop("previous"), values.pop("evaluation")
        clocks = Clocks(*(values.pop(f"T_{name}") for name in Clocks._fields))
        student = ReLUStudent(values.pop("W"), values.pop("V"))
        names = ("step", "now", "memory", "steps", "time", "running", "diverged", "stationary",
                 "ceiling")  # fmt: skip
        state = State(
            student=student,
            previous=ReLUStudent(*previous),
            evaluation=Evaluation(loss, Gradient(*gradient)),
            clocks=clocks,
            **{name: values.pop(name) for name in names},
        )
        basis, seen, _ = (values.pop(name) for name in ("basis", "seen", "version"))
        for name, kind in ORIGIN.items():
            if not isinstance(values[name], kind):
                raise TypeError(f"{name} of the right type")
        if not all(isinstance(x, str) for x in values["overrides"]):
            raise TypeError("overrides that are text")
    except (KeyError, TypeError, ValueError) as error:
        raise Unreadable(f"the checkpoint lacks {error}") from error
    return Checkpoint(state, basis, values, seen)
