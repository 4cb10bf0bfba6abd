"""Times of contenders, taken in turns so that a change of the machine's speed affects all."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

from scripts.benchmark.contender import Training

# with the step size below no weight decays into numbers below 1e-308, whose arithmetic is slow
MOST, LR = 400_000, 1e-3


@dataclass(frozen=True)
class Times:
    """Seconds of each repeat of so many steps of so many replicas."""

    steps: int
    replicas: int
    seconds: tuple[float, ...]

    @property
    def nanoseconds(self) -> float:
        """Nanoseconds per step of one run, the median of the repeats."""
        return self._of_a_step(median(self.seconds))

    @property
    def fastest(self) -> float:
        """Nanoseconds per step of one run, the fastest repeat."""
        return self._of_a_step(min(self.seconds))

    def _of_a_step(self, seconds: float) -> float:
        return 1e9 * seconds / (self.steps * self.replicas)


def interleave(trainings: Mapping[str, Training], repeats: int, seconds: float) -> dict[str, Times]:
    """Time `repeats` rounds in which each contender trains from its initial weights.

    Each trains for `seconds` or one step, whichever is longer.
    """
    steps = {name: enough_steps(training, seconds) for name, training in trainings.items()}
    taken: dict[str, list[float]] = {name: [] for name in trainings}
    for _ in range(repeats):
        for name, training in trainings.items():
            taken[name].append(_timed(training, steps[name]))
    return {
        name: Times(steps[name], training.replicas, tuple(taken[name]))
        for name, training in trainings.items()
    }


def enough_steps(training: Training, seconds: float) -> int:
    """Return the fewest steps that take so long, within a factor of two, and at most `MOST`."""
    steps = 1
    while True:
        _timed(training, steps)  # JAX compiles anew for each number of steps
        taken = _timed(training, steps)
        if taken >= seconds or steps == MOST:
            return steps
        wanted = min(1.1 * seconds / taken, 100.0)  # the first steps are slow: no long leaps
        steps = min(MOST, math.ceil(steps * max(wanted, 1.5)))


def _timed(training: Training, steps: int) -> float:
    training.start()
    begin = time.perf_counter()
    training.advance(steps)
    return time.perf_counter() - begin
