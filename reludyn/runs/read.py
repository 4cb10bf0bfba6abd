"""The files of a run, read and checked."""

from __future__ import annotations

import json
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

import yaml

from reludyn.runs.table import Array, whole
from reludyn.system.arrays import read_npz

NEEDED = {  # in trajectory.npz
    "step",
    "time",
    "loss",
    "loss_linear",
    "loss_rectification",
    "w_norm",
    "v_norm",
    "imbalance",
    "angle_to_target",
    "A",
    "W",
    "V",
    "thinned",
}


def summary_of(path: Path) -> dict[str, Any]:
    """Return a summary.json. Raises ValueError where it is damaged."""
    with whole(path):
        summary = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(summary, dict):
            raise ValueError("it is not a JSON object")
        return summary


def arrays_of(path: Path, names: Container[str] | None = None) -> dict[str, Array]:
    """Return the arrays of an .npz file: all, or those of `names` that it has.

    Raises ValueError where it is damaged: each member has a checksum.
    """
    with whole(path):
        return read_npz(path, names).arrays


def check_looks(path: Path, arrays: Mapping[str, Array], replicas: int) -> None:
    """Raise ValueError where arrays of a trajectory are missing or do not fit together."""
    with whole(path):
        missing = NEEDED - arrays.keys()
        if missing:
            raise ValueError(f"it lacks {', '.join(sorted(missing))}")
        (T,), (r, _) = arrays["step"].shape, arrays["A"].shape
        _, kept, k, d = arrays["W"].shape
        some = arrays["w_norm"].shape[1:2]
        shapes = {
            "time": (T,),
            "loss": (T, replicas),
            "loss_linear": (T, replicas),
            "loss_rectification": (T, replicas),
            "w_norm": (T, *some, k),
            "v_norm": (T, *some, k),
            "imbalance": (T, *some, k),
            "angle_to_target": (T, *some, k),
            "A": (r, d),
            "W": (T, kept, k, d),
            "V": (T, kept, r, k),
            "thinned": (),
        }
        wrong = [name for name, shape in shapes.items() if arrays[name].shape != shape]
        wrong += [name for name, x in arrays.items() if x.dtype.kind not in "Ufiub"]
        if wrong or not T:
            raise ValueError(f"{[*wrong, 'step'][0]} is not what a run has there")


def config_of(folder: Path) -> dict[str, Any]:
    """Return the config of the run in a folder.

    Raises ValueError where the file is damaged: Hydra may have been interrupted while writing it.
    """
    path = folder / ".hydra" / "config.yaml"
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError):
        config = None
    if not isinstance(config, dict) or "figures" not in config:  # one of the last keys
        raise ValueError(f"{path} is damaged: resuming the run writes it anew")
    return config
