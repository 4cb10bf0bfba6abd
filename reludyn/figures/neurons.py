"""Figures 1 and 2 of the paper: the paths of the neurons in a plane through a."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes

from reludyn.figures.files import Array, arrays
from reludyn.figures.style import BLACK, BLUE, GREEN, PURPLE, RED, STYLE, new_figure, save

WIDEST = 16  # the width up to which neurons are named


def draw_neurons(run: Path) -> list[Path]:
    """Draw the paths of replica 0 from trajectory.npz; returns the files.

    w_i in the plane of a and of a random direction orthogonal to it; red where v_i > 0 in the end,
    blue where v_i < 0; a circle where it ends, arrows for +a and -a.
    """
    return _draw(run, "neurons", sums=False)


def draw_sums(run: Path) -> list[Path]:
    """The same, and the sums of |v_i| w_i over v_i > 0 (purple) and over v_i < 0 (green)."""
    return _draw(run, "sums", sums=True)


def _draw(run: Path, name: str, sums: bool) -> list[Path]:
    data = arrays(run / "trajectory.npz")
    W, v, a = data["W"][:, 0], data["V"][:, 0, 0], data["A"][0]
    plane = _plane(a)
    with mpl.rc_context(STYLE):
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
        _frame(axes, data, plane, float(np.linalg.norm(a)))
        axes.set(xlabel="along $a$", ylabel="along a random direction orthogonal to $a$")
        figure.legend(loc="outside upper center", ncols=4)
    return save(figure, run / "figures", name)


def _plane(a: Array) -> Array:
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


def _frame(axes: Axes, data: dict[str, Array], plane: Array, size: float) -> None:
    """Each direction has its own scale: small weights leave little across a."""
    seen = data["W"][:, 0] @ plane.T
    across = np.abs(seen[..., 1]).max()
    along = 1.25 * max(np.abs(seen[..., 0]).max(), size)
    axes.set_xlim(-along, along)
    height = 1.5 * across or along
    axes.set_ylim(-height, height)
