"""Signals that end a command in order.

They are Ctrl-C, SIGTERM, SIGHUP of a terminal that is closed, and SIGUSR1 or SIGUSR2, with which
SLURM can be asked to announce that a job's time is nearly over.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

# exit codes of the command; 75 is "try again later" of sysexits.h: the job should be requeued
EXITS = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129, "SIGUSR1": 75, "SIGUSR2": 75}
_mine: list[int] = []  # signals that this command answers
_received: list[str] = []  # signals that have arrived, in order
_held = 0  # blocks in progress that must not be interrupted
_waiting = False  # whether a signal has arrived in such a block


@contextmanager
def answered(command: str) -> Iterator[None]:
    """Run the whole of a command, which each of these signals ends with one line.

    A signal that was ignored (as SIGINT is for commands that a shell runs in the background) still
    is. Until the command's work begins (`heed`) the process ends at once: there is nothing to save,
    and libraries that are being imported may swallow an exception.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, _: FrameType | None) -> None:
        with suppress(OSError):  # nobody reads it
            os.write(2, f"{command}: interrupted before anything was done\n".encode())
        os._exit(EXITS[signal.Signals(number).name])

    _mine[:] = _not_ignored()
    before = {number: signal.signal(number, end) for number in _mine}
    try:
        yield
    except KeyboardInterrupt:
        print(f"{command}: interrupted", file=sys.stderr)
        sys.exit(exit_code())
    finally:
        for number in _mine:
            signal.signal(number, before[number])
        _mine.clear()
        _received.clear()


def heed() -> None:
    """Let each of the signals that this command answers raise KeyboardInterrupt from now on."""
    for number in _mine:
        signal.signal(number, _take)


@contextmanager
def held() -> Iterator[None]:
    """Heed a signal that arrives within the block at its end, a second one at once."""
    global _held, _waiting
    _held += 1
    try:
        yield
    finally:
        _held -= 1
        waiting, _waiting = _waiting and not _held, _waiting and bool(_held)
    if waiting:
        raise KeyboardInterrupt


@contextmanager
def delegated(said: str) -> Iterator[None]:
    """Run a block that starts processes, which do the work.

    The first signal is passed on to them, `said` is printed, and the signal is heeded at the end of
    the block; a second one is heeded at once. The processes start with these signals blocked until
    they can answer them (`attend`): this thread blocks them, and with it those that it starts; a
    thread that was started before receives them.
    """
    done = threading.Event()
    with held():
        threading.Thread(target=_pass_on, args=(said, done), daemon=True).start()
        block()
        try:
            yield
        finally:
            done.set()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _mine)


def block() -> None:
    """Block signals: other threads receive them, and new processes keep them waiting."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _mine)


def _pass_on(said: str, done: threading.Event) -> None:
    from multiprocessing import active_children  # loaded already by whatever started processes

    while not _received:
        if done.wait(0.1):
            return
    with suppress(OSError):  # nobody reads it
        os.write(2, f"{said}\n".encode())
    told = set[int]()
    while not done.wait(0.1):  # a process may just be starting
        for child in active_children():
            if child.pid is not None and child.pid not in told:
                told.add(child.pid)
                with suppress(ProcessLookupError):  # it has ended
                    os.kill(child.pid, getattr(signal, _received[0]))


def attend() -> None:
    """Remember signals from now on, in a process that `delegated` has started.

    A signal that arrived before is remembered, too.
    """
    global _held
    if not _mine:
        _held = 1
        _mine[:] = _not_ignored()
        for number in _mine:
            signal.signal(number, _take_first)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _mine)


@contextmanager
def heeding() -> Iterator[None]:
    """Run a job in such a process: the first signal raises KeyboardInterrupt here, once.

    Later signals are copies, or the end of all jobs, which the first process handles.
    """
    global _held
    _held -= 1
    try:
        if _waiting:
            raise KeyboardInterrupt
        yield
    finally:
        _held += 1


def check() -> None:
    """Raise KeyboardInterrupt again where it was lost.

    Python drops exceptions that are raised while it deletes an object.
    """
    if _received and not _held:
        raise KeyboardInterrupt


def interrupted() -> bool:
    """Return whether a signal has arrived."""
    return bool(_received)


def exit_code() -> int:
    """Return the exit code of an interrupted command, by the first signal that arrived."""
    return EXITS[_received[0]] if _received else EXITS["SIGINT"]


def _leave_terminal() -> None:
    """Detach from a terminal that is closed.

    Otherwise the next line that is printed would be an error, before results are saved.
    """
    for number in (1, 2):
        try:
            os.get_terminal_size(number)
        except OSError as error:
            if error.errno == errno.EIO:
                os.dup2(os.open(os.devnull, os.O_WRONLY), number)


def _not_ignored() -> list[int]:
    numbers = [getattr(signal, name) for name in EXITS if hasattr(signal, name)]
    return [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]


def _take_first(number: int, frame: FrameType | None) -> None:
    if not _received:
        _take(number, frame)


def _take(number: int, _: FrameType | None) -> None:
    global _waiting
    _received.append(signal.Signals(number).name)
    if _received[-1] == "SIGHUP":
        _leave_terminal()
    if _held and not _waiting:
        _waiting = True
        return
    raise KeyboardInterrupt
