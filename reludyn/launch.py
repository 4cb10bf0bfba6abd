"""How this process was started: alone, or by torchrun as one of several ranks."""

from __future__ import annotations

import os
from dataclasses import dataclass

_NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Launch:
    """The place of a process among those of one run."""

    rank: int = 0
    size: int = 1  # ranks in all
    local_rank: int = 0
    local_size: int = 1  # ranks on this machine


def launched() -> Launch:
    """What torchrun has left in the environment; without it, the one rank of a run alone."""
    known = os.environ
    if not all(name in known for name in _NEEDED) or int(known["WORLD_SIZE"]) == 1:
        return Launch()
    local = int(known.get("LOCAL_RANK", "0")), int(known.get("LOCAL_WORLD_SIZE", "1"))
    return Launch(int(known["RANK"]), int(known["WORLD_SIZE"]), *local)


def physical_memory() -> int:
    """Bytes of the machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
