"""The training loop: advance, look, until every replica has stopped."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence

from reludyn.network.outcomes import Reason
from reludyn.system.errors import StuckError
from reludyn.training.distributed import ALONE, Ranks
from reludyn.training.engine import Engine, State
from reludyn.training.schedule import stretch_ends

log = logging.getLogger(__name__)


def train(
    engine: Engine,
    state: State,
    looks: Sequence[int],
    stretch: int,
    look: Callable[[State], None],
    max_seconds: float = math.inf,
    ranks: Ranks = ALONE,
    made: Callable[[State], None] = lambda state: None,
) -> tuple[State, Reason]:
    """Descend from `state`, calling `look` at the given iterations, and `made` after every stretch.

    Stretches end at looks and at multiples of `stretch`, whatever the clock does: where one ends
    decides how numbers are rounded, and a run that goes on from a checkpoint repeats every bit.

    Ends once every replica has stopped, after the last look, after max_seconds, where the update
    rule cannot go on, or with Ctrl-C: the state returned is that of the last completed stretch.
    With several ranks all call this, and do what rank 0 decides.
    """
    began, looked_at = time.monotonic(), frozenset(looks)
    ends, going = stretch_ends(looks, stretch, state.step), bool(state.running.any())
    try:
        if state.step in looked_at or not going:
            look(state)
        while going and (there := next(ends, None)) is not None:
            late = time.monotonic() - began > max_seconds
            agreed = ranks.agree(0 if late else there - state.step, state)
            if agreed <= 0:
                return state, Reason.MAX_SECONDS if agreed == 0 else Reason.INTERRUPTED
            state = engine.advance(state, agreed)
            going = bool(state.running.any())  # waits for the device
            if there in looked_at or not going:
                look(state)
            made(state)
    except KeyboardInterrupt:
        return state, Reason.INTERRUPTED
    except StuckError as error:
        if state.step == 0:
            raise
        log.warning("stopped at step %d: %s", state.step, error)
        return state, Reason.STUCK
    return state, reason_of(state)


def reason_of(state: State) -> Reason:
    """Why a run ended: the best that any replica came to."""
    if state.running.any():
        return Reason.MAX_STEPS
    if state.diverged.all():
        return Reason.DIVERGED
    return Reason.CONVERGED if (state.clocks.converged >= 0).any() else Reason.STATIONARY


def stopped_because(state: State, run: Reason) -> list[Reason]:
    """Why each replica stopped; those that were still running stopped with the run."""
    flags = (state.clocks.converged >= 0, state.diverged, state.stationary)
    names = (Reason.CONVERGED, Reason.DIVERGED, Reason.STATIONARY)
    rows = zip(*(flag.tolist() for flag in flags), strict=True)
    return [next((n for n, on in zip(names, row, strict=True) if on), run) for row in rows]
