"""An event file of TensorBoard."""

from __future__ import annotations

import os
import socket
import time
from itertools import count
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

_numbers = count()


class EventFile:
    """Summaries by step, each in the file as soon as it is added.

    TensorBoard's own `EventFileWriter` has a thread for every file: with a batch of replicas these
    hold up descent for longer than the writing takes.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        parts = (f"{time.time():.0f}", socket.gethostname(), str(os.getpid()), str(next(_numbers)))
        file = (folder / ".".join(["events.out.tfevents", *parts])).open("wb")
        self._records = RecordWriter(file)
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))

    def add(self, step: int, summary: Summary) -> None:
        """What is seen at a step."""
        self._write(Event(wall_time=time.time(), step=step, summary=summary))

    def close(self) -> None:
        self._records.close()

    def _write(self, event: Event) -> None:
        self._records.write(event.SerializeToString())
        self._records.flush()
