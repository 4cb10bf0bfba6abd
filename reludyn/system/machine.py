"""The machine's memory and cores, and how its C library treats memory."""

from __future__ import annotations

import ctypes
import os
from functools import cache


def physical_memory() -> int:
    """Return the machine's memory in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@cache
def keep_freed_memory() -> None:
    """Let the C library keep up to 1 GiB of freed memory, and map only pieces above 32 MiB.

    A step frees as much as it allocates: returning pages to the system and requesting them again
    would cost a fifth of it. Nothing happens where the library is not glibc.
    """
    trim_threshold, mmap_threshold = -1, -3  # constants of malloc.h
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(trim_threshold, 2**30)
    mallopt(mmap_threshold, 2**25)
