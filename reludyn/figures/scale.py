"""Where small-scale theory holds: outcomes and predictions against the scale of the weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from reludyn.figures.style import BLUE, GREEN, ORANGE, RED, new_figure, styled
from reludyn.figures.timeline import NothingToDraw
from reludyn.network.outcomes import Event, Outcome
from reludyn.numerics.statistics import wilson
from reludyn.runs.load import Run
from reludyn.runs.table import Array, Table

BINS = 16
DECADES = 100  # the range of scales from which only powers of ten have a tick


@styled
def plot_scale(run: Run) -> Figure:
    """Draw outcomes against the scale of the initial weights, in a run of many scales.

    Above: the fraction of replicas that are stuck, and of those that are undecided. Below: the
    fraction whose outcome each rule predicts wrongly, of those with an outcome, and the fraction
    whose T_align, T_growth or T_converged differs from the prediction by more than one iteration,
    of those that reach a minimum. Bands: 95% Wilson intervals.

    Args:
        run: run with `init.scale_to`.

    Returns:
        Figure with two panels.

    Raises:
        NothingToDraw: for a single scale.

    Examples:
        >>> import reludyn
        >>> figure = reludyn.figures.plot_scale(reludyn.load_run("outputs/run"))
        >>> figure.axes[1].get_ylabel()
        'fraction mispredicted'
    """
    replicas = run.replicas
    scale, outcome = replicas["init_scale"], replicas["outcome"]
    if len(set(scale)) == 1:
        raise NothingToDraw(f"{run!r} has one scale (init.scale_to)")
    stuck, decided = (
        outcome == "non_strict_saddle",
        np.isin(outcome, [Outcome.NON_STRICT_SADDLE, Outcome.GLOBAL_MINIMUM]),
    )
    minimum = outcome == Outcome.GLOBAL_MINIMUM
    figure = new_figure(6.0, 5.4)
    above, below = figure.subplots(2, 1, sharex=True)
    _curve(above, scale, stuck, "stuck at loss |a|²/4", BLUE, "o")
    _curve(above, scale, ~decided, "neither stuck nor converged", ORANGE, "s")
    for name, label, color, marker in (
        ("predicted_outcome", "outcome, theory", GREEN, "o"),
        ("basin_rule", "outcome, basin rule", BLUE, "^"),
        ("sign_rule", "outcome, signs of v(0)", RED, "v"),
    ):
        said = replicas[name]
        if (said[decided] != "").any():
            _curve(below, scale[decided], (said != outcome)[decided], label, color, marker)
    wrong = _off_by_more(replicas)
    if np.isfinite(replicas["predicted_T_converged"]).any():
        _curve(below, scale[minimum], wrong[minimum], "times off by > 1, theory", ORANGE, "s")
    above.set(ylabel="fraction of replicas", ylim=(-0.02, None), xscale="log")
    below.set(
        xlabel="scale $\\sigma$ of the initial weights",
        ylabel="fraction mispredicted",
        ylim=(-0.02, 1.02),
    )
    _ticks(below, scale)
    for axes in (above, below):
        if axes.get_legend_handles_labels()[1]:  # above the axes: curves go everywhere
            axes.legend(loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0, ncols=2)
    return figure


def _curve(axes: Axes, scale: Array, event: Array, label: str, color: str, marker: str) -> None:
    if not len(scale):
        return  # no replica reached this
    centres, fraction, low, high = binned(scale, event)
    axes.plot(centres, fraction, color=color, label=label, marker=marker, ms=4)
    axes.fill_between(centres, low, high, color=color, alpha=0.15, lw=0)


def _ticks(axes: Axes, scale: Array) -> None:
    """Label powers of ten, and numbers between them where there are few, as plain numbers."""
    axes.xaxis.set_minor_formatter(NullFormatter())
    if scale.max() < DECADES * scale.min():
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")


def binned(scale: Array, event: Array) -> tuple[Array, Array, Array, Array]:
    """Return geometric centres, fractions and 95% Wilson intervals over BINS bins of the scale."""
    edges = np.geomspace(scale.min(), scale.max() * (1 + 1e-9), BINS + 1)
    place = np.digitize(scale, edges) - 1
    columns: list[Sequence[float]] = []
    for b in range(BINS):
        inside = event[place == b]
        if len(inside):
            centre = np.sqrt(edges[b] * edges[b + 1])
            columns.append((centre, *wilson(int(inside.sum()), len(inside))))
    centres, fraction, low, high = np.array(columns).T
    return centres, fraction, low, high


def _off_by_more(replicas: Table) -> Array:
    """Return whether one of the times differs from its prediction, or has none, (R,)."""
    off = [
        np.isfinite(replicas[name]) & ~(np.abs(replicas[name] - replicas[f"predicted_{name}"]) <= 1)
        for name in Event
    ]
    any_off: Array = np.any(off, axis=0)
    return any_off
