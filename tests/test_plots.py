"""Figures of runs in memory: their numbers, and that what is written on them can be read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from sweeps import FOUND, STUCK, finished

import reludyn as package
from reludyn import figures
from reludyn.figures.portrait import pair_flow
from reludyn.figures.timeline import NothingToDraw
from reludyn.runs import Run

Plot = Callable[[Run], Figure]


@pytest.fixture(scope="module")
def pair() -> Run:
    """Two neurons, to a loss of 1e-10, with spectrum."""
    return package.train("trainer.tolerance=1e-10", "theory.spectrum=true", "trainer.looks=60")


@pytest.fixture(scope="module")
def many() -> Run:
    return package.train(
        "replicas=40", "model.width=4", "experiment=default", "trainer.looks=60",
        "trainer.tolerance=1e-4", "data.dim=6",
    )  # fmt: skip


def line(figure: Figure, label: str, axes: int = 0) -> np.ndarray:
    """The points (n, 2) of the curve with this label."""
    (found,) = (x for x in figure.axes[axes].get_lines() if x.get_label() == label)
    return np.asarray(found.get_xydata())


# --- Numbers ----------------------------------------------------------------------------------


def test_the_parts_of_the_loss_add_up(pair: Run) -> None:
    figure = figures.plot_loss(pair)
    total, linear, rectification = (
        line(figure, label) for label in ("$L$", "linear network", "rectification")
    )
    np.testing.assert_array_equal(total[:, 0], pair.step)
    np.testing.assert_allclose(linear[:, 1] + rectification[:, 1], total[:, 1], rtol=1e-9)


def test_directions_are_those_of_the_weights(pair: Run) -> None:
    """The angle to a itself, whatever the sign of v_i; the longest weight at the rim."""
    figure = figures.plot_polar(pair)
    paths = [x.get_xydata() for x in figure.axes[0].get_lines() if len(x.get_xydata()) > 1]
    W, a = pair.W[:, 0], pair.arrays["A"][0]
    for i, path in enumerate(np.asarray(paths)):
        cosine = W[:, i] @ a / np.linalg.norm(W[:, i], axis=1) / np.linalg.norm(a)
        np.testing.assert_allclose(np.cos(path[:, 0]), cosine, atol=1e-12)
        length = np.log10(np.linalg.norm(W[:, i], axis=1))
        np.testing.assert_allclose(np.diff(path[:, 1]) * np.ptp(length),
                                   np.diff(length) * np.ptp(path[:, 1]), atol=1e-12)  # fmt: skip
    assert max(path[:, 1].max() for path in np.asarray(paths)) == pytest.approx(1)


@pytest.mark.parametrize("slope", [0.0, 0.3])
def test_the_flow_is_the_gradient_of_the_risk(slope: float) -> None:
    """Of one neuron on each ray, both as long; also where they point away from their rays."""
    V, P = np.meshgrid(np.linspace(0.1, 2, 4), [-1.0, -1e-3, 0.3, 1.7])
    v, p = (torch.from_numpy(x.reshape(-1, 1, 1)) for x in (V, P))
    A = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    student = package.ReLUStudent(p * torch.cat([A, -A]), v * torch.tensor([[1.0, -1.0]]).double())
    risk = package.PopulationRisk(A, package.LeakyReLU(slope))
    gradient = risk.evaluate(student).gradient
    dV, dP = pair_flow(V, P, (1 + slope) / 2)
    np.testing.assert_allclose(-gradient.V[:, 0, 0].numpy().reshape(V.shape), dV, atol=1e-14)
    np.testing.assert_allclose(-gradient.W[:, 0, 0].numpy().reshape(P.shape), dP, atol=1e-14)


def test_a_ray_arrives_where_the_flow_ends(pair: Run) -> None:
    figure = figures.plot_portrait(pair)
    for label in ("$v_i > 0$", "$v_i < 0$"):
        V, P = line(figure, label)[-1]
        assert pytest.approx(1, abs=1e-4) == V * P
    V, P = line(figure, "$V P = 1$").T
    np.testing.assert_allclose(V * P, 1)


@pytest.mark.quick(1)
def test_a_ray_of_several_neurons_is_their_sum(many: Run) -> None:
    """V P = sum |v_i| <w_i, a> over the neurons of a sign: 1 at a minimum."""
    reached = int(np.flatnonzero(many.replicas["outcome"][:4] == "global_minimum")[0])
    figure = figures.plot_portrait(many, replica=reached)
    W, v, a = many.W[:, reached], many.V[:, reached, 0], many.arrays["A"][0]
    V, P = line(figure, "$v_i > 0$").T
    np.testing.assert_allclose(V * P, ((v > 0) * v * (W @ a)).sum(1), atol=1e-14)


def test_a_portrait_is_of_one_output() -> None:
    run = package.train("data.outputs=2", "trainer.steps=2", "experiment=default")
    with pytest.raises(NothingToDraw, match="is of one output"):
        figures.plot_portrait(run)


def test_the_edge_of_stability_is_drawn(pair: Run) -> None:
    figure = figures.plot_spectrum(pair)
    assert set(line(figure, "$2/\\mu$")[:, 1]) == {20.0}
    np.testing.assert_array_equal(line(figure, "sharpness")[:, 1], pair.sharpness[:, 0])


def test_a_fan_shows_quantiles_over_replicas(many: Run) -> None:
    figure = figures.plot_fan(many)
    np.testing.assert_allclose(line(figure, "$L$")[:, 1], np.median(many.loss, 1))
    smallest = many.w_norm.min(2)
    np.testing.assert_allclose(line(figure, "$\\min_i \\|w_i\\|$", 1)[:, 1], np.median(smallest, 1))
    edges = [band.get_paths()[0].vertices[:, 1] for band in figure.axes[1].collections]
    low, high = np.quantile(smallest, [0.05, 0.95], axis=1)
    assert edges[0].min() == pytest.approx(low.min())
    assert edges[0].max() == pytest.approx(high.max())


def test_a_fan_says_what_was_not_kept(many: Run) -> None:
    neurons = {name: many.arrays[name][:, :7] for name in ("w_norm", "v_norm", "angle_to_target")}
    thinned = replace(many, arrays={**many.arrays, **neurons})
    assert (
        figures.plot_fan(thinned).axes[0].get_title().endswith("(norms and angles: of the first 7)")
    )


def test_a_fan_needs_many(pair: Run) -> None:
    with pytest.raises(NothingToDraw, match="has one"):
        figures.plot_fan(pair)


def test_another_replica_is_drawn_on_request(many: Run) -> None:
    np.testing.assert_array_equal(line(figures.plot_loss(many, 3), "$L$")[:, 1], many.loss[:, 3])
    with pytest.raises(NothingToDraw, match=r"replica=4: W is kept of the first 4.*keep_weights"):
        figures.plot_neurons(many, 4)
    with pytest.raises(NothingToDraw, match="replica=40: loss is kept of the first 40 replicas"):
        figures.plot_loss(many, 40)


def test_a_replica_is_shown_until_it_stopped(many: Run) -> None:
    times = many.replicas["T_converged"]
    first = int(np.nanargmin(times))
    assert figures.plot_loss(many, first).axes[0].get_xlim() == (0, times[first])


def test_an_animation_moves_the_neurons(pair: Run, tmp_path: Path) -> None:
    """From the first look to the last, at an even pace; the arrows end at the weights."""
    moving = figures.animate(pair, frames=5)
    looks = list(moving.new_frame_seq())
    assert (looks[0], pair.step[looks[-1]]) == (0, pair.step[-1])
    gaps = np.diff(pair.step[looks])
    assert gaps.max() < 1.5 * pair.step[-1] / 4
    moving.save(tmp_path / "run.gif", writer="pillow")
    with Image.open(tmp_path / "run.gif") as image:
        assert (image.n_frames, image.size) == (len(looks), (720, 360))
    along = moving._fig.axes[0].get_lines()[-1].get_xdata()[-1]
    assert along == pytest.approx(pair.W[-1, 0, 1] @ pair.arrays["A"][0], abs=1e-9)


def test_scales_of_which_none_reaches_a_minimum() -> None:
    run = package.train("replicas=4", "trainer.steps=3", "experiment=scale")
    figure = figures.plot_scale(run)
    assert line(figure, "neither stuck nor converged")[:, 1].tolist() == [1] * 4
    assert not figure.axes[1].get_lines()


def test_another_quantity_of_a_sweep(tmp_path: Path) -> None:
    jobs = [({"model.width": str(k)}, [FOUND | {"loss": 2.0**-k}, STUCK]) for k in (2, 3)]
    finished(tmp_path, jobs)
    sweep = package.load_sweep(tmp_path)
    curve = figures.plot_sweep(sweep, quantity="loss").axes[1].get_lines()[0].get_ydata()
    np.testing.assert_allclose(curve, [(2.0**-k + 0.25) / 2 for k in (2, 3)])
    alone = figures.plot_sweep(sweep, quantity="T_align")
    assert [axes.get_title() for axes in alone.axes] == [
        "success (95% interval); no replica has T_align"
    ]


# --- What is written --------------------------------------------------------------------------

PLOTS: dict[str, Plot] = {
    name: getattr(figures, f"plot_{name}")
    for name in ("phases", "neurons", "loss", "polar", "portrait", "spectrum")
}


def assert_readable(figure: Figure, monkeypatch: pytest.MonkeyPatch) -> None:
    """All text lies within the page, none above another."""
    boxes = []

    def draw(text: Text, _: object) -> None:
        if text.get_visible() and text.get_text().strip():
            boxes.append((text.get_text(), text.get_window_extent()))

    figure.draw_without_rendering()  # places the axes
    monkeypatch.setattr(Text, "draw", draw)
    figure.draw_without_rendering()
    assert len(boxes) > 4
    for name, box in boxes:
        assert figure.bbox.x0 - 1 <= box.x0 < box.x1 <= figure.bbox.x1 + 1, name
        assert figure.bbox.y0 - 1 <= box.y0 < box.y1 <= figure.bbox.y1 + 1, name
    assert [(a, b) for (a, x), (b, y) in combinations(boxes, 2) if x.overlaps(y)] == []


@pytest.mark.parametrize("name", PLOTS)
def test_what_is_written_can_be_read(pair: Run, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_readable(PLOTS[name](pair), monkeypatch)


def test_what_is_written_on_a_fan_can_be_read(many: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_readable(figures.plot_fan(many), monkeypatch)
