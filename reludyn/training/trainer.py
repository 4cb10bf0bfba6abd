"""The training loop: advance, look, until every replica has stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Literal

from reludyn.student import ReLUStudent
from reludyn.training.engine import Engine, State

StoppedBecause = Literal["converged", "max_steps", "diverged", "interrupted"]


def train(
    engine: Engine,
    student: ReLUStudent,
    looks: Iterable[int],
    look: Callable[[State], None],
) -> tuple[State, StoppedBecause]:
    """Descend from `student`, calling `look` at the given iterations (the first one is 0).

    Ctrl-C ends training: the state returned is that of the last stretch that was completed.
    """
    state = engine.start(student)
    look(state)
    try:
        for here, there in pairwise(looks):
            if not state.running.any():
                break
            state = engine.advance(state, there - here)
            look(state)
    except KeyboardInterrupt:
        return state, "interrupted"
    return state, _reason(state)


def _reason(state: State) -> StoppedBecause:
    if state.running.any():
        return "max_steps"
    return "diverged" if state.diverged.all() else "converged"
