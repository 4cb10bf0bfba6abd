"""The picture of a sweep over one or two keys: who succeeds, and how long it takes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from reludyn.figures.style import BLUE, GREEN, new_figure, styled
from reludyn.figures.timeline import NothingToDraw
from reludyn.numerics.statistics import as_numbers
from reludyn.runs.load import Sweep
from reludyn.runs.table import Array, Table

DECADES = 30  # the factor from which an axis or a colour is logarithmic
NONE = "#d9d9d9"  # the colour where no replica has the quantity
LETTERS = 22  # the length to which a tick's label is shortened
LETTER, LINE = 0.075, 0.17  # inches of a letter and of a line of text
WIDTH = 5.2  # inches of an axis of lines
CELL = 0.6  # inches of a cell that has room for a number
SUCCESS = "success", "success_low", "success_high"
LEVELS = "median", "p10", "p90"


@styled
def plot_sweep(sweep: Sweep, quantity: str = "T_converged") -> Figure:
    """Draw the fraction of successes and the median of a quantity over one or two swept keys.

    Over one key they are lines, with the 95% Wilson interval and the 10% and 90% quantiles over
    replicas; over two keys they are colours. A quantity that no combination has is not drawn.

    Args:
        sweep: sweep over one or two keys, apart from the seed.
        quantity: T_align, T_growth, T_converged (in iterations), loss or rate_measured.

    Returns:
        Figure with one panel per quantity.

    Raises:
        NothingToDraw: for another number of keys.

    Examples:
        >>> import reludyn
        >>> sweep = reludyn.load_sweep("outputs/sweep")
        >>> figure = reludyn.figures.plot_sweep(sweep, quantity="loss")
        >>> figure.axes[-1].get_xlabel()
        'model.width'
    """
    groups, keys = sweep.summary, sweep.keys
    if len(keys) not in (1, 2):
        raise NothingToDraw(f"{sweep!r}: the picture shows one or two keys, not {len(keys)}")
    scales = [_scale(groups, key) for key in keys]
    draw: Any = _lines if len(keys) == 1 else _cells
    figure: Figure = draw(groups, quantity, *scales)
    return figure


@dataclass(frozen=True)
class Scale:
    """Values of a key along an axis: numbers in order of size, words in order of appearance."""

    key: str
    labels: list[str]
    values: list[float] | None  # None for words

    def places(self, groups: Table) -> list[int]:
        """Return where each group is along the axis."""
        return [self.labels.index(str(cell)) for cell in groups.cells[self.key]]

    def upright(self, inches: float) -> bool:
        """Return whether labels are too long to stand side by side on an axis of this length."""
        return self.letters * len(self.labels) * LETTER > inches

    @property
    def letters(self) -> int:
        """Length of the longest label, with a space."""
        return max(len(_shortened(label)) for label in self.labels) + 1


def _scale(groups: Table, key: str) -> Scale:
    labels = list(dict.fromkeys(map(str, groups.cells[key])))
    values = as_numbers(labels)
    if values is None:
        return Scale(key, labels, None)
    order = np.argsort(values, kind="stable")
    return Scale(key, [labels[i] for i in order], [values[i] for i in order])


def _lines(groups: Table, quantity: str, scale: Scale) -> Figure:
    """Draw the panels one above the other, with the same axis below."""
    order = np.argsort(scale.places(groups))
    x = np.arange(len(order)) if scale.values is None else np.array(scale.values)
    names = tuple(f"{quantity}_{level}" for level in LEVELS)
    panels: list[tuple[tuple[str, ...], str, str]] = [(SUCCESS, GREEN, "success (95% interval)")]
    if np.isfinite(groups[names[0]]).any():
        panels.append((names, BLUE, f"{quantity}, median (10% to 90%){_defined(groups, quantity)}"))
    else:
        panels = [(SUCCESS, GREEN, f"success (95% interval); {_absent(quantity)}")]
    words = scale.values is None
    below = LETTER * scale.letters if words and scale.upright(WIDTH) else 0
    figure = new_figure(WIDTH + 1, 0.8 + 2.0 * len(panels) + below)
    stack = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (names, color, title) in zip(stack, panels, strict=True):
        y, low, high = (groups[name][order] for name in names)
        axes.vlines(x, low, high, color=color, alpha=0.4, lw=1.2)
        if not words:
            axes.fill_between(x, low, high, color=color, alpha=0.15, lw=0)
        axes.plot(x, y, color=color, marker="o", ms=4, ls="none" if words else "-")
        axes.set_title(title)
        if names is not SUCCESS and _spans_decades(np.concatenate([low, high])):
            axes.set_yscale("log")
    stack[0].set_ylim(-0.03, 1.03)
    if scale.values is None:
        _ticks(stack[-1], "x", scale, WIDTH)
        stack[-1].set_xlim(-0.5, len(order) - 0.5)
    elif _spans_decades(x):
        stack[-1].set_xscale("log")
    elif all(value.is_integer() for value in scale.values):
        stack[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    stack[-1].set_xlabel(scale.key, parse_math=False)
    return figure


def _cells(groups: Table, quantity: str, across: Scale, up: Scale) -> Figure:
    """Draw the panels side by side, with the first key across."""
    places = up.places(groups), across.places(groups)
    timed = f"{quantity}, median{_defined(groups, quantity)}"
    panels = []
    for name, title in ((SUCCESS[0], "success"), (f"{quantity}_median", timed)):
        values = np.full((len(up.labels), len(across.labels)), np.nan)
        values[places] = groups[name]
        if np.isfinite(values).any():
            panels.append((title, values))
    with_numbers = len(across.labels) <= 8 and len(up.labels) <= 12
    width = max(2.4, CELL * len(across.labels)) if with_numbers else 3.6
    height = max(2.0, 0.3 * len(up.labels)) if with_numbers else 3.4
    left = LETTER * up.letters
    below = LETTER * across.letters if across.upright(width) else 0.1
    figure = new_figure(left + 0.4 + (width + 0.9) * len(panels), height + 0.9 + below)
    row = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (title, values) in zip(row, panels, strict=True):
        _heat_map(axes, values, title, with_numbers)
        _ticks(axes, "x", across, width)
        axes.set_xlabel(across.key, parse_math=False)
    _ticks(row[0], "y", up, height)
    row[0].set_ylabel(up.key, parse_math=False)
    if len(panels) == 1:
        row[0].set_title(f"success ({_absent(quantity)})")
    if not with_numbers and any(np.isnan(values).any() for _, values in panels):
        figure.legend(handles=[Patch(facecolor=NONE, label="none")], loc="outside upper right")
    return figure


def _heat_map(axes: Axes, values: Array, title: str, with_numbers: bool) -> None:
    """Draw values (up, across); grey where there is none."""
    finite = values[np.isfinite(values)]
    norm = Normalize(0, 1)
    if title != "success":
        kind = LogNorm if _spans_decades(finite) else Normalize
        norm = kind(finite.min(), finite.max())
    axes.set_facecolor(NONE)
    axes.grid(False)
    axes.set_title(title)
    image = axes.imshow(values, norm=norm, cmap="viridis", origin="lower", aspect="auto")
    axes.figure.colorbar(image, ax=axes)
    if with_numbers:
        for (i, j), value in np.ndenumerate(values):
            bright = np.isnan(value) or norm(value) > 0.6
            axes.text(
                j,
                i,
                _number(value),
                color="black" if bright else "white",
                ha="center",
                va="center",
                fontsize=8,
            )


def _defined(groups: Table, quantity: str) -> str:
    """Return a line that counts the replicas behind each median.

    It is empty where an earlier version did not count them.
    """
    if f"{quantity}_defined" not in groups.cells:
        return ""
    counts = groups[f"{quantity}_defined"]
    least, most = int(counts.min()), int(counts.max())
    return f"\nof {least:,} to {most:,} replicas" if least < most else f"\nof {most:,} replicas"


def _absent(quantity: str) -> str:
    return "no replica converged" if quantity == "T_converged" else f"no replica has {quantity}"


def _ticks(axes: Axes, side: str, scale: Scale, inches: float) -> None:
    """Label as many of the places 0, 1, ... as are readable side by side."""
    labels = [_shortened(label) for label in scale.labels]
    upright = side == "x" and scale.upright(inches)
    room = inches / (LINE if upright or side == "y" else LETTER * scale.letters)
    shown = range(0, len(labels), math.ceil(len(labels) / max(1, int(room))))
    axis = axes.xaxis if side == "x" else axes.yaxis
    axis.set_ticks(
        shown, [labels[i] for i in shown], parse_math=False, rotation=90 if upright else 0
    )


def _shortened(label: str) -> str:
    """Return a label without its middle where it is long."""
    if len(label) <= LETTERS:
        return label or "''"
    half = (LETTERS - 1) // 2
    return f"{label[:half]}…{label[-half:]}"


def _number(value: float) -> str:
    """Return a number in at most seven letters."""
    if math.isnan(value):
        return "none"
    return f"{value:,.0f}" if 100 <= value < 1e6 else f"{value:.2g}"


def _spans_decades(values: Array) -> bool:
    finite = values[np.isfinite(values)]
    return bool(len(finite) and finite.min() > 0 and finite.max() > DECADES * finite.min())
