"""The training loop: advance, look, until every replica has stopped."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Literal

from reludyn.student import ReLUStudent
from reludyn.training.engine import Engine, State

StoppedBecause = Literal[
    "converged", "stationary", "diverged", "max_steps", "max_seconds", "interrupted"
]


STRETCH = 100  # iterations that Ctrl-C may lose


def train(
    engine: Engine,
    student: ReLUStudent,
    looks: Iterable[int],
    look: Callable[[State], None],
    max_seconds: float = math.inf,
) -> tuple[State, StoppedBecause]:
    """Descend from `student`, calling `look` at the given iterations (the first one is 0).

    Ends once every replica has stopped, after the last look, at the first look later than
    max_seconds, or with Ctrl-C: the state returned is that of the last completed stretch.
    """
    began = time.monotonic()
    state = engine.start(student)
    look(state)
    try:
        for here, there in pairwise(looks):
            if not state.running.any():
                break
            if time.monotonic() - began > max_seconds:
                return state, "max_seconds"
            for step in range(here, there, STRETCH):
                state = engine.advance(state, min(STRETCH, there - step))
            look(state)
    except KeyboardInterrupt:
        return state, "interrupted"
    return state, _reason(state)


def _reason(state: State) -> StoppedBecause:
    """Of the whole run: the best that any replica came to."""
    if state.running.any():
        return "max_steps"
    if state.diverged.all():
        return "diverged"
    return "converged" if (state.clocks.converged >= 0).any() else "stationary"


def stopped_because(state: State, run: StoppedBecause) -> list[StoppedBecause]:
    """Why each replica stopped; those that were still running stopped with the run."""
    flags = (state.clocks.converged >= 0, state.diverged, state.stationary)
    names: tuple[StoppedBecause, ...] = ("converged", "diverged", "stationary")
    rows = zip(*(flag.tolist() for flag in flags), strict=True)
    return [next((n for n, on in zip(names, row, strict=True) if on), run) for row in rows]
