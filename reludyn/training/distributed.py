"""One run on several processes: what ranks tell each other while they train.

Every rank has a share of the rows of the same data set (`reludyn.data.shares`) and all weights;
sums over rows are completed by all-reduce (`reludyn.risk.sharded`). All ranks must go the same way:

- The weights stay the same to the last bit. An all-reduce, of gloo (a ring) and of NCCL, makes each
  sum in one place and hands out copies of it, so all ranks get the same bits, and make the same
  step from them. Whether they did is checked at every stretch: on machines of different kinds
  rounding may differ.
- What depends on clocks or signals (how long a stretch is, when time is up) rank 0 decides.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as StillWaitingError
from contextlib import contextmanager, suppress
from datetime import timedelta
from threading import Thread
from typing import Any

import torch
from torch import Tensor
from torch import distributed as torch_ranks
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from reludyn.data.shares import share
from reludyn.system.errors import ConfigError
from reludyn.system.launch import ALONE as TO_RUN_ALONE
from reludyn.system.launch import Launch
from reludyn.training.checkpoint import Checkpoints
from reludyn.training.engine import State

TIMEOUT = timedelta(minutes=5)  # that ranks may wait for each other, also where none has died
INTERRUPTED = -1  # a stretch of this many iterations: stop here
SILENCE = 5.0  # seconds before a rank says for whom it waits at the start
PATIENCE = 3.0  # seconds that ranks have to answer a roll call


class LostRankError(RuntimeError):
    """Another rank has ended, or has not answered for TIMEOUT."""


class Ranks:
    """The ranks of a run, seen from one of them; of a run alone there is one.

    `stop`: on rank 0, whether somebody has asked for an end; all stop before the next stretch.
    """

    stop = False

    def __init__(self, place: Launch, store: Any = None) -> None:
        self.place, self.store = place, store
        self.checkpoints: Checkpoints | None = None  # on rank 0, once it trains

    @property
    def several(self) -> bool:
        return self.place.size > 1

    @property
    def leads(self) -> bool:
        """Whether this is rank 0, which has the folder, the instruments and the console."""
        return self.place.rank == 0

    def rows(self, n: int, unit: int) -> range:
        """Return those of n rows that belong to this rank, in whole units."""
        return share(n, unit, self.place.rank, self.place.size)

    def device(self, device: torch.device) -> torch.device:
        """The one of this rank. Raises ConfigError with fewer CUDA devices than ranks here."""
        if not self.several or device.type != "cuda":
            return device
        here, there = self.place.local_size, torch.cuda.device_count()
        if here > there:
            raise ConfigError(
                "device",
                "cuda",
                f"{here} ranks cannot share {there} CUDA devices",
                f"Use --nproc-per-node={there}, or device=cpu",
            )
        torch.cuda.set_device(self.place.local_rank)
        return torch.device("cuda", self.place.local_rank)

    def total(self, flat: Tensor) -> None:
        """The sum over all ranks, in place: one all-reduce."""
        with _together():
            torch_ranks.all_reduce(flat)

    def spread(self, content: bytes) -> bytes:
        """Bytes that rank 0 has, on all ranks."""
        if not self.several:
            return content
        length = torch.tensor([len(content)])
        with _together():
            torch_ranks.broadcast(length, 0)
            flat = torch.zeros(int(length), dtype=torch.uint8)
            if self.leads:
                flat.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8))
            torch_ranks.broadcast(flat, 0)
        return flat.numpy().tobytes()

    @torch.inference_mode()
    def agree(self, stretch: int, state: State) -> int:
        """The number of iterations that all ranks make next from `state`: what rank 0 proposes, or
        INTERRUPTED.

        Raises LostRankError, and RuntimeError where the weights are not those of rank 0.
        """
        if not self.several:
            return stretch
        if self.leads and self.stop:
            stretch = INTERRUPTED
        own = _fingerprint(state)
        said = torch.tensor([stretch, own])
        with _together():
            torch_ranks.broadcast(said, 0)
        if said[1] != own:
            raise RuntimeError(
                f"at step {state.step} the weights of rank {self.place.rank} are not those of "
                "rank 0: all ranks need the same versions on machines of one kind"
            )
        return int(said[0])

    # --- The store: words that need not be waited for ---------------------------------------------

    def tell(self, settings: Any) -> None:
        """Rank 0: what all ranks are to run (anything that JSON holds)."""
        if self.several:
            self.store.set("settings", json.dumps(settings))

    def dismiss(self) -> None:
        """Rank 0: there is nothing to run, for ranks that have not been told anything."""
        if not self.store.check(["settings"]):
            self.store.set("settings", json.dumps(None))

    def told(self) -> Any:
        """The other ranks: what rank 0 tells; None where there is nothing to run."""
        while not self.store.check(["settings"]) and not self.stop:
            time.sleep(0.02)
        return None if self.stop else json.loads(self.store.get("settings"))

    def failed(self, why: str) -> None:
        """Leave a word before this rank ends."""
        self.store.set(f"failed/{self.place.rank}", why)

    def why(self, rank: int) -> str | None:
        """The word that a rank has left; None where it has not."""
        name = f"failed/{rank}"
        return self.store.get(name).decode() if self.store.check([name]) else None

    def leave(self) -> None:
        """Take part in no more sums: whoever waits for this rank learns it."""
        torch_ranks.destroy_process_group()

    def answer(self) -> None:
        """Say that this rank has not died; from any thread."""
        self.store.set(f"here/{self.place.rank}", "")

    def roll_call(self) -> dict[int, str]:
        """The ranks that have failed or do not answer, with the word that they have left."""
        self.answer()
        missing, end = set(range(self.place.size)), time.monotonic() + PATIENCE
        while missing and time.monotonic() < end:
            missing = {r for r in missing if not self.store.check([f"here/{r}"])}
            time.sleep(0.05)
        words = {r: self.why(r) for r in range(self.place.size)}
        return {r: why or "" for r, why in words.items() if r in missing or why is not None}

    def speaks(self) -> bool:
        """Whether this is the first rank that wants to say what has happened."""
        return bool(self.store.add("spoken", 1) == 1)

    # --- Checkpoints ------------------------------------------------------------------------------

    def save(self) -> None:
        """Rank 0: what was reached before the last stretch."""
        if self.checkpoints is not None:
            self.checkpoints.save()
            self.note(self.checkpoints)

    def note(self, checkpoints: Checkpoints) -> None:
        """Rank 0: let all ranks know of the last checkpoint."""
        if self.several:
            self.store.set("checkpoint", f"{checkpoints.path} (step {checkpoints.saved})")

    def saved(self) -> str:
        """`The state of step S is in PATH`, or that there is none."""
        if not self.store.check(["checkpoint"]):
            return "there is no checkpoint yet"
        return f"the last checkpoint is {self.store.get('checkpoint').decode()}"


ALONE = Ranks(Launch())


@contextmanager
def joined(place: Launch) -> Iterator[Ranks]:
    """Join the other ranks that torchrun has started. CPU tensors go by gloo, others by NCCL.
    Raises ConfigError where they do not come."""
    try:
        yield Ranks(place, PrefixStore("words", _met(place, _meet)))
    finally:
        if torch_ranks.is_initialized():
            with suppress(RuntimeError):
                torch_ranks.destroy_process_group()


def _meet() -> Any:
    """The store of all ranks, once they are there."""
    store, rank, size = next(rendezvous("env://", timeout=TIMEOUT))
    nccl = torch.cuda.is_available() and torch_ranks.is_nccl_available()
    torch_ranks.init_process_group(
        "cpu:gloo,cuda:nccl" if nccl else "gloo",
        store=PrefixStore("sums", store),
        rank=rank,
        world_size=size,
        timeout=TIMEOUT,
    )
    return store


def _met(place: Launch, meet: Callable[[], Any]) -> Any:
    """What `meet` returns, in a thread that waits deep in a library: this one says for whom, and
    heeds Ctrl-C."""
    coming: Future[Any] = Future()

    def wait() -> None:
        try:
            coming.set_result(meet())
        except Exception as error:
            coming.set_exception(error)

    Thread(target=wait, daemon=True).start()
    others = "rank 0" if place.rank else "the others" if place.size > 2 else "rank 1"
    at = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    who = f"rank {place.rank} of {place.size:,} waits for {others} at {at}"
    limit = f"{TIMEOUT.total_seconds():.0f} seconds"
    try:
        try:
            return coming.result(SILENCE)
        except StillWaitingError:
            print(f"reludyn: {who}, for {limit}. {TO_RUN_ALONE}", file=sys.stderr, flush=True)
            return coming.result()
    except RuntimeError as error:
        why = str(error).splitlines()[0]
        allowed = f"{who}, and did not meet them in {limit}: {why}"
        raise ConfigError("WORLD_SIZE", place.size, allowed, TO_RUN_ALONE) from error


@contextmanager
def _together() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise LostRankError(str(error)) from error


def _fingerprint(state: State) -> int:
    """A number that tells apart states that do not agree in every bit of their weights."""
    kinds = {4: torch.int32, 8: torch.int64}
    words = [x.contiguous().view(kinds[x.element_size()]).flatten() for x in state.student]
    bits = torch.cat([*words, state.steps.to(words[0]), state.running.to(words[0])]).long()
    place = torch.arange(1, len(bits) + 1, device=bits.device)
    return int((bits * place).sum())  # overflow wraps around
