"""Figures 1 and 2 of the paper: the paths of the neurons in a plane through a."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reludyn.figures.style import BLACK, BLUE, GREEN, PURPLE, RED, new_figure, styled
from reludyn.figures.timeline import of_replica
from reludyn.runs import Array, Run

WIDEST = 16  # the width up to which neurons are named


@styled
def plot_neurons(run: Run, replica: int = 0, sums: bool = False) -> Figure:
    """The paths of the w_i in the plane of a and of a random direction orthogonal to it; red where
    v_i > 0 in the end, blue where v_i < 0; a cross where each begins, a circle where it ends,
    arrows for +a and -a. `sums`: also those of the sums of |v_i| w_i over v_i > 0 (purple) and over
    v_i < 0 (green)."""
    W, V = of_replica(run, "W", replica), of_replica(run, "V", replica)
    v, a = V[:, 0], run.arrays["A"][0]
    plane = plane_of(a)
    figure = new_figure(4.6, 4.2)
    axes = figure.add_subplot()
    for i in range(W.shape[1]):
        color = RED if v[-1, i] > 0 else BLUE
        label = f"$w_{{{i + 1}}}$" if i < WIDEST else ""
        _path(axes, W[:, i] @ plane.T, color, label, height=8 + 12 * (i // 2 % 2))
    if sums:
        for sign, color, label in (
            (1, PURPLE, "$\\sum_{v_i>0} |v_i| w_i$"),
            (-1, GREEN, "$\\sum_{v_i<0} |v_i| w_i$"),
        ):
            share = np.where(sign * v > 0, np.abs(v), 0.0)
            axes.plot([], [], color=color, label=label, lw=2)
            _path(axes, np.einsum("tk,tkd->td", share, W) @ plane.T, color, "", dashed=True)
    for sign in (1, -1):
        tip = (sign * np.linalg.norm(a), 0.0)
        arrow = {"arrowstyle": "-|>", "color": BLACK, "lw": 1.4, "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", tip, (0, 0), arrowprops=arrow, zorder=2)
        axes.annotate(
            "$a$" if sign > 0 else "$-a$", tip, (0, -12), textcoords="offset points",
            ha="center",
        )  # fmt: skip
    axes.plot([], [], color=RED, label="$v_i > 0$")
    axes.plot([], [], color=BLUE, label="$v_i < 0$")
    frame(axes, W @ plane.T, float(np.linalg.norm(a)))
    axes.set(xlabel="along $a$", ylabel="along a random direction orthogonal to $a$")
    figure.legend(loc="outside upper center", ncols=4)
    return figure


def plane_of(a: Array) -> Array:
    """(2, d): a/|a| and a direction orthogonal to it (zero for d = 1)."""
    unit = a / np.linalg.norm(a)
    other = np.random.default_rng(0).standard_normal(len(a))
    other -= (other @ unit) * unit
    length = np.linalg.norm(other)
    return np.stack([unit, other / length if len(a) > 1 else 0 * other])


def _path(
    axes: Axes, path: Array, color: str, label: str, dashed: bool = False, height: int = 8
) -> None:
    axes.plot(*path.T, color=color, lw=1.6, ls="--" if dashed else "-", alpha=0.9, zorder=3)
    axes.plot(*path[:1].T, color=color, marker="x", ms=6, zorder=5)
    axes.plot(*path[-1:].T, color=color, marker="s" if dashed else "o", ms=6, zorder=5,
              mfc="none" if dashed else color)  # fmt: skip
    if label:
        axes.annotate(label, path[-1], (6, height), textcoords="offset points", color=color)


def frame(axes: Axes, seen: Array, size: float) -> None:
    """Each direction has its own scale: small weights leave little across a."""
    across = np.abs(seen[..., 1]).max()
    along = 1.25 * max(np.abs(seen[..., 0]).max(), size)
    axes.set_xlim(-along, along)
    height = 1.5 * across or along
    axes.set_ylim(-height, height)
