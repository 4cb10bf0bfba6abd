"""The state of a run on disk, complete or absent, readable without executing anything."""

from __future__ import annotations

import io
import json
import math
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from reludyn.dynamics.phases import Clocks
from reludyn.network.notation import Evaluation, Gradient
from reludyn.network.student import ReLUStudent
from reludyn.system.errors import ConfigError
from reludyn.system.files import atomic
from reludyn.system.machine import physical_memory
from reludyn.training.engine import State

VERSION = 2
ORIGIN = {
    "config_hash": str,
    "config": dict,
    "overrides": list,
    "files": dict,
    "changes": list,
    "made_by": dict,
}
COPIES = 3  # of a checkpoint, until its state is that of a run
DTYPES = (torch.float64, torch.float32, torch.int64, torch.int32, torch.bool)
DEPTH = 30  # of what is nested
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
        "now": state.clock_time,
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
        return loaded(path)
    except Unreadable as error:
        raise ConfigError(
            "resume", path, str(error), "Start the run anew, or resume another checkpoint"
        ) from error


def loaded(source: Path | bytes) -> Checkpoint:
    """The checkpoint in a file, or with this content. Raises Unreadable, before more than its size
    is taken from memory."""

    def opened() -> IO[bytes]:
        return io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")

    try:
        with opened() as file:
            size = file.seek(0, io.SEEK_END)
            _check_members(file, size)
            values = torch.load(file, map_location="cpu", weights_only=True)
    except Unreadable:
        raise
    except Exception as error:  # a file of anything makes its parsers raise nearly anything
        raise Unreadable("this is not a checkpoint, or not a whole one") from error
    _check_plain(values, size)
    version = values.get("version") if isinstance(values, dict) else None
    if version != VERSION:
        found = "no version" if version is None else f"version {version}"
        raise Unreadable(f"the checkpoint has {found}; this reludyn reads version {VERSION}")
    return _checkpoint(values)


def _check_members(file: IO[bytes], size: int) -> None:
    """Refuse an archive that torch.save would not have made: parts that are deflated, or lie over
    one another, need more memory than the file has bytes."""
    if COPIES * size > physical_memory():
        raise Unreadable(f"it has {size / 2**30:,.1f} GiB, too many for this machine")
    file.seek(0)
    if file.read(4) != b"PK\3\4":  # torch would take it for a file of before 2020
        raise Unreadable("this is not a checkpoint, or not a whole one")
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        stored = all(member.compress_type == zipfile.ZIP_STORED for member in members)
        if not stored or sum(member.file_size for member in members) > size:
            raise Unreadable("its parts are compressed: this is not a checkpoint of reludyn")
        if archive.testzip() is not None:  # torch does not compare checksums
            raise Unreadable("the checkpoint is damaged: a checksum is wrong")
    file.seek(0)


def _check_plain(values: object, size: int) -> None:
    """Refuse all but plain values, and tensors, in dictionaries and lists, of at most so many parts
    and bytes: lists may hold others many times over, tensors may claim what is not there."""
    parts, held, left = 0, 0, [(values, 0)]
    while left:
        x, depth = left.pop()
        parts += 1
        if isinstance(x, Tensor):
            plain = type(x) is Tensor and x.layout is torch.strided and x.dtype in DTYPES
            if plain and x.device.type == "cpu":
                held += max(x.numel() * x.itemsize, x.untyped_storage().nbytes())
        elif type(x) is dict:
            plain = all(type(name) in (str, int) for name in x)
            left += [(value, depth + 1) for value in x.values()]
        elif type(x) in (list, tuple):
            plain = True
            left += [(value, depth + 1) for value in x]  # type: ignore[attr-defined]
        else:
            plain = x is None or type(x) in (str, float, bool)
            plain = plain or (type(x) is int and abs(x) < 2**63)
        if not plain or parts > size or held > size or depth > DEPTH:
            raise Unreadable("it holds what no checkpoint of reludyn has")


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
        names = ["step", "memory", "steps", "time", "running", "diverged", "stationary", "ceiling"]
        state = State(
            student=student,
            previous=ReLUStudent(*previous),
            evaluation=Evaluation(loss, Gradient(*gradient)),
            clocks=clocks,
            clock_time=values.pop("now"),
            **{name: values.pop(name) for name in names},
        )
        if state.memory is None:  # from version 0.1, where a rule without memory had None
            state = replace(state, memory=())
        basis, seen, _ = (values.pop(name) for name in ("basis", "seen", "version"))
        _check_parts(state, basis, seen)
        _check_origin(values)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise Unreadable(f"the checkpoint lacks {error}") from error
    return Checkpoint(state, basis, values, seen)


def _check_parts(state: State, basis: object, seen: object) -> None:
    """Raise TypeError for parts of the wrong kind. Whether a state belongs to a run is seen once
    there is one."""
    tensors = (
        *state.student,
        *state.previous,
        state.evaluation.loss,
        *state.evaluation.gradient,
        *state.clocks,
        state.steps,
        state.time,
        state.running,
        state.diverged,
        state.stationary,
        state.ceiling,
    )
    if not all(isinstance(x, Tensor) for x in tensors) or state.running.dtype is not torch.bool:
        raise TypeError("tensors of the right type")
    if not is_count(state.step) or not (
        isinstance(state.clock_time, Tensor) or is_duration(state.clock_time)
    ):
        raise TypeError("an iteration and a time")
    if not (basis is None or isinstance(basis, Tensor)):
        raise TypeError("a basis")
    if not isinstance(seen, dict) or (seen and not is_duration(seen["seconds"])):
        raise TypeError("what was recorded")
    if seen:
        columns = seen["trajectory"]["columns"]
        looks = len(columns["loss"])
        whole = all(isinstance(x, Tensor) and len(x) == looks for x in columns.values())
        if not looks or not whole:
            raise TypeError("looks")


def _check_origin(origin: Mapping[str, Any]) -> None:
    for name, kind in ORIGIN.items():
        if not isinstance(origin[name], kind):
            raise TypeError(f"{name} of the right type")
    if not all(isinstance(x, str) for x in (*origin["overrides"], *origin["files"].values())):
        raise TypeError("overrides and files that are text")
    settings = [origin["config"], origin["made_by"], [c["keys"] for c in origin["changes"]]]
    json.dumps(settings, allow_nan=False)
    for change in origin["changes"]:
        time, keys = change["time"], change["keys"].values()
        if not is_count(change["step"]) or not (isinstance(time, Tensor) or is_duration(time)):
            raise TypeError("the iteration and time of a change")
        if not all(isinstance(pair, list) and len(pair) == 2 for pair in keys):
            raise TypeError("both values of a change")


def is_count(x: object) -> bool:
    """Whether it is a number of iterations, replicas, bytes, ..."""
    return type(x) is int and 0 <= x < 2**53


def is_duration(x: object) -> bool:
    """Whether it is a time."""
    return isinstance(x, (int, float)) and 0 <= x < 2**53
