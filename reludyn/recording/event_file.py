"""An event file of TensorBoard: records of a length, the event, and a checksum of each (the format
TFRecord)."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Iterable
from itertools import count
from pathlib import Path

import google_crc32c
import numpy as np
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary

LARGEST = float(np.finfo(np.float32).max)  # event files hold float32
_numbers = count()


class EventFile:
    """Summaries by step, each in the file as soon as it is added.

    TensorBoard's own `EventFileWriter` has a thread for every file and makes its checksums in
    Python: with a batch of replicas that holds up descent for longer than the writing takes.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        parts = (f"{time.time():.0f}", socket.gethostname(), str(os.getpid()), str(next(_numbers)))
        self.path = folder / ".".join(["events.out.tfevents", *parts])
        self._file = self.path.open("wb")
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))

    def add(self, step: int, summary: Summary) -> None:
        """What is seen at a step."""
        self._write(Event(wall_time=time.time(), step=step, summary=summary))

    def add_scalars(self, step: int, scalars: Iterable[tuple[str, float]]) -> None:
        """Tags and values as one Summary; what is not finite is left out."""
        values = [
            Summary.Value(tag=tag, simple_value=value)
            for tag, value in scalars
            if abs(value) <= LARGEST  # also false for NaN
        ]
        if values:
            self.add(step, Summary(value=values))

    def close(self) -> None:
        self._file.close()

    def _write(self, event: Event) -> None:
        data = event.SerializeToString()
        length = struct.pack("<Q", len(data))
        self._file.write(length + _checksum(length) + data + _checksum(data))
        self._file.flush()


def _checksum(data: bytes) -> bytes:
    """CRC-32C, masked as TFRecord wants it: rotated by 15 bits, plus a constant."""
    crc: int = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
