"""Figures 6 to 8 of the paper: neurons that end as pairs v_i = -v_j, w_i = -w_j."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes

from reludyn.figures.files import Array, arrays
from reludyn.figures.style import CYCLE, STYLE, new_figure, save

MARKERS = "osD^vP"


def draw_pairs(run: Path) -> list[Path]:
    """Draw replica 0 from trajectory.npz: the paths of v_i and of w_i in their first two
    coordinates, a colour and a marker a pair, a dashed line through both ends; returns the files.
    """
    data = arrays(run / "trajectory.npz")
    v, w = data["V"][:, 0].swapaxes(1, 2), data["W"][:, 0]
    partner = data["partner"][0] if "partner" in data else np.full(w.shape[1], -1)
    with mpl.rc_context(STYLE):
        figure = new_figure(7.6, 3.9)
        left, right = figure.subplots(1, 2)
        for axes, rows, name in ((left, v, "v"), (right, w, "w")):
            _paths(axes, rows[..., :2], partner)
            axes.set(xlabel=f"${name}_{{i,1}}$", ylabel=f"${name}_{{i,2}}$", aspect="equal")
            axes.set_title({"v": "output weights $v_i$", "w": "hidden weights $w_i$"}[name])
            axes.margins(0.1)
    return save(figure, run / "figures", "pairs")


def _paths(axes: Axes, rows: Array, partner: Array) -> None:
    """rows (T, k, 2)."""
    if rows.shape[2] == 1:
        rows = np.concatenate([rows, np.zeros_like(rows)], 2)
    pairs = sorted({tuple(sorted((i, int(j)))) for i, j in enumerate(partner) if j >= 0})
    for p, (i, j) in enumerate(pairs):
        color, marker = CYCLE[p % len(CYCLE)], MARKERS[p // len(CYCLE) % len(MARKERS)]
        for neuron in (i, j):
            axes.plot(*rows[:, neuron].T, color=color, lw=1.2)
            axes.plot(*rows[-1, neuron], color=color, marker=marker, ms=5)
        axes.plot(*rows[-1, [i, j]].T, color=color, ls="--", lw=0.9, alpha=0.8)
    for alone in np.flatnonzero(partner < 0):
        axes.plot(*rows[:, alone].T, color="#999999", lw=1.2)
    axes.plot(0, 0, color="#555555", marker="+", ms=7)
