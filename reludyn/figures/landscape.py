"""Figure 1c of the paper and more: the loss on a plane, and the stationary points found."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from reludyn.figures.style import (
    BLACK,
    GREEN,
    ORANGE,
    PURPLE,
    RED,
    SKY,
    STYLE,
    new_figure,
    save,
)

Array = NDArray[Any]
KINDS = {
    "global_minimum": GREEN,
    "local_minimum": SKY,
    "non_strict_saddle": ORANGE,
    "strict_saddle": RED,
    "undecided": PURPLE,
    "not_stationary": "#999999",
}
ROWS = 12  # kinds and losses that have a bar


def draw_landscape(run: Path) -> list[Path]:
    """Draw landscape.npz and stationary_points.csv of a run folder; returns the files.

    Left: the loss over the plane, with the levels of the stationary points that lie in it. Right:
    how many starts came to a point of each kind and loss.
    """
    with np.load(run / "landscape.npz", allow_pickle=False) as file:
        data = {name: file[name] for name in file.files}
    with (run / "stationary_points.csv").open(newline="") as table:
        points = list(csv.DictReader(table))
    with mpl.rc_context(STYLE):
        figure = new_figure(8.4, 3.8)
        _surface(figure, data)
        _counts(figure, points)
    return save(figure, run / "figures", "landscape")


def _surface(figure: Figure, data: dict[str, Array]) -> None:
    x, y, loss = data["x"], data["y"], data["loss"]
    top = float(np.quantile(loss, 0.9))
    shown = np.minimum(loss, top)
    axes: Any = figure.add_subplot(1, 2, 1, projection="3d")
    grid = np.meshgrid(x, y, indexing="ij")
    axes.plot_surface(
        *grid, shown, cmap="viridis", alpha=0.85, linewidth=0, rcount=60, ccount=60, vmax=top
    )
    if _is_target_plane(data):
        for line in (x[x >= 1], x[(x <= 0) & (x - 1 >= y[0])]):
            axes.plot(line, line - 1, _unit(data) / 4, color=RED, lw=2, zorder=10)
        axes.plot([1], [-1], [0], marker="o", color=BLACK, zorder=10)
        labels = "$\\alpha_1$", "$\\alpha_2$"
    else:
        labels = "first direction", "second direction"
    axes.set(xlabel=labels[0], ylabel=labels[1], zlim=(0, top))
    axes.set_title("$L$ on the plane", y=0.98)
    axes.view_init(elev=38, azim=-60)
    axes.set_box_aspect(None, zoom=0.85)


def _counts(figure: Figure, points: list[dict[str, str]]) -> None:
    axes = figure.add_subplot(1, 2, 2)
    named = [(p["kind"], float(p["loss"] or "nan")) for p in points]
    groups = Counter(
        (kind, "" if kind == "not_stationary" else f"{loss:.4f}") for kind, loss in named
    )
    order = list(KINDS)
    chosen = sorted(
        groups.most_common(ROWS), key=lambda item: (order.index(item[0][0]), item[0][1])
    )
    labels = [
        kind.replace("_", " ") + (f", L = {loss}" if loss else "") for (kind, loss), _ in chosen
    ]
    counts = [count for _, count in chosen]
    places = np.arange(len(chosen))
    axes.barh(places, counts, color=[KINDS[kind] for (kind, _), _ in chosen])
    for place, count in zip(places, counts, strict=True):
        axes.annotate(f" {count}", (count, place), va="center")
    axes.set_yticks(places, labels)
    axes.invert_yaxis()
    axes.grid(False)
    axes.set(xlabel=f"starts, of {len(points)}", xlim=(0, 1.12 * max(counts)))
    axes.set_title("stationary points found")
    left_out = len(groups) - len(chosen)
    if left_out:
        axes.annotate(f"{left_out} rarer ones in stationary_points.csv", (0.98, 0.02),
                      xycoords="axes fraction", ha="right", fontsize=7)  # fmt: skip


def _is_target_plane(data: dict[str, Array]) -> bool:
    """Whether the coordinates are those of v_1 w_1 and |v_2| w_2 along a."""
    return not data["origin_W"].any()


def _unit(data: dict[str, Array]) -> float:
    """|a|^2: the length of v_1 w_1 where alpha_1 = 1, squared."""
    return float(np.square(data["origin_V"][0, 0] * data["one_W"][0]).sum())
