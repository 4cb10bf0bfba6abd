"""What a program has set of PyTorch and NumPy before it calls this package."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch

_LOCK, _inside = threading.Lock(), 0  # calls in progress, of all threads
PLAIN = torch.float32, "highest"
_theirs: tuple[torch.dtype, str] = PLAIN


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let the block compute what it does in a program that has set nothing: without autocast, with
    new tensors on the CPU and in float32 unless it asks for others, float32 multiplied in full
    precision, and no exceptions of NumPy's for numbers that overflow. Afterwards all is as it was.
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
    """What PyTorch has but once: the first call sets it, the last one puts it back."""
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
