"""The largest stable step size of many seeds, beside the bound of linear stability."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from reludyn.figures.style import BLACK, BLUE, RED, new_figure, styled
from reludyn.figures.timeline import NothingToDraw
from reludyn.runs.load import Run


@styled
def plot_stability(run: Run) -> Figure:
    r"""Draw the largest stable step size of each replica beside the bound of linear stability.

    Left: the step size against 2/sharpness of the minimum that descent with a small step size
    finds, by what happens above it. Right: how the ratio of the two is distributed.

    Args:
        run: run with `theory.stability=true`.

    Returns:
        Figure from stability.csv with two panels.

    Raises:
        FileNotFoundError: where the run left no stability.csv.
        NothingToDraw: where no replica has a largest stable step size.

    Examples:
        >>> import reludyn
        >>> figure = reludyn.figures.plot_stability(reludyn.load_run("outputs/run"))
        >>> figure.axes[0].get_ylabel()
        'largest stable step size $\\mu$'
    """
    rows = run.table("stability.csv")
    bound, stable, above = rows["two_over_sharpness"], rows["stable_lr"], rows["above"]
    known = np.isfinite(bound) & np.isfinite(stable)
    if not known.any():
        raise NothingToDraw("stability.csv: no replica has a largest stable step size")
    figure = new_figure(7.2, 3.4)
    left, right = figure.subplots(1, 2)
    for name, label, color, marker in (
        ("diverged", "diverges above", BLUE, "o"),
        ("unconverged", "does not converge above", RED, "x"),
    ):
        chosen = known & (above == name)
        if chosen.any():
            left.plot(bound[chosen], stable[chosen], marker, color=color, ms=4, label=label)
    ends = np.array([bound[known].min(), bound[known].max()])
    left.plot(ends, ends, color=BLACK, lw=1, ls="--", label="$\\mu = 2/\\lambda$")
    left.set(xlabel="$2/\\lambda$ at the minimum", ylabel="largest stable step size $\\mu$")
    ratio = (stable / bound)[known]
    right.hist(ratio, bins="auto", color=BLUE)
    right.axvline(1, color=BLACK, lw=1, ls="--")
    right.set_axisbelow(True)
    right.set(xlabel="largest stable $\\mu$ over $2/\\lambda$", ylabel="seeds")
    figure.legend(loc="outside lower center", ncols=3)
    return figure
