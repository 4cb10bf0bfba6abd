"""Signals that end a command in order: Ctrl-C, SIGTERM, and SIGUSR1, with which SLURM can be asked
to announce that a job's time is nearly over."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# what the command ends with; 75 is "try again later" of sysexits.h: the job should be requeued
EXITS = {"SIGINT": 130, "SIGTERM": 143, "SIGUSR1": 75}
_mine: list[int] = []  # signals that this command answers
_received: list[str] = []  # that have come, in order
_held = 0  # blocks that must not be torn
_waiting = False  # whether one has come meanwhile


@contextmanager
def answered(command: str) -> Iterator[None]:
    """The whole of a command, which each of these signals ends with one line; one that was ignored
    (as SIGINT is by what a shell runs in the background) still is.

    Until its work begins (`heed`) the process ends at once: there is nothing to save, and libraries
    that are being imported may swallow an exception.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, _: FrameType | None) -> None:
        os.write(2, f"{command}: interrupted before anything was done\n".encode())
        os._exit(EXITS[signal.Signals(number).name])

    numbers = [getattr(signal, name) for name in EXITS if hasattr(signal, name)]
    before = {n: signal.getsignal(n) for n in numbers}
    _received.clear()
    _mine[:] = [n for n, handler in before.items() if handler is not signal.SIG_IGN]
    for number in _mine:
        signal.signal(number, end)
    try:
        yield
    except KeyboardInterrupt:
        print(f"{command}: interrupted", file=sys.stderr)
        sys.exit(exit_code())
    finally:
        for number in _mine:
            signal.signal(number, before[number])
        _mine.clear()


def heed() -> None:
    """From now on each of the signals that this command answers raises KeyboardInterrupt."""
    for number in _mine:
        signal.signal(number, _take)


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
