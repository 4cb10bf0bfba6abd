"""Files that are complete or absent, folders that hold one run."""

from __future__ import annotations

import atexit
import csv
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from reludyn.errors import ConfigError


@contextmanager
def atomic(path: Path) -> Iterator[IO[bytes]]:
    """A binary file that appears under its name only once it is whole and on disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        error.filename = error.filename or str(path)  # write() does not know it
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def csv_file(path: Path, columns: Sequence[str]) -> Iterator[Callable[[Sequence[object]], object]]:
    """A table that takes row after row, complete or not there at all; None is empty, floats are in
    full precision."""
    with atomic(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        writer = csv.writer(text, lineterminator="\n")  # writes floats with repr
        writer.writerow(columns)
        yield writer.writerow
        text.detach()


@contextmanager
def lock(folder: Path, key: str) -> Iterator[None]:
    """Hold a folder, made where there is none and taken away if it stays empty, against other
    processes, as far as the system knows locks (not on Windows); raises ConfigError where another
    one holds it."""
    if sys.platform == "win32":
        folder.mkdir(parents=True, exist_ok=True)
        yield
        return
    import fcntl

    path = folder / ".lock"
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                allowed = "must be a folder in which no other process is at work"
                raise ConfigError(key, folder, allowed, "Wait for it, or choose another") from error
            if not _is(path, file):
                continue  # the one that held it has just taken it away
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
                with suppress(OSError):
                    folder.rmdir()
            return


def _is(path: Path, file: IO[str]) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def provide_scratch(folder: Path) -> None:
    """Let temporary files lie below this folder, until the process ends, if the system has no other
    place for them: compilers, matplotlib and joblib need one."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        here = os.path.abspath(tempfile.mkdtemp(prefix=".tmp-", dir=folder))
        # before matplotlib registers that it takes away what it has in it, so after that is done
        atexit.register(shutil.rmtree, here, ignore_errors=True)
        tempfile.tempdir = os.environ["TMPDIR"] = here  # of this process, of those that it starts


def claim(folder: Path, key: str = "hydra.run.dir", goes_on: bool = False) -> None:
    """Refuse a folder in which a run has already left its files: nothing is overwritten. One that
    goes on may have left anything but DONE."""
    left = ("DONE", "trajectory.npz", "summary.json", "checkpoints", "tensorboard")
    for name in left[:1] if goes_on else left:
        if (folder / name).exists():
            remedy = "Choose another folder, or move the old one away"
            if (folder / "checkpoints").exists() and not (folder / "DONE").exists():
                remedy += f"; resume={folder} goes on with it"
            raise ConfigError(
                key, folder, f"must be a folder without an earlier run; it has {name}", remedy
            )
