"""A run, or a sweep as one batch, that is killed again and again, in child processes that have all
libraries loaded already.

    python killing.py FOLDER SEED KILLS OVERRIDE ...

Every attempt is `reludyn OVERRIDE ... resume=auto hydra.run.dir=FOLDER/N`, or with -m among the
overrides `reludyn OVERRIDE ... hydra.sweep.dir=FOLDER/N`. It is killed (SIGKILL)
at a random time, or kills itself at a random call of something that writes, having written half of
it. Once a run has come to its end another one begins, until there were so many kills. Prints, as
JSON, of each run its attempts: what killed it, how it ended, how far it has come, whether it is
complete.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from reludyn.cli import main
from reludyn.recording.tensorboard import dashboard, event_file, writer  # noqa: F401
from reludyn.sweep import fused  # noqa: F401
from reludyn.system import files  # noqa: F401  # loaded before the first fork
from reludyn.training import checkpoint

MORE = 10**6  # than any number of iterations here
LONGEST = 2.0  # seconds: about what a run takes


def die(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def half_an_event(file: Any, data: bytes) -> None:
    file._file.write(data[: len(data) // 2 + 6])
    die()


def half_a_file(descriptor: int) -> None:
    """Of a new one: what an event file has got already stays there."""
    if os.readlink(f"/proc/self/fd/{descriptor}").endswith(".part"):
        os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
    die()


MOMENTS: dict[str, tuple[Any, str, Callable[..., Any], int]] = {  # owner, name, instead, calls
    "an event half written": (event_file.EventFile, "_put", half_an_event, 900),
    "a file half written": (os, "fsync", half_a_file, 40),
    "a file before it has its name": (Path, "replace", die, 20),
    "before a checkpoint": (checkpoint, "save_checkpoint", die, 20),
    "before old events go": (Path, "unlink", die, 12),
    "before a new event file": (event_file.EventFile, "__init__", die, 6),
}


def trap(owner: Any, name: str, instead: Callable[..., Any], call: int) -> None:
    """The call-th call of owner.name does something else."""
    original, calls = getattr(owner, name), iter(range(1, 10**9))

    def method(*arguments: Any, **named: Any) -> Any:
        return (instead if next(calls) == call else original)(*arguments, **named)

    setattr(owner, name, method)


def attempt(arguments: list[str], rng: random.Random) -> tuple[str, int]:
    """What killed it, or how it ended."""
    moment = rng.choice([*MOMENTS, *["a moment"] * len(MOMENTS)])
    call, seconds = rng.random(), rng.uniform(0, LONGEST)
    child = os.fork()
    if child == 0:
        if moment in MOMENTS:
            owner, name, instead, most = MOMENTS[moment]
            trap(owner, name, instead, 1 + int(call * most))
        run(arguments)
    if moment == "a moment":
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return moment, status


def run(arguments: list[str]) -> None:
    sys.argv[1:] = arguments
    code = 0
    try:
        main()
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        code = 99
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def reached(folder: Path) -> int:
    """The iteration of the checkpoint; -1 where there is none. A sweep counts the jobs that are
    complete first; once all of them are, the checkpoint goes."""
    done = MORE * len([*folder.glob("*/DONE")])
    found = [folder / "checkpoints" / "last.pt", *folder.glob(".batches/*.pt")]
    steps = [checkpoint.load_checkpoint(path).state.step for path in found if path.exists()]
    return done + max(steps, default=MORE - 1 if done else -1)


def complete(folder: Path) -> bool:
    return (folder / "DONE").exists() or (folder / "sweep.csv").exists()


def runs(folder: Path, rng: random.Random, kills: int, words: list[str]) -> Iterator[list[Any]]:
    """Until there were so many kills, or a run has ended otherwise."""
    number, sweeps = 0, "-m" in words
    words = words if sweeps else [*words, "resume=auto"]
    key = "hydra.sweep.dir" if sweeps else "hydra.run.dir"
    while kills > 0:
        here, history, status = folder / str(number), [], -signal.SIGKILL
        while status == -signal.SIGKILL and not complete(here):
            moment, status = attempt([*words, f"{key}={here}"], rng)
            kills -= status == -signal.SIGKILL
            history.append([moment, status, reached(here), complete(here)])
        yield history
        if not complete(here):
            return
        number += 1


if __name__ == "__main__":
    torch.set_num_threads(1)
    where, seed, count, *overrides = sys.argv[1:]
    log = Path(where) / "output.txt"
    said = os.dup(1)
    for stream in (1, 2):
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    found = [*runs(Path(where), random.Random(int(seed)), int(count), overrides)]
    os.write(said, json.dumps(found).encode())
