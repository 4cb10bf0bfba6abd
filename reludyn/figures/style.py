"""The house style: one size, one font, colours that the colour-blind can tell apart."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeAlias

import matplotlib as mpl
from matplotlib.animation import Animation
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from reludyn.system.files import atomic

# Okabe and Ito (2008)
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
BLUE, RED, PURPLE = "#0072B2", "#D55E00", "#CC79A7"
CYCLE = (BLUE, RED, GREEN, PURPLE, ORANGE, SKY)
GREY = "#555555"
# neurons by the sign of v_i, which can be told apart without colours, too
SIGNS: dict[int, Any] = {
    1: {"color": RED, "ls": "-", "mfc": RED},
    -1: {"color": BLUE, "ls": (0, (4, 1.5)), "mfc": "white"},
}

STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "pdf.fonttype": 42,  # text stays text
    "savefig.dpi": 160,
}


Picture: TypeAlias = Figure | Animation
P = ParamSpec("P")


def styled(plot: Callable[P, Figure]) -> Callable[P, Figure]:
    """Return a function that draws in the house style, whoever calls it."""

    @wraps(plot)
    def draw(*arguments: P.args, **options: P.kwargs) -> Figure:
        with mpl.rc_context(STYLE):
            return plot(*arguments, **options)

    return draw


def new_figure(
    width: float = 6.0, height: float = 3.6, layout: Literal["constrained"] | None = "constrained"
) -> Figure:
    """Return an empty figure, its size in inches, outside pyplot: no global state, no display."""
    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def save(drawn: Picture, folder: Path, name: str) -> list[Path]:
    """Write folder/name.png and folder/name.pdf, or name.gif for an animation; return the files.

    Each file is complete or absent.
    """
    if isinstance(drawn, Animation):
        folder.mkdir(parents=True, exist_ok=True)
        path, part = folder / f"{name}.gif", folder / f".{name}.part.gif"
        try:
            drawn.save(part, writer="pillow")  # the writer takes no open file
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        return [path]
    paths = [folder / f"{name}.png", folder / f"{name}.pdf"]
    with mpl.rc_context(STYLE):
        for path in paths:
            with atomic(path) as file:
                drawn.savefig(file, format=path.suffix[1:])
    return paths
