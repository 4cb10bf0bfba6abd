"""Figure 1c of the paper: the loss on a plane through the space of weights."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from reludyn.figures.style import BLACK, RED, new_figure, styled
from reludyn.runs import Array, Run


@styled
def plot_surface(run: Run) -> Figure:
    """plane.npz: the loss on a plane; on that of the targets also the valley of loss |a|^2/4 and
    the minimum."""
    data = run.npz("plane.npz")
    x, y, loss = data["x"], data["y"], data["loss"]
    top = float(np.quantile(loss, 0.9))
    figure = new_figure(4.8, 4.0)
    axes: Any = figure.add_subplot(projection="3d")
    grid = np.meshgrid(x, y, indexing="ij")
    axes.plot_surface(
        *grid, np.minimum(loss, top), cmap="viridis", alpha=0.85, linewidth=0, rcount=60,
        ccount=60, vmax=top,
    )  # fmt: skip
    labels = "first direction", "second direction"
    if _is_target_plane(data):
        labels = "$\\alpha_1$", "$\\alpha_2$"
        for line in (x[(x >= 1)], x[(x <= 0) & (x - 1 >= y[0])]):
            axes.plot(line, line - 1, _square(data) / 4, color=RED, lw=2, zorder=10)
        axes.plot([1], [-1], [0], marker="o", color=BLACK, zorder=10)
    axes.set(xlabel=labels[0], ylabel=labels[1], zlabel="$L$", zlim=(0, top))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(4))
    axes.view_init(elev=38, azim=-60)
    axes.set_box_aspect(None, zoom=0.85)
    return figure


def _is_target_plane(data: dict[str, Array]) -> bool:
    """Whether the coordinates are those of v_1 w_1 and |v_2| w_2 along a."""
    return not data["origin_W"].any()


def _square(data: dict[str, Array]) -> float:
    """|a|^2, where v_1 w_1 = a at alpha_1 = 1."""
    return float(np.square(data["origin_V"][0, 0] * data["one_W"][0]).sum())
