"""What a person sees while a run goes on: in a terminal a bar, with lines above it for what has
happened; elsewhere nothing, and the log has a line every few seconds."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence
from types import TracebackType

import numpy as np
from rich.console import Console, Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from reludyn.dynamics.phases import PHASES
from reludyn.network.outcomes import Event
from reludyn.recording.console import milestones
from reludyn.recording.console.pace import Pace
from reludyn.recording.console.report import PLAIN
from reludyn.recording.console.stages import Stages, live
from reludyn.recording.look import Look
from reludyn.recording.registry import Array
from reludyn.theory.predictions import Prediction

log = logging.getLogger(__name__)
EVERY = 10.0  # seconds between lines of the log
WIDTH = 40  # of the bar, where there is room


class ProgressReport:
    """Follows a run that is looked at after `looks` iterations, the last of them at its end, and
    that lasts at most `seconds`; a context manager.

    A step is one iteration of all replicas. The bar says how many have been made, how many a second
    at present, the loss of the last look (the median over replicas), and how long it takes at most
    at this pace: a run may converge before. Below it stands the phase, or how many replicas are in
    each.
    """

    def __init__(self, console: Console, looks: Sequence[int], seconds: float = math.inf) -> None:
        self.console, self.looks, self.steps = console, looks, looks[-1]
        self.pace = Pace(looks[-1], len(looks) - 1)
        self.shown = console.is_terminal and not console.quiet
        self.predicted: Mapping[Event, Array] = {}
        self.look: Look | None = None  # the last one
        self.said: set[str] = set()  # events
        self.spoke, self.end = time.monotonic(), math.inf
        self.seconds = seconds
        self.start = Stages(console, "preparing the first iteration")
        self.live = live(console, self._bar)

    def __enter__(self) -> ProgressReport:
        if self.shown:
            self.live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.live.stop()
        if kind is None and self.look is not None and self.shown:
            look = self.look
            for line in milestones.lines(_reached(look), self.predicted, look.diverged, self.said):
                self.say(line)

    def go_on(self, step: int, look: Look) -> None:
        """The run goes on from this iteration, which looks so."""
        self.pace.steps -= step
        self.pace.looks = sum(there > step for there in self.looks)
        self.record(look)

    def expect(self, prediction: Prediction | None) -> None:
        """What theory says of the run, before it begins."""
        if prediction is not None:
            self.predicted = {name: getattr(prediction, name).numpy() for name in Event}

    def record(self, look: Look) -> None:
        """A look, the last of its instruments; an event that all replicas have met is said."""
        if self.look is None:
            self.end = time.monotonic() + self.seconds
            self.pace.made(0)
        else:
            self.pace.look()
        self.look = look
        for name, reached in _reached(look).items():
            if self.shown and name not in self.said and (reached >= 0).all():
                self.said.add(name)
                self.say(milestones.line(name, reached, self.predicted.get(name)))

    def made(self, step: int) -> None:
        """All iterations up to this one."""
        self.pace.made(step - self._step)
        now = time.monotonic()
        if not self.shown and now - self.spoke >= EVERY and self.look is not None:
            self.spoke = now
            log.info("step %s; %s", ", ".join(self._numbers(self.look)), self._phases(self.look))

    def say(self, line: str) -> None:
        """A line on the console, above the bar."""
        self.console.print(line, **PLAIN)

    @property
    def _step(self) -> int:
        return self.steps - self.pace.steps

    def _numbers(self, look: Look) -> list[str]:
        """`1,234/3,000`, `567 steps/s`, `loss 4.9e-01`, `at most 0:00:03`."""
        rate, finite = self.pace.rate, look.loss[np.isfinite(look.loss)]
        loss = f"{np.median(finite) if len(finite) else math.nan:.1e}"
        numbers = [f"{self._step:,}/{self.steps:,}", f"median loss {loss}"]
        if len(look.loss) == 1:
            numbers[1] = f"loss {loss}"
        if rate > 0:
            numbers.insert(1, f"{rate:,.0f} steps/s" if rate >= 10 else f"{rate:.2g} steps/s")
            left = min(self.pace.left, self.end - time.monotonic())
            numbers.append(f"at most {_clock(left)}")
        return numbers

    def _phases(self, look: Look) -> str:
        """`growth, predicted to end at 175`, or how many replicas have come how far."""
        if len(look.loss) == 1:
            (phase,) = look.phase
            name = [*Event][phase]
            verb = "converge" if name == Event.CONVERGED else "end"
            known = self.predicted.get(name, np.array([-1]))[0]
            return PHASES[phase] + (f", predicted to {verb} at {known:,}" if known >= 0 else "")
        counts = {name: look.going & (look.phase == p) for p, name in enumerate(PHASES)}
        counts |= {"converged": look.T_converged >= 0, "diverged": look.diverged}
        counts["stationary"] = ~np.any([*counts.values()], axis=0)
        return ", ".join(f"{name} {on.sum():,}" for name, on in counts.items() if on.any())

    def _bar(self) -> Group:
        """Two rows that fit in 80 columns."""
        if (look := self.look) is None:
            return Group(self.start.row())
        row = Table.grid(padding=(0, 1))
        row.add_column()
        bar = ProgressBar(self.steps, self._step, WIDTH)
        cells = [Text(text, no_wrap=True) for text in self._numbers(look)]
        for _ in cells:
            row.add_column(no_wrap=True)
        row.add_row(bar, *cells)
        return Group(row, Text(self._phases(look), no_wrap=True, overflow="ellipsis"))


def _reached(look: Look) -> dict[Event, Array]:
    return {name: getattr(look, name) for name in Event}


def _clock(seconds: float) -> str:
    """`0:01:23`."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
