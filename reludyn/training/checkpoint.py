"""The state of a run on disk, complete or absent, readable without executing anything."""

from __future__ import annotations

import io
from pathlib import Path

import torch
from torch import Tensor

from reludyn.files import atomic
from reludyn.training.engine import State

VERSION = 1


def save_checkpoint(path: Path, state: State, basis: Tensor | None, digest: str) -> None:
    """W (R, k, m), V (R, r, k), steps, flags, clocks and the memory of the update rule, in the
    coordinates of the run: the weights in R^d are W basis^T, with basis (R, d, m); W itself where
    basis is None.

    `torch.load(path, weights_only=True)` reads it; config_hash is that of DONE.
    """
    content = {
        "version": VERSION,
        "config_hash": digest,
        "W": state.student.W,
        "V": state.student.V,
        "basis": basis,
        "step": state.step,
        "time": state.time,
        "memory": state.memory,
        "steps": state.steps,
        "running": state.running,
        "diverged": state.diverged,
        "stationary": state.stationary,
        **{f"T_{name}": clock for name, clock in state.clocks._asdict().items()},
    }
    # of a part of a batch the whole would be saved
    on_host = {n: x.cpu().clone() if isinstance(x, Tensor) else x for n, x in content.items()}
    whole = io.BytesIO()  # torch ends the process where it cannot finish a file
    torch.save(on_host, whole)
    with atomic(path) as file:
        file.write(whole.getbuffer())
