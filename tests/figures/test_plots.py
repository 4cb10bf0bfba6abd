"""Figures of runs in memory: their numbers."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

import reludyn as package
from reludyn import figures
from reludyn.figures.portrait import pair_flow
from reludyn.figures.timeline import NothingToDraw
from reludyn.runs.load import Run
from tests.oracles import reference
from tests.support.sweeps import FOUND, STUCK, finished


@pytest.fixture(scope="module")
def pair() -> Run:
    """Two neurons, to a loss of 1e-10, with spectrum."""
    return package.train("trainer.tolerance=1e-10", "theory.spectrum=true", "trainer.looks=60")


@pytest.fixture(scope="module")
def many() -> Run:
    return package.train(
        "replicas=40",
        "model.width=4",
        "experiment=default",
        "trainer.looks=60",
        "trainer.tolerance=1e-4",
        "data.dim=6",
    )


def line(figure: Figure, label: str, axes: int = 0) -> np.ndarray:
    """The points (n, 2) of the curve with this label."""
    (found,) = (x for x in figure.axes[axes].get_lines() if x.get_label() == label)
    return np.asarray(found.get_xydata())


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
        np.testing.assert_allclose(
            np.diff(path[:, 1]) * np.ptp(length), np.diff(length) * np.ptp(path[:, 1]), atol=1e-12
        )
    assert max(path[:, 1].max() for path in np.asarray(paths)) == pytest.approx(1)
    axes = figure.axes[0]
    for circle, label in zip(axes.get_yticks(), axes.get_yticklabels(), strict=True):
        power = float(label.get_text().removeprefix("$10^{").removesuffix("}$"))
        assert circle == pytest.approx(np.interp(power, length, path[:, 1]), abs=0.01)


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
    with pytest.raises(NothingToDraw, match="needs one output"):
        figures.plot_portrait(run)


def test_the_edge_of_stability_is_drawn(pair: Run) -> None:
    figure = figures.plot_spectrum(pair)
    assert set(line(figure, "$2/\\mu$")[:, 1]) == {20.0}
    np.testing.assert_array_equal(line(figure, "sharpness")[:, 1], pair.sharpness[:, 0])


def test_a_fan_shows_quantiles_over_replicas(many: Run) -> None:
    figure = figures.plot_fan(many)
    until = 2 * np.nanquantile(many.replicas["T_converged"], 0.9)
    shown = slice(int(np.searchsorted(many.step, until)) + 1)
    np.testing.assert_allclose(line(figure, "$L$")[:, 1], np.median(many.loss[shown], 1))
    smallest = many.w_norm[shown].min(2)
    np.testing.assert_allclose(line(figure, "$\\min_i \\|w_i\\|$", 1)[:, 1], np.median(smallest, 1))
    edges = [band.get_paths()[0].vertices[:, 1] for band in figure.axes[1].collections]
    low, high = np.quantile(smallest, [0.05, 0.95], axis=1)
    assert edges[0].min() == pytest.approx(low.min())
    assert edges[0].max() == pytest.approx(high.max())


def test_a_fan_says_what_was_not_kept(many: Run) -> None:
    neurons = {name: many.arrays[name][:, :7] for name in ("w_norm", "v_norm", "angle_to_target")}
    thinned = replace(many, arrays={**many.arrays, **neurons})
    title = figures.plot_fan(thinned).axes[0].get_title()
    first, second = title.splitlines()
    assert first.endswith("(norms and angles: of the first 7)")
    counts = [int(np.isfinite(many.replicas[name]).sum()) for name in ("T_align", "T_growth")]
    assert second == f"dotted: median T_align of {counts[0]}, T_growth of {counts[1]}"


def test_a_fan_needs_many(pair: Run) -> None:
    with pytest.raises(NothingToDraw, match="has one"):
        figures.plot_fan(pair)


def test_another_replica_is_drawn_on_request(many: Run) -> None:
    np.testing.assert_array_equal(line(figures.plot_loss(many, 3), "$L$")[:, 1], many.loss[:, 3])
    with pytest.raises(NothingToDraw, match=r"replica=4: W is kept of the first 4.*keep_weights"):
        figures.plot_neurons(many, 4)
    with pytest.raises(NothingToDraw, match="replica=40: loss is kept of the first 40 replicas"):
        figures.plot_loss(many, 40)


@pytest.mark.parametrize("stopped", ["converged", "diverged"])
def test_nothing_is_drawn_after_a_replica_stopped(many: Run, stopped: str) -> None:
    """Theory goes on as long as the batch, and an axis fits all that is drawn."""
    j = int(np.nanargmin(many.replicas["T_converged"][:4]))
    last = many.replicas["T_converged"][j]
    if stopped == "diverged":
        last = 20
        loss = many.loss.copy()
        loss[many.step > last, j] = loss[many.step == last, j]
        outcomes = {"outcome": ["diverged"] * 40, "T_converged": [""] * 40}
        many = replace(
            many,
            arrays={**many.arrays, "loss": loss},
            replicas=package.Table({**many.replicas.cells, **outcomes}),
        )
    assert last < many.step[-2]
    figure = figures.plot_phases(many, j)
    until = many.step[np.searchsorted(many.step, last)]
    curves = [x for x in figure.axes[0].get_lines() if len(x.get_xdata()) > 2]
    assert len(curves) == 4
    assert {float(np.max(x.get_xdata())) for x in curves} == {until}
    assert figure.axes[0].get_xlim() == (0, last)


def test_phases_end_where_the_slower_group_says(many: Run) -> None:
    """The largest angle of a sign group falls below pi/20 at T_align, the smallest |v_g| reaches
    1/4 at T_growth or has done so before."""
    for j in np.flatnonzero(many.replicas["outcome"][:4] == "global_minimum"):
        figure = figures.plot_phases(many, j)
        angle = line(figure, "$\\max_g \\theta_g$", 1)
        v = line(figure, "$\\min_g \\|v_g\\|$")
        a = many.arrays["A"]
        for shown, W, V in zip(angle, many.W[:, j], many.V[:, j], strict=False):
            groups = reference.sign_groups(W, V)
            assert shown[1] == pytest.approx(reference.angle_to_target(*groups, a).max(), abs=1e-9)
        align, growth = many.replicas["T_align"][j], many.replicas["T_growth"][j]
        assert (angle[angle[:, 0] < align, 1] > math.pi / 20).all()
        assert angle[angle[:, 0] >= align][0, 1] <= math.pi / 20
        assert (v[(align <= v[:, 0]) & (v[:, 0] < growth), 1] < 0.25).all()
        assert v[v[:, 0] >= growth][0, 1] >= 0.25


def test_a_phase_that_never_ended_is_not_shaded(many: Run) -> None:
    cells = {**many.replicas.cells, "T_growth": [""] * 40}
    names = []
    for run in (many, replace(many, replicas=package.Table(cells))):
        axes = figures.plot_phases(run).axes[0]
        names.append([text.get_text() for text in axes.texts])
    assert names == [["alignment", "growth", "refinement"], ["alignment"]]


def test_two_neurons_are_shown_as_in_the_paper(pair: Run) -> None:
    figure = figures.plot_phases(pair)
    between = line(figure, "$\\theta(w_1, w_2)$", 1)[:, 1]
    w, u = pair.W[:, 0, 0], pair.W[:, 0, 1]
    cosine = (w * u).sum(1) / np.linalg.norm(w, axis=1) / np.linalg.norm(u, axis=1)
    np.testing.assert_allclose(np.cos(between), cosine, atol=1e-12)


def test_pairs_are_of_several_outputs(pair: Run) -> None:
    with pytest.raises(NothingToDraw, match="need several outputs"):
        figures.plot_pairs(pair)


def test_the_plane_says_how_much_larger_it_draws_what_is_across(pair: Run) -> None:
    """Measured on the page: a unit up over a unit along."""
    figure = figures.plot_neurons(pair)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    zero, along, up = axes.transData.transform([(0, 0), (1, 0), (0, 1)])
    ratio = (up - zero)[1] / (along - zero)[0]
    said = axes.get_ylabel().split("drawn ")[1].split(" times")[0].replace(",", "")
    assert float(said) == pytest.approx(ratio, rel=0.05)


def test_a_plane_with_one_scale_does_not_say_so() -> None:
    run = package.train(
        "experiment=default", "data.dim=2", "init.scale=1", "trainer.steps=3", "data.outputs=2"
    )
    figure = figures.plot_neurons(run, sums=True)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    zero, along, up = axes.transData.transform([(0, 0), (1, 0), (0, 1)])
    assert (up - zero)[1] == pytest.approx((along - zero)[0])
    assert "times as large" not in axes.get_ylabel()
    assert axes.get_xlabel() == "along $a_1$ (the first of 2 outputs)"
    names = {text.get_text() for text in figure.legends[0].get_texts()}
    assert names == {
        "$V_{1i} > 0$",
        "$V_{1i} < 0$",
        "$\\sum_{V_{1i}>0} |V_{1i}| w_i$",
        "$\\sum_{V_{1i}<0} |V_{1i}| w_i$",
        "start",
    }


@pytest.mark.parametrize("slope", [0.0, 0.3, 1.0])
def test_the_valley_and_the_minimum_are_those_of_the_risk(slope: float, tmp_path: Path) -> None:
    """The loss is what the picture says there, and its gradient vanishes."""
    x = np.linspace(-2, 2, 21)
    zero, one = np.zeros((2, 3)), np.array([[1.0, 0, 0], [0, 0, 0]])
    np.savez(
        tmp_path / "plane.npz",
        x=x,
        y=x,
        loss=np.add.outer(x**2, x**2),
        origin_W=zero,
        origin_V=np.array([[1.0, -1.0]]),
        one_W=one,
    )
    run = Run({}, package.Table({}), {}, {"model": {"negative_slope": slope}}, tmp_path)
    figure = figures.plot_surface(run)
    risk = package.PopulationRisk(torch.eye(1, 3).double(), package.LeakyReLU(slope))
    points = [np.stack(found.get_data_3d(), 1) for found in figure.axes[0].get_lines()]
    assert [len(x) for x in points] == [50, 50, 1]
    place = torch.from_numpy(np.concatenate(points))
    W = torch.zeros(len(place), 2, 3).double()
    W[..., 0] = place[:, :2]
    V = torch.tensor([[[1.0, -1.0]]]).double().expand(len(place), 1, 2)
    student = package.ReLUStudent(W, V)
    torch.testing.assert_close(risk.loss(student).total, place[:, 2], atol=1e-15, rtol=1e-12)
    inside = (place[:, :2].abs() > 1e-9).all(1)  # it jumps where a neuron is zero
    assert risk.evaluate(student).gradient.W[inside].abs().max() < 1e-14
    said = [text.get_text() for text in figure.legends[0].get_texts()]
    kind = "minima" if slope == 1 else "saddles"
    assert said == [f"valley of {kind}, $L = {place[0, 2]:.3g}\\,|a|^2$", "minimum, $L = 0$"]


def test_eigenvalues_say_how_often_they_occur(pair: Run) -> None:
    """Of 202 weights: 97 directions across a and all weights, for each of two neurons."""
    figure = figures.plot_spectrum(pair)
    opacity = {x.get_label(): x.get_alpha() for x in figure.axes[0].get_lines()}
    assert opacity["eigenvalue, simple"] == 0.25
    most = int(np.nanmax(pair.multiplicity))
    assert opacity[f"eigenvalue, {most} times"] == pytest.approx(0.25 * (1 + math.log10(most)))


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
    rods = moving._fig.axes[0].get_lines()[-4:-2]  # two of these, two crosses
    for i, rod in enumerate(rods):
        (_, angle), (centre, _) = rod.get_data()
        w, a = pair.W[-1, 0, i], pair.arrays["A"][0]
        assert np.cos(angle) == pytest.approx(w @ a / np.linalg.norm(w), abs=1e-9)
        assert centre == 0


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
