"""Figures 1 and 2 of the paper: the paths of the neurons in a plane through a."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.markers import CARETLEFT, CARETRIGHT

from reludyn.figures.labels import Name, place
from reludyn.figures.style import BLACK, GREEN, GREY, PURPLE, SIGNS, new_figure, styled
from reludyn.figures.timeline import has_diverged, of_replica
from reludyn.runs.load import Run
from reludyn.runs.table import Array

WIDEST = 8  # the width up to which neurons are named
TALL = 0.9  # the height of the axes over their width
FAR = 3  # a diverging path is drawn up to here, in units of |a| or of the first weights
SUMS: dict[int, Any] = {
    1: {"color": PURPLE, "ls": (0, (5, 1.5)), "marker": "s", "mfc": "none"},
    -1: {"color": GREEN, "ls": (0, (1, 1)), "marker": "D", "mfc": "none"},
}


@styled
def plot_neurons(run: Run, replica: int = 0, sums: bool = False) -> Figure:
    """Draw the paths of the w_i in the plane of a and of a random direction orthogonal to it.

    Red and full where v_i > 0 at the end, blue, dashed and hollow where v_i < 0; a cross where each
    begins, a circle where it ends, arrows for +a and -a. The two directions have scales of their
    own, and the label tells how many times larger the second is (plot_polar shows angles as they
    are). For several outputs it shows the first one: a_1, and V_{1i} for v_i. A path that diverges
    leaves the picture.

    Args:
        run: run with recorded weights.
        replica: index of the replica.
        sums: also draw the sums of |v_i| w_i over v_i > 0 (purple) and over v_i < 0 (green).

    Returns:
        Figure with one panel.

    Raises:
        NothingToDraw: where the weights of the replica were not kept.

    Examples:
        >>> import reludyn
        >>> figure = reludyn.figures.plot_neurons(reludyn.load_run("outputs/run"), sums=True)
        >>> figure.axes[0].get_xlabel()
        'along $a$'
    """
    W, V = of_replica(run, "W", replica), of_replica(run, "V", replica)
    v, a = V[:, 0], run.arrays["A"][0]
    outputs = len(run.arrays["A"])
    target, sign_of = ("a", "v_i") if outputs == 1 else ("a_1", "V_{1i}")
    size, plane = float(np.linalg.norm(a)), plane_of(a)
    paths = W @ plane.T  # (T, k, 2)
    signs = [1 if last > 0 else -1 for last in v[-1]]
    figure = new_figure(4.6, 4.2)
    axes = figure.add_subplot()
    axes.set_box_aspect(TALL)
    names = []
    for sign, marker in ((1, CARETRIGHT), (-1, CARETLEFT)):
        axes.plot([0, sign * size], [0, 0], color=BLACK, lw=1.4, marker=marker, markevery=[-1])
        names.append(
            Name(
                f"${'-' * (sign < 0)}{target}$",
                np.array([sign * size, 0]),
                toward=-math.pi / 2 + sign * 0.3,
            )
        )
    far = FAR * max(size, np.abs(paths[0]).max()) if has_diverged(run, replica) else math.inf
    for i, sign in enumerate(signs):
        _path(axes, paths[:, i], SIGNS[sign])
        begin, end = paths[[0, -1], i]
        named = end if np.abs(end).max() <= far else begin
        if len(signs) <= WIDEST:
            names.append(Name(f"$w_{{{i + 1}}}$", named, SIGNS[sign]["color"]))
    for sign, look in SIGNS.items():
        label = f"${sign_of} {'>' if sign > 0 else '<'} 0$"
        if len(signs) > WIDEST:
            label += f" ({signs.count(sign)} neurons)"
        axes.plot([], [], **look, marker="o", label=label)
    if sums:
        for sign, look in SUMS.items():
            share = np.where(sign * v > 0, np.abs(v), 0.0)
            _path(axes, np.einsum("tk,tkd->td", share, W) @ plane.T, look, wide=True)
            group = f"\\sum_{{{sign_of}{'>' if sign > 0 else '<'}0}} |{sign_of}| w_i"
            axes.plot([], [], **look, lw=2.2, label=f"${group}$")
    times = frame(axes, paths, size, far)
    which = f" (the first of {outputs} outputs)" if outputs > 1 else ""
    leaves = "" if np.abs(paths[-1]).max() <= far else " (diverged: leaves the picture)"
    axes.set(
        xlabel=f"along ${target}${which}{leaves}",
        ylabel=f"across ${target}$, a random direction{times}",
    )
    axes.plot([], [], color=GREY, marker="x", ls="none", label="start")
    figure.legend(loc="outside upper center", ncols=3)
    place(axes, names)
    return figure


def plane_of(a: Array) -> Array:
    """Return a/|a| and a direction orthogonal to it (zero for d = 1), (2, d)."""
    unit = a / np.linalg.norm(a)
    other = np.random.default_rng(0).standard_normal(len(a))
    other -= (other @ unit) * unit
    length = np.linalg.norm(other)
    return np.stack([unit, other / length if len(a) > 1 else 0 * other])


def _path(axes: Axes, path: Array, look: dict[str, Any], wide: bool = False) -> None:
    color, end = look["color"], {"marker": "o", "ms": 8 if wide else 6} | look
    line = {"ls": look["ls"], "lw": 2.2 if wide else 1.6, "alpha": 0.9}
    axes.plot(*path.T, color=color, zorder=3, **line)
    axes.plot(*path[:1].T, color=color, marker="x", ms=6, zorder=5)
    axes.plot(*path[-1:].T, zorder=5, **end)


def frame(axes: Axes, seen: Array, size: float, far: float = math.inf) -> str:
    """Fit the axes to what is seen, and return what the label of the second direction must add.

    Each direction has its own scale where weights are small across a, and the label of that
    direction tells how many times larger; else both have the same. Points farther away than `far`
    do not count.
    """
    near = seen[(np.abs(seen) <= far).all(-1)]
    along = 1.25 * max(np.abs(near[:, 0]).max(initial=0), size)
    height = 1.5 * np.abs(near[:, 1]).max(initial=0) or TALL * along
    times = TALL * along / height
    if 0.5 < times < 2:
        along = max(along, height / TALL)
        height, times = TALL * along, 1
    axes.set_xlim(-along, along)
    axes.set_ylim(-height, height)
    return "" if times == 1 else f"\ndrawn {_number(times)} times as large"


def _number(times: float) -> str:
    """Return a number with two digits."""
    if times < 0.1 or times >= 1e6:
        digits, power = f"{times:.1e}".split("e")
        return f"${digits} \\times 10^{{{int(power)}}}$"
    return f"{float(f'{times:.2g}'):,g}"
