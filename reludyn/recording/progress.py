"""What a person sees while a run goes on: a bar in a terminal, a few plain lines elsewhere."""

from __future__ import annotations

import math
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from reludyn.phases import PHASES
from reludyn.recording.look import Look

EVERY = 10.0  # seconds between plain lines


class ProgressReport:
    """Follows a run of at most `steps` iterations and R replicas; a context manager."""

    def __init__(self, console: Console, steps: int, replicas: int) -> None:
        self.console, self.steps, self.replicas = console, steps, replicas
        self.began = time.monotonic()
        self.spoke = -math.inf
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(20),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f} steps"),
            TextColumn("{task.fields[status]}"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self.task = self.bar.add_task("training", total=steps, status="")

    def __enter__(self) -> ProgressReport:
        self.bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.bar.stop()

    def record(self, look: Look) -> None:
        status = self.status(look)
        self.bar.update(self.task, completed=look.step, status=status)
        now = time.monotonic()
        if not self.console.is_terminal and now - self.spoke >= EVERY:
            self.spoke = now
            self.console.print(
                f"step {look.step:,}/{self.steps:,}  {status}  {now - self.began:.0f} s",
                soft_wrap=True,
            )

    def status(self, look: Look) -> str:
        """`alignment  loss 4.9e-01`, or how many replicas are in each phase."""
        loss = f"loss {float(look.loss[0]):.1e}"
        if self.replicas == 1:
            return f"{PHASES[int(look.phase[0])]}  {loss}"
        counts = [f"{int((look.phase == p).sum()):,}" for p in range(len(PHASES))]
        return f"{'/'.join(counts)} in phase 1/2/3"
