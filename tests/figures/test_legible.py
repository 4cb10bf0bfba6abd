"""What is written on figures can be read, and curves can be told apart without colours."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text

import reludyn as package
from reludyn import figures
from reludyn.figures import OF_A_REPLICA
from reludyn.figures.style import SIGNS
from reludyn.figures.timeline import NothingToDraw
from reludyn.runs.load import Run

RUNS = {
    "two neurons": ["trainer.tolerance=1e-10", "theory.spectrum=true"],
    "six": ["model.width=6", "init.scale=1e-2", "trainer.steps=300"],
    "twenty": ["model.width=20", "init.scale=1e-2", "trainer.steps=60", "optimizer=momentum"],
    "three outputs": ["data.outputs=3", "model.width=6", "trainer.steps=400"],
    "leaky": ["model.negative_slope=0.3"],
    "diverges": ["optimizer.lr=10"],
    "diverges at once": ["optimizer.lr=5", "init.scale=0.5"],
    "three steps": ["trainer.steps=3"],
    "one": ["model.width=1", "trainer.steps=300"],
}


def assert_legible(figure: Figure, monkeypatch: pytest.MonkeyPatch) -> None:
    """All text lies within the page, none above another; no marker covers a name, no legend what
    is drawn."""
    boxes = []

    def draw(text: Text, _: object) -> None:
        if text.get_visible() and text.get_text().strip():
            boxes.append((text, Text.get_window_extent(text)))  # not the line to its point

    with monkeypatch.context() as patch:
        patch.setattr(Text, "draw", draw)
        figure.draw_without_rendering()
    assert len(boxes) > 4
    for text, box in boxes:
        name = text.get_text()
        assert figure.bbox.x0 - 1 <= box.x0 < box.x1 <= figure.bbox.x1 + 1, name
        assert figure.bbox.y0 - 1 <= box.y0 < box.y1 <= figure.bbox.y1 + 1, name
        if isinstance(text, Annotation) and text.axes is not None:
            x, y = markers(figure).T
            inside = (box.x0 < x) & (x < box.x1) & (box.y0 < y) & (y < box.y1)
            assert not inside.any(), name
    above = [(a, b) for (a, x), (b, y) in combinations(boxes, 2) if x.overlaps(y)]
    assert [(a.get_text(), b.get_text()) for a, b in above] == []
    legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes)]
    for legend in filter(None, legends):
        box = legend.get_window_extent().padded(-1)
        assert not any(axes.patch.get_window_extent().overlaps(box) for axes in figure.axes)


def markers(figure: Figure) -> np.ndarray:
    """The places of all markers, in pixels, (n, 2)."""
    points = [np.zeros((0, 2))]
    for axes in figure.axes:
        for line in axes.get_lines():
            if line.get_marker() not in ("None", None):
                xy = axes.transData.transform(line.get_xydata())
                every = line.get_markevery()
                points.append(xy if every is None else xy[every])
    return np.concatenate(points)


@pytest.mark.quick(3)
@pytest.mark.filterwarnings("ignore:Animation was deleted")
@pytest.mark.parametrize("name", RUNS)
def test_every_picture_of_a_run_can_be_read(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is drawn once, and all is looked at."""
    run = package.train("experiment=default", "trainer.looks=60", *RUNS[name])
    for picture, plot in ({**OF_A_REPLICA, "spectrum": figures.plot_spectrum}).items():
        try:
            drawn = plot(run, 0)
        except NothingToDraw:
            continue
        if not isinstance(drawn, Figure):
            drawn._draw_frame(len(run.step) - 1)
            drawn = drawn._fig
        assert_legible(drawn, monkeypatch)
        if picture == "neurons":
            assert_neurons_have_names_or_are_counted(drawn, run.W.shape[2])
        if picture == "neurons" or (picture == "polar" and len(run.arrays["A"]) == 1):
            assert_signs_are_told_apart(drawn)


def assert_neurons_have_names_or_are_counted(figure: Figure, k: int) -> None:
    names = {x.get_text() for x in figure.axes[0].texts} & {f"$w_{{{i}}}$" for i in range(1, 21)}
    said = " ".join(x.get_text() for x in figure.legends[0].get_texts())
    counted = sum(int(word[1:]) for word in said.split() if word.startswith("("))
    assert (len(names), counted) == ((k, 0) if k <= 8 else (0, k))


def assert_signs_are_told_apart(figure: Figure) -> None:
    """Without colours: by line and by marker, wherever both are drawn and in the legend."""
    looks: dict[str, set[tuple[object, ...]]] = {}
    for x in (*figure.axes[0].get_lines(), *figure.legends[0].get_lines()):
        if x.get_color() in (SIGNS[1]["color"], SIGNS[-1]["color"]):
            ends = x.get_marker() == "o" and x.get_markerfacecolor()
            if len(x.get_xdata()) > 1 or ends:
                looks.setdefault(x.get_color(), set()).add((x.get_linestyle(), bool(ends)))
    plus, minus = (looks.get(SIGNS[sign]["color"], set()) for sign in (1, -1))
    assert not plus & minus
    assert "-" in {line for line, _ in plus}
    assert SIGNS[1]["mfc"] != SIGNS[-1]["mfc"]


def test_a_path_that_diverges_is_seen_before_it_leaves() -> None:
    """At least its first three looks, in the portrait and in the plane of a."""
    run = package.train("experiment=default", *RUNS["diverges at once"])
    assert run.replicas["outcome"][0] == "diverged"
    for figure in (figures.plot_portrait(run), figures.plot_neurons(run)):
        (axes,) = figure.axes
        assert "(diverged: leaves the picture)" in axes.get_xlabel()
        (low, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
        for line in axes.get_lines():
            if len(line.get_xdata()) == len(run.step):
                x, y = np.asarray(line.get_xydata())[:3].T
                assert ((low <= x) & (x <= right) & (bottom <= y) & (y <= top)).all()


@pytest.mark.slow
def test_a_fan_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    run = package.train("experiment=default", "replicas=10", "data.dim=6", "trainer.looks=60")
    assert_legible(figures.plot_fan(run), monkeypatch)


@pytest.mark.parametrize("to", ["0.35", "6", "1e-6"])
def test_a_scale_can_be_read(to: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the scales span less than a decade, and many."""
    run = package.train(
        "experiment=scale",
        "replicas=60",
        "data.dim=6",
        "trainer.steps=400",
        "init.scale=0.3",
        f"init.scale_to={to}",
    )
    assert_legible(figures.plot_scale(run), monkeypatch)


@pytest.mark.parametrize("count", [1, 2, 7, 500])
def test_numbers_of_starts_are_whole(count: int, tmp_path: Path) -> None:
    rows = ["kind,loss", *["global_minimum,0.0"] * count, "strict_saddle,0.5"]
    (tmp_path / "stationary_points.csv").write_text("\n".join(rows) + "\n")
    figure = figures.plot_stationary(Run({}, package.Table({}), {}, {}, tmp_path))
    figure.draw_without_rendering()
    ticks = figure.axes[0].get_xticks()
    assert (ticks == np.round(ticks)).all()
