"""Where the neurons point: angle to a and length of each w_i, as polar coordinates."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from reludyn.figures.style import BLACK, BLUE, CYCLE, GREY, RED, new_figure, styled
from reludyn.figures.timeline import of_replica, positive
from reludyn.runs import Array, Run

WIDEST = 4  # the width up to which neurons are named
ALIGNED = math.pi / 20  # alignment ends once all neurons are this close to their targets
DECADES = 30  # the ratio of lengths from which the radius is logarithmic


@styled
def plot_polar(run: Run, replica: int = 0) -> Figure:
    """The paths of the w_i: the angle to a for one output, that to A^T v_i for several; the radius
    is |w_i|, logarithmic where it grows by more than a decade and a half. A cross where each
    begins, a circle where it ends; red where v_i > 0 in the end, blue where v_i < 0. Green: the
    cones of pi/20 in which neurons count as aligned."""
    length = positive(of_replica(run, "w_norm", replica))
    angle = of_replica(run, "angle_to_target", replica)
    one_output = len(run.arrays["A"]) == 1
    colors = [CYCLE[i % len(CYCLE)] for i in range(length.shape[1])]
    if one_output:
        v = of_replica(run, "V", replica)[:, 0]
        angle = np.where(v < 0, math.pi - angle, angle)
        colors = [RED if last > 0 else BLUE for last in v[-1]]
    radius, ticks = _radius(length)
    figure = new_figure(5.4, 3.0)
    axes: Any = figure.add_subplot(projection="polar")
    axes.set(thetamin=0, thetamax=180, ylim=(0, 1.08))
    for middle in (0, math.pi) if one_output else (0,):
        cone = np.clip([middle - ALIGNED, middle + ALIGNED], 0, math.pi)
        axes.fill_between(cone, 0, 1.08, color="#009E73", alpha=0.15, lw=0)
    for i, color in enumerate(colors):
        path = angle[:, i], radius[:, i]
        axes.plot(*path, color=color, lw=1.4, alpha=0.9)
        axes.plot(path[0][:1], path[1][:1], color=color, marker="x", ms=5)
        axes.plot(path[0][-1:], path[1][-1:], color=color, marker="o", ms=5, clip_on=False)
        if len(colors) <= WIDEST:
            above = (0, 9 + 11 * (i // 2))
            axes.annotate(f"$w_{{{i + 1}}}$", (path[0][-1], path[1][-1]), above,
                          textcoords="offset points", color=color, ha="center")  # fmt: skip
    axes.set_rgrids(*ticks, color=GREY, fontsize=7)
    names = ["$a$", "", "$\\pi/2$", "", "$-a$"] if one_output else ["$A^T v_i$", "", "", "", ""]
    axes.set_thetagrids([0, 45, 90, 135, 180], names, color=BLACK)
    axes.set_title("angle to $a$ and length of the neurons" if one_output
                   else "angle to the target and length of the neurons", pad=2)  # fmt: skip
    return figure


def _radius(length: Array) -> tuple[Array, tuple[list[float], list[str]]]:
    """Radii within [0, 1], and the places and labels of circles."""
    seen = length[np.isfinite(length)]
    if not len(seen) or seen.max() < DECADES * seen.min():
        top = float(seen.max(initial=0.0)) or 1.0
        return length / top, ([0.5, 1.0], [f"{top / 2:.2g}", f"{top:.2g}"])
    top, low = float(seen.max()), math.floor(math.log10(seen.min()))
    span = math.log10(top) - low
    radius = (np.log10(length) - low) / span
    decades = range(low, math.floor(math.log10(top)) + 1)
    shown = decades[:: -(-len(decades) // 3)]
    return radius, ([(e - low) / span for e in shown], [f"$10^{{{e}}}$" for e in shown])
