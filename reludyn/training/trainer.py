"""The training loop: advance, look, until every replica has stopped."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Literal

from reludyn.errors import StuckError
from reludyn.student import ReLUStudent
from reludyn.training.distributed import ALONE, Ranks
from reludyn.training.engine import Engine, State

StoppedBecause = Literal[
    "converged", "stationary", "diverged", "max_steps", "max_seconds", "stuck", "interrupted"
]

log = logging.getLogger(__name__)
STRETCH = 0.2  # seconds: what Ctrl-C may lose


def train(
    engine: Engine,
    student: ReLUStudent,
    looks: Iterable[int],
    look: Callable[[State], None],
    max_seconds: float = math.inf,
    ranks: Ranks = ALONE,
    made: Callable[[int], None] = lambda steps: None,
) -> tuple[State, StoppedBecause]:
    """Descend from `student`, calling `look` at the given iterations (the first one is 0), and
    `made` after every stretch with its number of iterations.

    Ends once every replica has stopped, after the last look, after max_seconds, where the update
    rule cannot go on, or with Ctrl-C: the state returned is that of the last completed stretch.
    With several ranks all call this, and do what rank 0 decides.
    """
    began, pace = time.monotonic(), 1
    state = engine.start(student)
    look(state)
    try:
        for here, there in pairwise(looks):
            if not state.running.any():
                break
            step, going = here, True
            while going and step < there:
                late = time.monotonic() - began > max_seconds
                stretch = ranks.agree(0 if late else min(pace, there - step), state)
                if stretch <= 0:
                    return state, "max_seconds" if stretch == 0 else "interrupted"
                clock = time.monotonic()
                state = engine.advance(state, stretch)
                going = bool(state.running.any())  # waits for the device
                step += stretch
                pace = _pace(stretch, time.monotonic() - clock)
                made(stretch)
            look(state)
    except KeyboardInterrupt:
        return state, "interrupted"
    except StuckError as error:
        if state.step == 0:
            raise
        log.warning("stopped at step %d: %s", state.step, error)
        return state, "stuck"
    return state, reason_of(state)


def _pace(iterations: int, seconds: float) -> int:
    """Iterations of the next stretch, from what the last one took."""
    return max(1, min(10 * iterations, int(iterations * STRETCH / max(seconds, 1e-9))))


def reason_of(state: State) -> StoppedBecause:
    """Why a run ended: the best that any replica came to."""
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
