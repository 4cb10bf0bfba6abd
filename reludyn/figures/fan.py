"""Many replicas at once: medians, and bands between quantiles."""

from __future__ import annotations

import math
import warnings

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from reludyn.figures.style import BLACK, BLUE, GREEN, GREY, RED, new_figure, styled
from reludyn.figures.timeline import EVENTS, NothingToDraw, positive
from reludyn.runs.load import Run
from reludyn.runs.table import Array

BANDS = ((0.05, 0.95, 0.15), (0.25, 0.75, 0.3))  # quantiles, and how dark it is between them


@styled
def plot_fan(run: Run) -> Figure:
    """Draw medians over the replicas, and bands of 50% and 90%, against iterations.

    They are those of the loss, of the smallest |w_i| and |v_i|, and of the largest angle of a
    neuron to its target. Dotted: medians of T_align and T_growth. A replica that has stopped keeps
    its last values.

    Args:
        run: run of several replicas.

    Returns:
        Figure with three panels; angles are in radians.

    Raises:
        NothingToDraw: for a single replica.

    Examples:
        >>> import reludyn
        >>> figure = reludyn.figures.plot_fan(reludyn.load_run("outputs/run"))
        >>> [axes.get_ylabel() for axes in figure.axes]
        ['loss', 'smallest norms', 'largest angle']
    """
    if run.replicas.rows == 1:
        raise NothingToDraw(f"a fan needs many replicas; {run!r} has one")
    figure = new_figure(6.0, 5.6)
    stack = figure.subplots(3, 1, sharex=True, height_ratios=(1.3, 1.3, 1))
    loss, norms, angle = stack
    _fan(loss, run, positive(run.loss), BLACK, "$L$")
    _fan(norms, run, positive(run.w_norm.min(-1)), BLUE, "$\\min_i \\|w_i\\|$")
    _fan(norms, run, positive(run.v_norm.min(-1)), RED, "$\\min_i \\|v_i\\|$", "--")
    _fan(angle, run, run.angle_to_target.max(-1), GREEN, "$\\max_i \\theta_i$")
    loss.set(yscale="log", ylabel="loss")
    norms.set(yscale="log", ylabel="smallest norms")
    angle.set(ylim=(0, math.pi * 1.02), ylabel="largest angle")
    angle.set_yticks([0, math.pi / 2, math.pi], ["0", "$\\pi/2$", "$\\pi$"])
    angle.set(xlabel="iteration", xlim=(0, _until(run)))
    angle.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    for axes in stack:
        for name in EVENTS:
            times = run.replicas[name]
            if np.isfinite(times).any():
                axes.axvline(float(np.nanmedian(times)), color=GREY, lw=0.8, ls=":")
    R, kept = run.replicas.rows, run.w_norm.shape[1]
    less = f" (norms and angles: of the first {kept:,})" if kept < R else ""
    figure.legend(loc="outside upper center", ncols=4)  # in no panel: a band may be anywhere
    counts = [int(np.isfinite(run.replicas[name]).sum()) for name in EVENTS]
    dotted = ", ".join(f"{n} of {c:,}" for n, c in zip(EVENTS, counts, strict=True) if c)
    below = f"\ndotted: median {dotted}" if dotted else ""
    loss.set_title(f"{R:,} replicas: median, 50% and 90%{less}{below}")
    return figure


def _until(run: Run) -> float:
    """Return the last iteration that is shown.

    It is twice that at which nine of ten of the replicas that converge have done so, if the others
    run for longer.
    """
    times, last = run.replicas["T_converged"], max(1.0, float(run.step[-1]))
    times = times[np.isfinite(times)]
    return min(last, 2 * float(np.quantile(times, 0.9))) if len(times) else last


def _fan(axes: Axes, run: Run, values: Array, color: str, label: str, line: str = "-") -> None:
    """Draw values (T, R); only what is shown, since the axis is fitted to it."""
    shown = slice(int(np.searchsorted(run.step, _until(run))) + 1)
    step, values = run.step[shown], values[shown]
    levels = [0.5, *(q for band in BANDS for q in band[:2])]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # nothing is finite at a look
        median, *edges = np.nanquantile(values, levels, axis=1)
    for (_, _, dark), low, high in zip(BANDS, edges[::2], edges[1::2], strict=True):
        axes.fill_between(step, low, high, color=color, alpha=dark, lw=0)
    axes.plot(step, median, color=color, ls=line, label=label)
