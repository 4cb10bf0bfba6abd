"""Parts of every figure against the iteration: the curves of one replica, its phases, its axis."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from reludyn.figures.style import BLACK, GREY
from reludyn.network.outcomes import Event
from reludyn.runs.load import Run
from reludyn.runs.table import Array

LETTER = 0.07  # inches per letter, at most, on average over a label
EVENTS = (Event.ALIGNED, Event.GROWN)


class NothingToDraw(ValueError):
    """Error where a run or a sweep lacks what a picture shows."""


def of_replica(run: Run, name: str, replica: int) -> Array:
    """Return an array of trajectory.npz (T, R', ...) at one replica.

    Raises NothingToDraw where it was not recorded, or not for that replica.
    """
    x = run.arrays.get(name)
    if x is None:
        raise NothingToDraw(f"{run!r} has no {name}")
    if not 0 <= replica < x.shape[1]:
        more = " (trainer.keep_weights)" if name in ("W", "V") else ""
        raise NothingToDraw(
            f"replica={replica}: {name} is kept of the first {x.shape[1]} replicas{more}"
        )
    return x[:, replica]


def iterations(axes: Axes, run: Run, replica: int) -> None:
    """Label the horizontal axis, with the outcome of a replica that did not reach a minimum."""
    outcome = str(run.replicas["outcome"][replica]).replace("_", " ")
    label = "iteration" if outcome == "global minimum" else f"iteration ({outcome})"
    axes.set(xlabel=label, xlim=(0, max(1, end_of(run, replica))))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def end_of(run: Run, replica: int) -> int:
    """Return the last iteration that a replica has made; its batch may have run longer."""
    converged = run.replicas["T_converged"][replica]
    if not math.isnan(converged):
        return int(converged)
    if has_diverged(run, replica):
        loss = of_replica(run, "loss", replica)
        moved = np.flatnonzero(~np.isclose(loss, loss[-1], rtol=0, atol=0, equal_nan=True))
        return int(run.step[moved[-1] + 1 if len(moved) else -1])
    return int(run.step[-1])


def made(run: Run, replica: int) -> slice:
    """Return the looks at what a replica has made.

    Theory's curves run on to the end of the batch, and an axis that fits all curves should not
    fit those.
    """
    return slice(int(np.searchsorted(run.step, end_of(run, replica))) + 1)


def has_diverged(run: Run, replica: int) -> bool:
    """Return whether a replica diverged."""
    return str(run.replicas["outcome"][replica]) == "diverged"


def mark_phases(axes: Axes, run: Run, replica: int) -> None:
    """Shade each phase that ended, and then refinement; name it where it is wide enough."""
    from reludyn.dynamics.phases import PHASES  # imports torch

    last = end_of(run, replica)
    width = axes.get_position().width * axes.figure.bbox.width / axes.figure.dpi  # in inches
    times = [run.replicas[name][replica] for name in EVENTS]
    edges = [0.0, *times, float(last)]
    for shade, (name, begin, end) in enumerate(zip(PHASES, edges, edges[1:], strict=False)):
        if not begin < end:  # also where one of them is NaN
            continue
        axes.axvspan(begin, end, color=BLACK, alpha=(0.02, 0.07, 0.12)[shade], lw=0)
        if (end - begin) * width > LETTER * len(name) * last:
            middle, above_axis = (begin + end) / 2, axes.get_xaxis_transform()
            axes.text(
                middle, 1.01, name, transform=above_axis, ha="center", va="bottom", color=GREY
            )
    for time in times:
        if not math.isnan(time):
            axes.axvline(time, color=GREY, lw=0.8, ls=":")


def positive(values: Array) -> Array:
    """Return values that a logarithmic axis can show, NaN elsewhere.

    A diverging run is cut off far above everything else.
    """
    shown: Array = np.where((values > 0) & (values < 1e30), values, np.nan)
    return shown
