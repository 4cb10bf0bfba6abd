"""The roofline: operations per byte against operations per second, below the two ceilings."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from reludyn.figures import style
from scripts.benchmark.machine import Ceilings
from scripts.benchmark.table import Row

MARKS = {  # contender: marker, colour, size
    "autograd": ("s", style.RED, 5),
    "vmap": ("D", style.ORANGE, 5),
    "jax matmul": ("^", style.BLUE, 6),
    "jax pairs": ("v", style.SKY, 6),
    "reludyn eager": ("o", style.GREEN, 6),
    "reludyn compiled": ("*", style.BLACK, 9),
}
TITLES = {
    ("population", False): "Population risk, one run",
    ("population", True): "Population risk, the largest batch",
    ("empirical", False): "Samples, one run",
    ("empirical", True): "Samples, the largest batch",
}
BESIDE = 1.35  # cases nearer than this factor are drawn beside each other
LETTER = 0.0155  # height of a letter, over that of a panel, in names of cases


def draw_roofline(folder: Path, rows: Sequence[Row], ceilings: Ceilings) -> list[Path]:
    """Draw roofline.png and roofline.pdf: for each risk that was measured a panel for one run and
    one for the largest batch, with one column per case and one marker per contender."""
    measured = [row for row in rows if row.gflops is not None]
    panels = {(risk, many): _largest(measured, risk, many) for risk, many in TITLES}
    panels = {key: chosen for key, chosen in panels.items() if chosen}
    if not panels:
        return []
    across = min(2, len(panels))
    down = -(-len(panels) // across)
    with mpl.rc_context(style.STYLE):
        figure = style.new_figure(5.6 * across, 4.4 * down + 0.5)
        grid = figure.subplots(down, across, squeeze=False).flatten()
        for axes, (key, chosen) in zip(grid, panels.items(), strict=False):
            _draw(axes, chosen, ceilings)
            axes.set_ylim(_limits([row for row in measured if row.risk == key[0]], ceilings))
            axes.set_title(TITLES[key], loc="left", fontweight="bold")
        for axes in grid[len(panels) :]:
            axes.remove()
        seen = {row.contender for row in measured}
        handles = [
            Line2D([], [], ls="", marker=marker, color=colour, ms=size, label=name)
            for name, (marker, colour, size) in MARKS.items()
            if name in seen
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=3 * across)
        return style.save(figure, folder, "roofline")


def _largest(rows: Sequence[Row], risk: str, many: bool) -> list[Row]:
    """Return the rows of a panel: for each network those with one run, or with the most runs."""
    chosen = [row for row in rows if row.risk == risk and (row.replicas > 1) == many]
    most: dict[tuple[object, ...], int] = {}
    for row in chosen:
        most[_network(row)] = max(row.replicas, most.get(_network(row), 0))
    return [row for row in chosen if row.replicas == most[_network(row)]]


def _network(row: Row) -> tuple[object, ...]:
    return row.n, row.d, row.k, row.r, row.samples


def _draw(axes: Axes, rows: Sequence[Row], ceilings: Ceilings) -> None:
    columns = dict(_columns(rows))
    labels = {row.case: _label(row) for row in rows}
    for case, x in columns.items():
        speeds = {row.contender: row.gflops for row in rows if row.case == case and row.gflops}
        for contender, speed in speeds.items():
            marker, colour, size = MARKS[contender]
            axes.plot([x], [speed], marker, color=colour, ms=size, zorder=3)
        axes.plot([x] * len(speeds), list(speeds.values()), color="#cccccc", lw=1, zorder=1)
        axes.text(
            x,
            0.02,
            labels[case],
            transform=axes.get_xaxis_transform(),
            rotation=90,
            ha="center",
            va="bottom",
            fontsize=7,
        )
    ridge = ceilings.gflops / ceilings.gbytes
    left, right = min(*columns.values(), ridge) / 2.5, max(*columns.values(), ridge) * 2.5
    corners = sorted([left, ridge, right])
    axes.loglog(corners, [ceilings.roof(x) for x in corners], color=style.BLACK, lw=1.2)
    axes.annotate(
        f"{ceilings.gflops:.3g} GFLOP/s",
        (right, ceilings.gflops),
        (-2, 3),
        textcoords="offset points",
        ha="right",
        fontsize=7,
    )
    axes.text(
        left,
        1.3 * left * ceilings.gbytes,
        f" {ceilings.gbytes:.3g} GB/s",
        fontsize=7,
        rotation=math.degrees(math.atan(ceilings.gbytes)),
        rotation_mode="anchor",
        transform_rotates_text=True,
    )
    axes.set(xlabel="operations per byte", ylabel="useful operations, GFLOP/s")
    axes.margins(x=0.02)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def _limits(rows: Sequence[Row], ceilings: Ceilings) -> tuple[float, float]:
    """Return limits that all panels of a risk share, with room for the names of cases below."""
    top, slowest = 3 * ceilings.gflops, min(row.gflops for row in rows if row.gflops)
    room = 0.06 + LETTER * max(len(_label(row)) for row in rows)
    return slowest * (slowest / top) ** (room / (1 - room)), top


def _columns(rows: Sequence[Row]) -> Iterator[tuple[str, float]]:
    """Yield the place of each case: at its operations per byte, or right of the case before."""
    intensity = {row.case: row.flops / row.bytes for row in rows if row.flops and row.bytes}
    last = 0.0
    for case, value in sorted(intensity.items(), key=lambda item: item[1]):
        last = max(value, BESIDE * last)
        yield case, last


def _label(row: Row) -> str:
    batch = f" R={row.replicas:,}" if row.replicas > 1 else ""
    if row.n is None:
        return f"k={row.k} r={row.r}{batch}"
    own = " own" if row.samples == "own" else ""
    return f"n={row.n:,} d={row.d} k={row.k}{batch}{own}"
