"""Where the neurons point: angle to a and length of each w_i, as polar coordinates."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from reludyn.figures.labels import Name, place
from reludyn.figures.style import BLACK, BLUE, CYCLE, GREEN, GREY, SIGNS, STYLE, new_figure, styled
from reludyn.figures.timeline import of_replica, positive
from reludyn.runs.load import Run
from reludyn.runs.table import Array

WIDEST = 4  # the width up to which neurons have their names beside them, if they are apart
COLORS = len(CYCLE)  # the width up to which neurons without a sign have a style each
ALIGNED = math.pi / 20  # alignment ends once all neurons are this close to their targets
DECADES = 30  # the ratio of lengths from which the radius is logarithmic
APART = 0.2  # the least distance between two circles with numbers, in units of the largest
INNER = 0.25  # the radius of the shortest weight: directions must be visible there, too
RIM = 1.08
STYLES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (6, 1)), (0, (3, 1, 1, 1, 1, 1)))


class Disc(NamedTuple):
    """Content of the half disc: angles and radii (T, k), and the circles' radii and names.

    `looks` (T, k) is how each neuron is drawn at each look.
    """

    angle: Array
    radius: Array
    looks: list[list[dict[str, Any]]]
    circles: tuple[list[float], list[str]]
    outputs: int


@styled
def plot_polar(run: Run, replica: int = 0) -> Figure:
    """Draw the paths of the w_i with their angle to a (to A^T v_i for several outputs).

    The radius is |w_i|, logarithmic from the shortest to the longest where it grows by more than a
    decade and a half. A cross where each begins, a circle where it ends; red and full where v_i > 0
    at the end, blue, dashed and hollow where v_i < 0. Green: the cones of pi/20 in which neurons
    count as aligned.

    Args:
        run: run with recorded weights.
        replica: index of the replica.

    Returns:
        Figure with a half disc.

    Raises:
        NothingToDraw: where the weights of the replica were not kept.

    Examples:
        >>> import reludyn
        >>> figure = reludyn.figures.plot_polar(reludyn.load_run("outputs/run"))
        >>> figure.axes[0].name
        'polar'
    """
    disc = disc_of(run, replica)
    figure = new_figure(5.4, 3.5, layout=None)  # a layout leaves half of the page empty
    # the place of the whole disc, whose lower half is left out, is taller than the page
    axes: Any = figure.add_axes((0.1, -0.08, 0.8, 1.23), projection="polar")
    draw_disc(axes, disc)
    names = []
    k = disc.angle.shape[1]
    for i in range(k):
        path, look = np.stack([disc.angle[:, i], disc.radius[:, i]], 1), disc.looks[-1][i]
        axes.plot(*path.T, color=look["color"], ls=look["ls"], lw=1.4, alpha=0.9)
        axes.plot(*path[:1].T, color=look["color"], marker="x", ms=5)
        axes.plot(*path[-1:].T, **look, marker="o", ms=5, clip_on=False)
        if k <= WIDEST and disc.outputs == 1 and np.isfinite(path[-1]).all():
            names.append(Name(f"$w_{{{i + 1}}}$", path[-1], look["color"], math.pi / 2))
    target = "$a$" if disc.outputs == 1 else "the target"
    figure.text(0.5, 0.94, f"angle to {target} and length of the neurons", ha="center")
    figure.legend(handles=handles_of(disc, k > WIDEST), loc="lower center", ncols=4)
    place(axes, names)
    return figure


def disc_of(run: Run, replica: int) -> Disc:
    """Return the neurons of a replica as they are on the half disc."""
    length = positive(of_replica(run, "w_norm", replica))
    angle = of_replica(run, "angle_to_target", replica)
    outputs, k = len(run.arrays["A"]), length.shape[1]
    if outputs == 1:
        v = of_replica(run, "V", replica)[:, 0]
        angle = np.where(v < 0, math.pi - angle, angle)
        looks = [[SIGNS[1 if x > 0 else -1] for x in row] for row in v]
    else:
        looks = [[_look(i, k) for i in range(k)]] * len(length)
    radius, circles = _radius(length)
    return Disc(angle, radius, looks, circles, outputs)


def draw_disc(axes: Any, disc: Disc) -> None:
    """Draw the half disc itself: cones, circles and directions."""
    axes.set(thetamin=0, thetamax=180, ylim=(0, RIM))
    for middle in (0, math.pi) if disc.outputs == 1 else (0,):
        cone = np.clip([middle - ALIGNED, middle + ALIGNED], 0, math.pi)
        axes.fill_between(cone, 0, RIM, color=GREEN, alpha=0.15, lw=0)
    # an animation is drawn later, outside the house style
    axes.grid(color=STYLE["grid.color"], lw=STYLE["grid.linewidth"])
    axes.set_rgrids(*disc.circles, color=GREY, fontsize=7)
    axes.annotate(
        "circles: $\\|w_i\\|$",
        (math.pi, 0.5),
        (0, -15),
        textcoords="offset points",
        ha="center",
        color=GREY,
        fontsize=7,
    )
    names = ["$A^T v_i$", "", "", "", ""]
    if disc.outputs == 1:
        names = ["$a$", "", "$\\pi/2$", "", "$-a$"]
    axes.set_thetagrids([0, 45, 90, 135, 180], names, color=BLACK)


def handles_of(disc: Disc, counted: bool = False) -> list[Artist]:
    """Return what colours and marks mean, for a legend; counted: with numbers instead of names."""
    k = disc.angle.shape[1]
    if disc.outputs == 1:
        number = {
            sign: f" ({disc.looks[-1].count(SIGNS[sign])} neurons)" * counted for sign in SIGNS
        }
        kinds = {f"$v_i > 0${number[1]}": SIGNS[1], f"$v_i < 0${number[-1]}": SIGNS[-1]}
    elif k > COLORS:
        kinds = {f"{k} neurons": _look(0, k)}
    else:
        kinds = {f"$w_{{{i + 1}}}$": _look(i, k) for i in range(k)}
    handles: list[Artist] = [
        Line2D([], [], **look, marker="o", ms=5, lw=1.4, label=label)
        for label, look in kinds.items()
    ]
    start = Line2D([], [], color=GREY, marker="x", ms=5, ls="none", label="start")
    return [*handles, start, Patch(color=GREEN, alpha=0.15, label="aligned")]


def _look(i: int, k: int) -> dict[str, Any]:
    """Return the style of a neuron with several outputs, which has no sign."""
    if k > COLORS:
        return {"color": BLUE, "ls": "-", "mfc": BLUE}
    return {"color": CYCLE[i], "ls": STYLES[i], "mfc": CYCLE[i]}


def _radius(length: Array) -> tuple[Array, tuple[list[float], list[str]]]:
    """Return radii within [0, 1], and the places and labels of circles."""
    seen = length[np.isfinite(length)]
    if not len(seen) or seen.max() < DECADES * seen.min():
        top = float(seen.max(initial=0.0)) or 1.0
        return length / top, ([0.5, 1.0], [f"{top / 2:.2g}", f"{top:.2g}"])
    top, low = math.log10(seen.max()), math.log10(seen.min())
    unit = (1 - INNER) / (top - low)
    radius = INNER + unit * (np.log10(length) - low)
    decades = range(math.ceil(low), math.floor(top) + 1)
    shown = decades[:: math.ceil(APART / unit)]
    return radius, ([INNER + unit * (e - low) for e in shown], [f"$10^{{{e}}}$" for e in shown])
