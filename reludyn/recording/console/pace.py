"""How fast a run goes, and how long it still takes."""

from __future__ import annotations

import time
from collections import deque

WINDOW = 5.0  # seconds over which the pace is measured
APART = 0.25  # seconds between two marks


class Pace:
    """Pace of a run of so many iterations that is looked at so many times.

    rate: iterations a second over the last few seconds, looks included; 0: not known yet.
    """

    def __init__(self, steps: int, looks: int) -> None:
        self.steps, self.looks = steps, looks  # that are still to be made
        self.looked, self.looking = 0, 0.0  # looks, and the seconds that they took
        self.marks: deque[tuple[float, int, float]] = deque()  # time, steps left, looking
        self.last = time.monotonic()
        self.rate, self.seconds_a_step = 0.0, 0.0

    def made(self, steps: int) -> None:
        """So many iterations."""
        self.steps -= steps
        self.last = now = time.monotonic()
        if self.marks and now - self.marks[-1][0] < APART:
            return
        self.marks.append((now, self.steps, self.looking))
        while len(self.marks) > 2 and now - self.marks[1][0] > WINDOW:
            self.marks.popleft()
        began, left, looking = self.marks[0]
        made, elapsed = left - self.steps, now - began
        if made:
            self.rate = made / elapsed
            self.seconds_a_step = (elapsed - (self.looking - looking)) / made

    def look(self) -> None:
        """The last iteration has been looked at, and nothing else been done since."""
        self.looking += time.monotonic() - self.last
        self.looked += 1
        self.looks -= 1

    @property
    def left(self) -> float:
        """Seconds until the last iteration. Early on nearly every one is looked at, later few are:
        so both are counted."""
        looks = self.looks * self.looking / max(1, self.looked)
        return self.steps * self.seconds_a_step + looks
