"""How this process was started: alone, or by torchrun as one of several ranks."""

from __future__ import annotations

import os
from dataclasses import dataclass

from reludyn.system.errors import ConfigError

_NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
ALONE = f"To run alone: unset {' '.join(_NEEDED)}"


@dataclass(frozen=True)
class Launch:
    """Place of a process among the processes of one run."""

    rank: int = 0
    size: int = 1  # ranks in all
    local_rank: int = 0
    local_size: int = 1  # ranks on this machine


def launched() -> Launch:
    """Return the place that torchrun has left in the environment; without it, that of a run alone.

    Raises ConfigError for a variable that is not a number.
    """
    if not all(name in os.environ for name in _NEEDED) or _number("WORLD_SIZE") == 1:
        return Launch()
    _number("MASTER_PORT")
    local = _number("LOCAL_RANK", "0"), _number("LOCAL_WORLD_SIZE", "1")
    return Launch(_number("RANK"), _number("WORLD_SIZE"), *local)


def from_torchrun() -> bool:
    """Return whether torchrun started this process, and others beside it."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def _number(name: str, default: str = "") -> int:
    value = os.environ.get(name, default)
    if not value.isdecimal():
        raise ConfigError(name, value, "must be an integer, as torchrun sets it", ALONE)
    return int(value)
