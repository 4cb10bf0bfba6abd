"""Names beside points, where they cover neither each other nor what is drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from matplotlib.text import Text
from matplotlib.transforms import Bbox, BboxBase

from reludyn.figures.style import BLACK
from reludyn.runs.table import Array

NEAR, STEP, RINGS, DIRECTIONS = 12.0, 7.0, 8, 24  # places tried around a point; in points
WITH_LINE = NEAR + 1.5 * STEP  # from this distance on a thin line leads to the point
# what a letter costs above another name or off the page, above a marker, above a curve, and what
# a place costs per ring further out
ON_TEXT, ON_MARKER, ON_CURVE, FARTHER = 1000.0, 100.0, 8.0, 2.0


class Name(NamedTuple):
    """Text that belongs to a point (x, y) in the axes' coordinates."""

    text: str
    point: Array
    color: str = BLACK
    toward: float = math.pi / 3  # the direction in which it would rather stand


def place(axes: Axes, names: Sequence[Name]) -> None:
    """Write the names of the points, each at the place around its own that costs least.

    It comes last: it needs to know where everything else is.
    """
    figure = axes.get_figure(root=True)
    if figure is None or not names:
        return
    figure.draw_without_rendering()  # places the axes
    pixels = figure.dpi / 72
    curves, markers = _drawn(axes)
    written = [*axes.texts, *axes.get_xticklabels(), *axes.get_yticklabels()]
    taken = [text.get_window_extent() for text in written if text.get_text()]
    for name in names:
        line = {"arrowstyle": "-", "color": name.color, "lw": 0.6, "shrinkA": 0, "shrinkB": 4}
        label = axes.annotate(
            name.text,
            tuple(name.point),
            (0, 0),
            textcoords="offset points",
            color=name.color,
            ha="center",
            va="center",
            arrowprops=line,
            zorder=6,
            path_effects=[withStroke(linewidth=2, foreground="white")],  # where a curve crosses it
        )
        label.set_in_layout(False)  # else the axes move away from where names were placed
        size = Text.get_window_extent(label)
        centre = axes.transData.transform(name.point)
        best, cost = (NEAR, name.toward), math.inf
        for ring in range(RINGS):
            for turn in range(DIRECTIONS):
                distance = NEAR + ring * STEP
                angle = name.toward + 2 * math.pi * turn / DIRECTIONS
                box = _box(centre, size, pixels * distance, angle)
                here = FARTHER * ring + 1 - math.cos(angle - name.toward)
                here += ON_TEXT * sum(box.overlaps(other) for other in taken)
                here += ON_TEXT * (not _within(box, figure.bbox))
                here += ON_MARKER * _inside(box, markers, 4 * pixels)
                here += ON_CURVE * _inside(box, curves, pixels)
                if here < cost:
                    best, cost = (distance, angle), here
        distance, angle = best
        label.set_position((distance * math.cos(angle), distance * math.sin(angle)))
        if label.arrow_patch is not None:
            label.arrow_patch.set_visible(distance > WITH_LINE)
        taken.append(_box(centre, size, pixels * distance, angle))


def _box(centre: Array, size: Bbox, distance: float, angle: float) -> Bbox:
    """Return where a text of this size stands, in pixels, with a little air."""
    x, y = centre[0] + distance * math.cos(angle), centre[1] + distance * math.sin(angle)
    width, height = size.width / 2 + 1, size.height / 2 + 1
    return Bbox.from_extents(x - width, y - height, x + width, y + height)


def _drawn(axes: Axes) -> tuple[Array, Array]:
    """Return points along all curves and the frame, and the markers, in pixels: (n, 2) each."""
    curves, markers = [], [np.zeros((0, 2))]
    for line in axes.get_lines():
        points = axes.transData.transform(line.get_xydata())
        points = points[np.isfinite(points).all(1)]
        if line.get_marker() not in ("None", "none", None, ""):
            every = line.get_markevery()
            markers.append(points if every is None else points[every])
        if line.get_linestyle() not in ("None", "none"):
            curves.append(_along(points))
    for side in axes.spines.values():
        if side.get_visible():
            path = side.get_transform().transform_path(side.get_path())
            curves += [_along(np.asarray(part)) for part in path.to_polygons(closed_only=False)]
    return np.concatenate(curves), np.concatenate(markers)


def _along(corners: Array) -> Array:
    """Return points every few pixels along a curve through these corners, (n, 2)."""
    if len(corners) < 2:
        return np.zeros((0, 2))
    walked = np.concatenate([[0.0], np.hypot(*np.diff(corners, axis=0).T).cumsum()])
    places = np.linspace(0, walked[-1], min(2000, 2 + int(walked[-1] / 3)))
    return np.stack([np.interp(places, walked, x) for x in corners.T], 1)


def _inside(box: Bbox, points: Array, air: float) -> int:
    x, y = points.T
    across = (box.x0 - air < x) & (x < box.x1 + air)
    return int((across & (box.y0 - air < y) & (y < box.y1 + air)).sum())


def _within(box: Bbox, page: BboxBase) -> bool:
    return bool(page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1)
