"""Files that are complete or absent, and folders in which only one process works."""

from __future__ import annotations

import atexit
import csv
import errno
import io
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from reludyn.system.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

# errors of disks that have no locks: Lustre mounted without them, some NFS
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
OURS = b"reludyn\n"  # content of this program's lock file


@contextmanager
def atomic(path: Path) -> Iterator[IO[bytes]]:
    """Open a binary file that appears under its name only once it is complete and on disk.

    Its temporary name may exist already, from a process that was killed, or as a link.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    try:
        temporary.unlink(missing_ok=True)
        with temporary.open("xb") as file:
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
    """Open a table that takes row after row, complete or absent at the end.

    None becomes an empty cell; floats have full precision.
    """
    with atomic(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        writer = csv.writer(text, lineterminator="\n")  # writes floats with repr
        writer.writerow(columns)
        yield writer.writerow
        text.detach()


def write_npz(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays uncompressed to an .npz file that is complete or absent."""
    import numpy as np  # `reludyn --help` needs none

    with atomic(path) as file:
        np.savez(file, **dict(arrays))  # type: ignore[arg-type]  # NumPy's stub has allow_pickle


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, object]]) -> None:
    """Write a table with one row per mapping; None is empty, floats have full precision."""
    with csv_file(path, columns) as add:
        for row in rows:
            add([row[c] for c in columns])


def write_json(path: Path, values: Mapping[str, object]) -> None:
    """Write indented JSON; NaN is not JSON and must have become None."""
    with atomic(path) as file:
        file.write((json.dumps(values, indent=2, allow_nan=False) + "\n").encode())


@contextmanager
def lock(folder: Path, key: str) -> Iterator[None]:
    """Hold a folder against other processes. Raises ConfigError where another one holds it.

    The folder is created where it is missing, and removed if it stays empty. The lock works as far
    as the system and the disk have locks (Windows has none).
    """
    here = folder.absolute()
    made = [path for path in (here, *here.parents) if not path.exists()]
    try:
        with _locked(folder, key):
            yield
    finally:
        with suppress(OSError):
            for path in made:
                path.rmdir()


@contextmanager
def _locked(folder: Path, key: str) -> Iterator[None]:
    if sys.platform == "win32":
        folder.mkdir(parents=True, exist_ok=True)
        yield
        return
    import fcntl

    path = folder.absolute() / ".lock"
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            opened = _lock_file(path)
        except FileNotFoundError:
            continue  # the process that held the folder has just removed it
        with opened as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                allowed = "must be a folder in which no other process is at work"
                raise ConfigError(key, folder, allowed, "Wait for it, or choose another") from error
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    raise
                said = f"reludyn: {key}={folder}: this disk has no locks ({error.strerror})"
                print(f"{said}: start no second command in this folder", file=sys.stderr)
            if not _is(path, file):
                continue
            try:
                yield
            finally:
                file.seek(0)
                if file.read(len(OURS) + 1) == OURS:
                    path.unlink(missing_ok=True)
            return


def _lock_file(path: Path) -> IO[bytes]:
    """Open the lock file; a new one holds OURS."""
    try:
        file = path.open("xb+", buffering=0)
    except FileExistsError:
        return os.fdopen(os.open(path, os.O_RDWR | os.O_NOFOLLOW), "rb+", buffering=0)
    file.write(OURS)
    return file


def _is(path: Path, file: IO[bytes]) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def provide_scratch(folder: Path) -> None:
    """Put temporary files below this folder, until the process ends, if there is no other place.

    Compilers, matplotlib and joblib need one.
    """
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        here = os.path.abspath(tempfile.mkdtemp(prefix=".tmp-", dir=folder))
        # registered before matplotlib registers the removal of its files there, so it runs later
        atexit.register(shutil.rmtree, here, ignore_errors=True)
        tempfile.tempdir = os.environ["TMPDIR"] = here  # for this process and those it starts
