"""Figure 1c of the paper: the loss on a plane through the space of weights."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from reludyn.figures.style import BLACK, RED, new_figure, styled
from reludyn.runs.load import Run
from reludyn.runs.table import Array


@styled
def plot_surface(run: Run) -> Figure:
    """Draw figure 1c of the paper: the loss on a plane through the space of weights.

    On the plane of the targets it also shows the valley of saddles, where both neurons point the
    same way, and the minimum. With the slope s (0 for ReLU) and E(a.x)^2 = |a|^2 the valley is
    alpha_1 - alpha_2 = (1 + s)/(1 + s^2) of loss |a|^2 (1 - s)^2/(4 (1 + s^2)), the minimum
    alpha_1 = -alpha_2 = 1/(1 + s).

    Args:
        run: run with `theory.plane=targets`, or another plane.

    Returns:
        Figure from plane.npz, in three dimensions.

    Raises:
        FileNotFoundError: where the run left no plane.npz.

    Examples:
        >>> import reludyn
        >>> figure = reludyn.figures.plot_surface(reludyn.load_run("outputs/run"))
        >>> figure.axes[0].name
        '3d'
    """
    data = run.npz("plane.npz")
    x, y, loss = data["x"], data["y"], data["loss"]
    top = float(np.quantile(loss, 0.9))
    figure = new_figure(4.8, 4.4)
    axes: Any = figure.add_subplot(projection="3d")
    grid = np.meshgrid(x, y, indexing="ij")
    axes.plot_surface(
        *grid,
        np.minimum(loss, top),
        cmap="viridis",
        alpha=0.85,
        linewidth=0,
        rcount=60,
        ccount=60,
        vmax=top,
    )
    labels = "first direction", "second direction"
    if _is_target_plane(data):
        labels = "$\\alpha_1$", "$\\alpha_2$"
        s = float(run.config["model"]["negative_slope"])
        gap, height = (1 + s) / (1 + s**2), (1 - s) ** 2 / (4 * (1 + s**2))
        kind = "minima" if s == 1 else "saddles"
        name = f"valley of {kind}, $L = {height:.3g}\\,|a|^2$"
        for begin, end in ((gap, x[-1]), (max(x[0], y[0] + gap), 0)):
            line = np.linspace(begin, end, 50)
            axes.plot(
                line, line - gap, _square(data) * height, color=RED, lw=2, zorder=10, label=name
            )
            name = "_"
        best = 1 / (1 + s)
        axes.plot(
            [best],
            [-best],
            [0],
            marker="o",
            color=BLACK,
            ls="none",
            zorder=10,
            label="minimum, $L = 0$",
        )
        figure.legend(loc="outside upper center", ncols=2)
        figure.supxlabel("$v_1 w_1 = \\alpha_1 a$, $|v_2| w_2 = \\alpha_2 a$", fontsize=9)
    axes.set(xlabel=labels[0], ylabel=labels[1], zlabel="$L$", zlim=(0, top))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(4))
    axes.view_init(elev=38, azim=-60)
    axes.set_box_aspect(None, zoom=0.9)
    return figure


def _is_target_plane(data: dict[str, Array]) -> bool:
    """Return whether the coordinates are those of v_1 w_1 and |v_2| w_2 along a."""
    return not data["origin_W"].any()


def _square(data: dict[str, Array]) -> float:
    """Return |a|^2, where v_1 w_1 = a at alpha_1 = 1."""
    return float(np.square(data["origin_V"][0, 0] * data["one_W"][0]).sum())
