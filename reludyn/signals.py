"""Signals that end a run in order: Ctrl-C, SIGTERM, and SIGUSR1, with which SLURM can be asked to
announce that a job's time is nearly over."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# what the command ends with; 75 is "try again later" of sysexits.h: the job should be requeued
EXITS = {"SIGINT": 130, "SIGTERM": 143, "SIGUSR1": 75}
_received: list[str] = []  # that have come, in order
_held = 0  # blocks that must not be torn
_waiting = False  # whether one has come meanwhile


@contextmanager
def heeded() -> Iterator[None]:
    """Within the block each of these signals raises KeyboardInterrupt; one that was ignored (as
    SIGINT is by what a shell runs in the background) still is."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _received.clear()
    numbers = [getattr(signal, name) for name in EXITS if hasattr(signal, name)]
    before = {n: signal.getsignal(n) for n in numbers}
    mine = [n for n, handler in before.items() if handler is not signal.SIG_IGN]
    for number in mine:
        signal.signal(number, _take)
    try:
        yield
    finally:
        for number in mine:
            signal.signal(number, before[number])


@contextmanager
def held() -> Iterator[None]:
    """A signal that comes within the block is heeded at its end, a second one at once."""
    global _held, _waiting
    _held += 1
    try:
        yield
    finally:
        _held -= 1
        waiting, _waiting = _waiting and not _held, _waiting and bool(_held)
    if waiting:
        raise KeyboardInterrupt


def exit_code() -> int:
    """Of a command that was interrupted, by the first signal that came."""
    return EXITS[_received[0]] if _received else EXITS["SIGINT"]


def _take(number: int, _: FrameType | None) -> None:
    global _waiting
    _received.append(signal.Signals(number).name)
    if _held and not _waiting:
        _waiting = True
        return
    raise KeyboardInterrupt
