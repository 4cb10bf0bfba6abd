"""The events of a run in words: `alignment ended at 88 (predicted 88)`."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reludyn.network.outcomes import Event, Outcome

Array = NDArray[Any]
Times = Mapping[
    Event, Array
]  # by T_*, (R,): the iterations at which an event first held; -1: never


def of_rows(rows: Sequence[Mapping[str, object]]) -> Iterator[str]:
    """The lines of a run from its rows of replicas.csv."""

    def column(name: str) -> Array:
        return np.array([-1 if row[name] is None else row[name] for row in rows])

    reached, predicted = ({n: column(f"{of}{n}") for n in Event} for of in ("", "predicted_"))
    return lines(reached, predicted, np.array([row["outcome"] == Outcome.DIVERGED for row in rows]))


def lines(
    reached: Times, predicted: Times, diverged: Array, said: Collection[str] = ()
) -> Iterator[str]:
    """One for each event that any replica has met, but for those that have been said, and one if
    any replica has diverged, (R,)."""
    for name in Event:
        if name not in said and (reached[name] >= 0).any():
            yield line(name, reached[name], predicted.get(name))
    if diverged.any():
        count, R = int(diverged.sum()), len(diverged)
        yield "diverged" if R == 1 else f"{count:,} of {R:,} replicas diverged"


def line(event: Event, reached: Array, predicted: Array | None) -> str:
    """`growth ended at 175 (predicted 175)`. Of several replicas `growth ended at 180 (median of 93
    of 100, 171 to 204; predicted 181)`: predicted, too, is the median, with how many have one
    unless it is as many."""
    met = reached[reached >= 0]
    known = met[:0] if predicted is None else predicted[predicted >= 0]
    R, count = len(reached), len(met)
    said = []
    if R > 1:
        of = f"{R:,}" if count == R else f"{count:,} of {R:,}"
        said.append(f"median of {of}, {met.min():,} to {met.max():,}")
    if len(known):
        of = "" if len(known) == count else f" in {len(known):,}"
        said.append(f"predicted {_median(known)}{of}")
    beside = f" ({'; '.join(said)})" if said else ""
    return f"{event.sentence} at {_median(met)}{beside}"


def _median(times: Array) -> str:
    """Also of an even number of replicas: 88.5."""
    return f"{np.median(times):,.10g}"
