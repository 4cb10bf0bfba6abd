"""An event file of TensorBoard: records of a length, the event, and a checksum of each (the format
TFRecord)."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from pathlib import Path

import google_crc32c
import numpy as np
from google.protobuf.message import DecodeError
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.types_pb2 import DT_FLOAT
from tensorboard.plugins.scalar import metadata

NAME = "events.out.tfevents"
LARGEST = float(np.finfo(np.float32).max)  # event files hold float32
Describe = Callable[[str], str | None]  # a tag
_numbers = count()


class EventFile:
    """Summaries by step, each in the file as soon as it is added; with `describe`, the file says
    what each tag means.

    TensorBoard's own `EventFileWriter` has a thread for every file and makes its checksums in
    Python: with a batch of replicas that holds up descent for longer than the writing takes.
    """

    def __init__(
        self, folder: Path, describe: Describe | None = None, earlier: Sequence[bytes] = ()
    ) -> None:
        """Begin a new file in the folder, with the events of an earlier one: a TensorBoard that has
        read that one forgets what it has read."""
        self.describe, self.described = describe, set[str]()
        folder.mkdir(parents=True, exist_ok=True)
        parts = (f"{time.time():.0f}", socket.gethostname(), str(os.getpid()), str(next(_numbers)))
        self.path = folder / ".".join([NAME, *parts])
        self._file = self.path.open("wb", buffering=0)
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        if earlier:
            start = SessionLog(status=SessionLog.START)
            self._write(Event(wall_time=time.time(), session_log=start))
        for data in earlier:
            tags = Event.FromString(data).summary.value
            self.described |= {value.tag for value in tags if value.HasField("metadata")}
            self._put(data)

    @classmethod
    def newest(cls, folder: Path, describe: Describe | None = None) -> EventFile:
        """Open the newest one of the folder, to which more is added: a TensorBoard that is at work
        follows one file of a folder. Begin a new one where there is none."""
        earlier = sorted(folder.glob(f"{NAME}.*"), key=_changed)
        if not earlier:
            return cls(folder, describe)
        file = cls.__new__(cls)
        file.describe, file.described = describe, set[str]()
        file.path = earlier[-1]
        file._file = file.path.open("ab", buffering=0)
        return file

    @property
    def size(self) -> int:
        """Number of bytes so far."""
        return self._file.tell()

    def sync(self) -> None:
        """Have all bytes on disk."""
        os.fsync(self._file.fileno())

    def add(self, step: int, summary: Summary) -> None:
        """Add what is seen at a step."""
        self._write(Event(wall_time=time.time(), step=step, summary=summary))

    def add_scalars(self, step: int, scalars: Iterable[tuple[str, float]]) -> None:
        """Add tags and values as one Summary; what is not finite is left out."""
        values = [
            Summary.Value(tag=tag, simple_value=value)
            for tag, value in scalars
            if abs(value) <= LARGEST  # also false for NaN
        ]
        if self.describe is not None:
            self._introduce(step, values, self.describe)
        if values:
            self.add(step, Summary(value=values))

    def add_image(self, step: int, tag: str, png: bytes) -> None:
        """Add a picture, as the bytes of a PNG file."""
        width, height = struct.unpack(">II", png[16:24])
        image = Summary.Image(width=width, height=height, encoded_image_string=png)
        self.add(step, Summary(value=[Summary.Value(tag=tag, image=image)]))

    def close(self) -> None:
        self._file.close()

    def _introduce(self, step: int, values: Sequence[Summary.Value], describe: Describe) -> None:
        """Say what new tags mean. TensorBoard's server reads that off tensors alone, so that the
        first value of a tag is there twice."""
        new = []
        for value in values:
            if value.tag not in self.described:
                self.described.add(value.tag)
                if meaning := describe(value.tag):
                    about = metadata.create_summary_metadata("", meaning)
                    tensor = TensorProto(dtype=DT_FLOAT, float_val=[value.simple_value])
                    new.append(Summary.Value(tag=value.tag, metadata=about, tensor=tensor))
        if new:
            self.add(step, Summary(value=new))

    def _write(self, event: Event) -> None:
        self._put(event.SerializeToString())

    def _put(self, data: bytes) -> None:
        length = struct.pack("<Q", len(data))
        left = memoryview(length + _checksum(length) + data + _checksum(data))
        try:
            while left:  # of a full disk a part is taken first
                left = left[self._file.write(left) :]
        except OSError as error:
            error.filename = str(self.path)
            raise


def events_of(path: Path, size: int) -> list[bytes]:
    """Return the events in the first bytes of a file, as they are, but for what belongs to the
    file. Raises ValueError where they are damaged, OSError where they are not there."""
    with path.open("rb") as file:
        content = file.read(size)
    if len(content) < size:
        raise ValueError(f"it has {len(content)} bytes, not {size}")
    place, events = 0, list[bytes]()
    while place < size:
        length = content[place : place + 8]
        end = place + 12 + int.from_bytes(length, "little")
        data, sums = content[place + 12 : end], content[place + 8 : place + 12]
        if sums != _checksum(length) or content[end : end + 4] != _checksum(data):
            raise ValueError(f"a checksum is wrong after byte {place}")
        try:
            kind = Event.FromString(data).WhichOneof("what")
        except DecodeError as error:
            raise ValueError(f"it is no event after byte {place}") from error
        if kind not in ("file_version", "session_log"):
            events.append(data)
        place = end + 4
    return events


def _changed(path: Path) -> int:
    return path.stat().st_mtime_ns


def _checksum(data: bytes) -> bytes:
    """Return CRC-32C, masked as TFRecord wants it: rotated by 15 bits, plus a constant."""
    crc: int = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
