"""The command under torchrun: rank 0 runs it as ever, the other ranks follow.

    torchrun --nproc-per-node=2 -m reludyn data=stream data.samples=10000000

Only rank 0 reads the command line, has a folder, instruments and a console; it tells the others
what to run. A rank that ends before its time ends all: the others learn it from their next
all-reduce, rank 0 saves the state that it had before, and one of them says which rank is missing
and where the checkpoint is.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from types import FrameType
from typing import NoReturn

from omegaconf import OmegaConf
from rich.console import Console
from torch.distributed import DistError

from reludyn.config.explain import explain
from reludyn.config.parse import parse
from reludyn.experiment.run import execute
from reludyn.system.errors import BAD_INPUT, FAILED, ConfigError
from reludyn.system.launch import Launch
from reludyn.training.distributed import LostRankError, Ranks, joined

GRACE = 10.0  # seconds that a rank has to end by itself once torchrun tells it to
ALIKE = 3.0  # seconds within which rank 0 meets a user's error that other ranks have met


def lead_or_follow(place: Launch, command: Callable[[Ranks], None]) -> None:
    """Run the command on rank 0, and on the others what it tells them."""
    with ExitStack() as meeting:
        try:
            ranks = meeting.enter_context(joined(place))
        except ConfigError as error:
            _say(str(error))
            sys.exit(BAD_INPUT)
        _heed_signals(ranks)
        try:
            if ranks.leads:
                _lead(ranks, command)
            else:
                _follow(ranks)
        except (LostRankError, DistError):
            if ranks.leads:
                _save(ranks)
            _lost(ranks)
        except Exception as error:
            traceback.print_exc()
            if ranks.leads:
                _save(ranks)
            ranks.failed(traceback.format_exception_only(error)[-1].strip())
            _lost(ranks)


def _lead(ranks: Ranks, command: Callable[[Ranks], None]) -> None:
    try:
        command(ranks)
    except SystemExit as end:
        if end.code:
            ranks.failed("")  # it has said why
        raise
    finally:
        ranks.dismiss()


def _follow(ranks: Ranks) -> None:
    logging.getLogger("reludyn").addHandler(logging.NullHandler())  # rank 0 says it
    logging.getLogger("reludyn").propagate = False
    composed = ranks.told()
    if composed is None:
        return
    try:
        execute(parse(OmegaConf.create(composed)), Console(quiet=True), ranks)
    except (ConfigError, OSError) as error:  # usually rank 0 meets the same, and says it
        end = time.monotonic() + ALIKE
        while ranks.why(0) is None and time.monotonic() < end:
            time.sleep(0.05)
        if ranks.why(0) is None and ranks.speaks():
            _say(f"rank {ranks.place.rank}: {explain(error, ())}")
        ranks.failed(explain(error, ()))
        sys.exit(BAD_INPUT)


def _save(ranks: Ranks) -> None:
    try:
        ranks.save()
    except OSError as error:
        _say(f"rank 0 cannot save what had been reached: {explain(error, ())}")


def _lost(ranks: Ranks) -> NoReturn:
    """End, as another rank has."""
    ranks.leave()
    _say_who(ranks, "a rank was lost")
    sys.stdout.flush()
    os._exit(FAILED)  # libraries may still wait for the rank that is lost


def _say_who(ranks: Ranks, otherwise: str) -> None:
    """Which ranks are missing and what is left, once, unless rank 0 has said what is wrong."""
    missing = ranks.roll_call()
    if ranks.why(0) == "" or not ranks.speaks():
        return
    who = [
        f"rank {rank} has failed: {why}" if why else f"no answer from rank {rank}"
        for rank, why in missing.items()
    ]
    what = "; ".join(who) or otherwise
    _say(f"{what}. The run is not complete (no DONE); {ranks.saved()}")


def _say(line: str) -> None:
    print(f"reludyn: error: {line}", file=sys.stderr, flush=True)


def _heed_signals(ranks: Ranks) -> None:
    """Ctrl-C, which reaches all ranks, and SIGTERM or SIGHUP, with which torchrun ends those that
    are left (or a scheduler all of them): rank 0 stops all at the end of the stretch.

    Where it cannot, because a rank is lost for which the main thread waits, deep in a library where
    no handler runs, a thread that the signal wakes ends the process.
    """

    def ask(number: int, _: FrameType | None) -> None:
        ranks.stop |= ranks.leads or number in ends

    ends = (signal.SIGTERM, signal.SIGHUP)
    for asked in (*ends, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(asked, ask)
    woken, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)

    def watch() -> None:
        while (number := os.read(woken, 1)[0]) not in ends:
            pass
        ranks.answer()  # the main thread may be in a long step
        time.sleep(GRACE)
        _say_who(ranks, f"stopped by {signal.Signals(number).name} before it could end")
        os._exit(128 + number)

    threading.Thread(target=watch, daemon=True).start()
