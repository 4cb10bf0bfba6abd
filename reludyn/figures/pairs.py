"""Figures 6 to 8 of the paper: neurons that end as pairs v_i = -v_j, w_i = -w_j."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reludyn.figures.style import CYCLE, GREY, new_figure, styled
from reludyn.figures.timeline import NothingToDraw, of_replica
from reludyn.runs.load import Run
from reludyn.runs.table import Array

MARKERS = "osD^vP"


@styled
def plot_pairs(run: Run, replica: int = 0) -> Figure:
    """Draw figures 6 to 8 of the paper: the paths of v_i and w_i in their first two coordinates.

    Each pair has a colour and a marker, and a dashed line through both ends; a neuron without a
    partner is grey.

    Args:
        run: run with several outputs and recorded weights.
        replica: index of the replica.

    Returns:
        Figure with two panels.

    Raises:
        NothingToDraw: for one output, where output weights have no second coordinate (plot_neurons
            shows them), and where the weights of the replica were not kept.

    Examples:
        >>> import reludyn
        >>> words = "experiment=default", "data.outputs=2", "model.width=4", "trainer.steps=5"
        >>> figure = reludyn.figures.plot_pairs(reludyn.train(*words, "data.dim=4"))
        >>> [axes.get_title() for axes in figure.axes]
        ['output weights $v_i$', 'hidden weights $w_i$']
    """
    if len(run.arrays["A"]) == 1:
        raise NothingToDraw(f"pairs need several outputs; {run!r} has one")
    v, w = of_replica(run, "V", replica).swapaxes(1, 2), of_replica(run, "W", replica)
    known = run.arrays.get("partner")
    partner = np.full(w.shape[1], -1) if known is None else known[replica]
    figure = new_figure(7.6, 3.9)
    left, right = figure.subplots(1, 2)
    for axes, rows, name in ((left, v, "v"), (right, w, "w")):
        _paths(axes, rows[..., :2], partner)
        axes.set(xlabel=f"${name}_{{i,1}}$", ylabel=f"${name}_{{i,2}}$", aspect="equal")
        axes.set_title({"v": "output weights $v_i$", "w": "hidden weights $w_i$"}[name])
        axes.margins(0.1)
    return figure


def _paths(axes: Axes, rows: Array, partner: Array) -> None:
    """Draw the paths of rows (T, k, 2)."""
    pairs = sorted({tuple(sorted((i, int(j)))) for i, j in enumerate(partner) if j >= 0})
    for p, (i, j) in enumerate(pairs):
        color, marker = CYCLE[p % len(CYCLE)], MARKERS[p // len(CYCLE) % len(MARKERS)]
        for neuron in (i, j):
            axes.plot(*rows[:, neuron].T, color=color, lw=1.2)
            axes.plot(*rows[-1, neuron], color=color, marker=marker, ms=5)
        axes.plot(*rows[-1, [i, j]].T, color=color, ls="--", lw=0.9, alpha=0.8)
    for alone in np.flatnonzero(partner < 0):
        axes.plot(*rows[:, alone].T, color="#999999", lw=1.2)
    axes.plot(0, 0, color=GREY, marker="+", ms=7)
