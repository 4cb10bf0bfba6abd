"""How many starts of a search came to stationary points of each kind."""

from __future__ import annotations

from collections import Counter

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from reludyn.figures.style import GREEN, ORANGE, PURPLE, RED, SKY, new_figure, styled
from reludyn.runs.load import Run

KINDS = {
    "global_minimum": GREEN,
    "local_minimum": SKY,
    "non_strict_saddle": ORANGE,
    "strict_saddle": RED,
    "undecided": PURPLE,
    "not_stationary": "#999999",
}
ROWS = 12  # kinds and losses that have a bar at most


@styled
def plot_stationary(run: Run) -> Figure:
    """Draw how many starts of a search came to stationary points of each kind and loss.

    Args:
        run: run with `theory.stationary=true`.

    Returns:
        Figure from stationary_points.csv, with a bar for each kind and loss.

    Raises:
        FileNotFoundError: where the run left no stationary_points.csv.

    Examples:
        >>> import reludyn
        >>> figure = reludyn.figures.plot_stationary(reludyn.load_run("outputs/run"))
        >>> figure.axes[0].get_xlabel()
        'starts, of 6'
    """
    points = run.table("stationary_points.csv")
    groups = Counter(
        (str(kind), "" if kind == "not_stationary" else f"{loss:.4f}")
        for kind, loss in zip(points["kind"], points["loss"], strict=True)
    )
    order = list(KINDS)
    chosen = sorted(groups.most_common(ROWS), key=lambda x: (order.index(x[0][0]), x[0][1]))
    counts, places = [count for _, count in chosen], np.arange(len(chosen))
    figure = new_figure(5.4, 1.2 + 0.3 * len(chosen))
    axes = figure.add_subplot()
    axes.barh(places, counts, color=[KINDS[kind] for (kind, _), _ in chosen])
    for place, count in zip(places, counts, strict=True):
        axes.annotate(f" {count}", (count, place), va="center")
    axes.set_yticks(
        places,
        [
            kind.replace("_", " ") + (f", $L$ = {loss}" if loss else "")
            for (kind, loss), _ in chosen
        ],
    )
    axes.invert_yaxis()
    axes.grid(False)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    rarer = len(groups) - len(chosen)
    more = f"; {rarer} rarer kinds are in stationary_points.csv" if rarer else ""
    axes.set(xlabel=f"starts, of {points.rows}{more}", xlim=(0, 1.12 * max(counts)))
    return figure
