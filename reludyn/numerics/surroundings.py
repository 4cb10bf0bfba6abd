"""Settings of PyTorch and NumPy that a program may have changed before it calls this package."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch

_LOCK, _inside = threading.Lock(), 0  # calls in progress in all threads
PLAIN = torch.float32, "highest"
_theirs: tuple[torch.dtype, str] = PLAIN


@contextmanager
def undisturbed() -> Iterator[None]:
    """Run the block as in a program that has changed no setting, and restore the settings after it.

    In the block there is no autocast, new tensors are on the CPU and in float32 unless others are
    asked for, float32 is multiplied in full precision, and NumPy raises no exception for numbers
    that overflow.
    """
    with ExitStack() as settings:
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                settings.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_device().type != "cpu":  # a context slows down whatever is in it
            settings.enter_context(torch.device("cpu"))
        settings.enter_context(np.errstate(all="ignore"))
        settings.enter_context(_of_all_threads())
        yield


@contextmanager
def _of_all_threads() -> Iterator[None]:
    """Change what PyTorch has only once for all threads: the first call sets, the last restores."""
    global _inside, _theirs
    with _LOCK:
        if not _inside:
            _theirs = torch.get_default_dtype(), torch.get_float32_matmul_precision()
            _set(PLAIN)
        _inside += 1
    try:
        yield
    finally:
        with _LOCK:
            _inside -= 1
            if not _inside:
                _set(_theirs)


def _set(wanted: tuple[torch.dtype, str]) -> None:
    if _theirs != PLAIN:
        torch.set_default_dtype(wanted[0])
        torch.set_float32_matmul_precision(wanted[1])
