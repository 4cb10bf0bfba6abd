"""Where small-scale theory holds: outcomes and predictions against the scale of the weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes

from reludyn.figures.files import Array, column, table
from reludyn.figures.style import BLUE, GREEN, ORANGE, RED, STYLE, new_figure, save
from reludyn.statistics import wilson

BINS = 16
TIMES = ("T_align", "T_growth", "T_converged")


def draw_scale(run: Path) -> list[Path]:
    """Draw replicas.csv of a run whose scales differ (`init.scale_to`); returns the files.

    Above: the fraction of replicas that are stuck, and of those that are undecided. Below: the
    fraction whose outcome each rule says wrongly, of those with an outcome, and the fraction whose
    T_align, T_growth or T_converged differs from the prediction by more than one iteration, of
    those that reach a minimum. Bands: 95% Wilson intervals.
    """
    rows = table(run / "replicas.csv")
    scale = column(rows, "init_scale")
    outcome = np.array([row["outcome"] for row in rows])
    stuck, decided = (
        outcome == "non_strict_saddle",
        np.isin(outcome, ["non_strict_saddle", "global_minimum"]),
    )
    minimum = outcome == "global_minimum"
    with mpl.rc_context(STYLE):
        figure = new_figure(6.0, 5.0)
        above, below = figure.subplots(2, 1, sharex=True)
        _curve(above, scale, stuck, "stuck at loss |a|²/4", BLUE)
        _curve(above, scale, ~decided, "neither stuck nor converged", ORANGE)
        for name, label, color in (
            ("predicted_outcome", "outcome, theory", GREEN),
            ("basin_rule", "outcome, basin rule", BLUE),
            ("sign_rule", "outcome, signs of v(0)", RED),
        ):
            said = np.array([row[name] for row in rows])
            if said[decided].any():
                _curve(below, scale[decided], (said != outcome)[decided], label, color)
        wrong = np.array([_off_by_more(row) for row in rows])
        if any(row["predicted_T_converged"] for row in rows):
            _curve(below, scale[minimum], wrong[minimum], "times off by > 1, theory", ORANGE)
        above.set(ylabel="fraction of replicas", ylim=(-0.02, None), xscale="log")
        below.set(
            xlabel="scale $\\sigma$ of the initial weights",
            ylabel="fraction mispredicted",
            ylim=(-0.02, 1.02),
        )
        above.legend(loc="center left")
        below.legend(loc="center left")
    return save(figure, run / "figures", "scale")


def _curve(axes: Axes, scale: Array, event: Array, label: str, color: str) -> None:
    centres, fraction, low, high = binned(scale, event)
    axes.plot(centres, fraction, color=color, label=label, marker="o", ms=3)
    axes.fill_between(centres, low, high, color=color, alpha=0.15, lw=0)


def binned(scale: Array, event: Array) -> tuple[Array, Array, Array, Array]:
    """Geometric centres, fractions and 95% Wilson intervals over BINS bins of the scale."""
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


def _off_by_more(row: dict[str, str]) -> bool:
    pairs = ((row[name], row[f"predicted_{name}"]) for name in TIMES)
    return any(not p or abs(int(m) - int(p)) > 1 for m, p in pairs if m)
