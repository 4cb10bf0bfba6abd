"""Pictures of sweeps: each point is a run of many seeds."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from reludyn.figures.style import BLACK, BLUE, CYCLE, GREEN, RED, new_figure, styled
from reludyn.figures.timeline import NothingToDraw
from reludyn.network.outcomes import Event, Outcome
from reludyn.numerics.statistics import wilson
from reludyn.runs.load import Job, Sweep
from reludyn.runs.table import Array, Table

SUCCESS = 1e-6  # error of the effective weights below which A counts as recovered


@styled
def plot_stuck(sweep: Sweep) -> Figure:
    """Draw the fraction of stuck replicas against the width, with 95% Wilson intervals.

    Beside it: 2^(1-k), and the fractions that two rules predict from the signs of the same weights.

    Args:
        sweep: sweep over `model.width`.

    Returns:
        Figure with one panel.

    Examples:
        >>> import reludyn
        >>> figure = reludyn.figures.plot_stuck(reludyn.load_sweep("outputs/sweep"))
        >>> figure.axes[0].get_xlabel()
        'width $k$'
    """
    of_width = sorted(sweep.jobs, key=lambda job: int(job.config["model"]["width"]))
    k = np.array([job.config["model"]["width"] for job in of_width], dtype=float)
    figure = new_figure(5.0, 3.6)
    axes = figure.add_subplot()
    axes.plot(k, 2.0 ** (1 - k), color=BLACK, lw=1, label="$2^{1-k}$")
    for name, label, color, marker in (
        ("outcome", "stuck, measured", BLUE, "o"),
        ("basin_rule", "effective signs agree", GREEN, "x"),
        ("sign_rule", "signs of $v(0)$ agree", RED, "+"),
    ):
        fraction, low, high = fractions([stuck(job.replicas, name) for job in of_width])
        shown = fraction > 0
        if name == "outcome":
            axes.errorbar(
                k[shown],
                fraction[shown],
                [(fraction - low)[shown], (high - fraction)[shown]],
                color=color,
                marker=marker,
                ls="none",
                capsize=3,
                label=label,
            )
        else:
            axes.plot(
                k[shown], fraction[shown], color=color, marker=marker, ls="none", ms=9, label=label
            )
    axes.set(xlabel="width $k$", ylabel="fraction of seeds", yscale="log")
    axes.legend()
    return figure


@styled
def plot_samples(sweep: Sweep) -> Figure:
    """Draw the fraction of replicas that recover A against n/d, with 95% Wilson intervals.

    A counts as recovered where the error of the effective weights is below 1e-6. Each dimension
    has a curve.

    Args:
        sweep: sweep over the number of samples, and dimensions.

    Returns:
        Figure with one panel.

    Raises:
        NothingToDraw: without samples.

    Examples:
        >>> import reludyn
        >>> figure = reludyn.figures.plot_samples(reludyn.load_sweep("outputs/sweep"))
        >>> figure.axes[0].get_xlabel()
        'samples per input, $n/d$'
    """
    curves: dict[int, list[tuple[float, Job]]] = {}
    for job in sweep.jobs:
        data = job.config["data"]
        d, n = int(data["dim"]), data["samples"]
        ratio = data.get("ratio") if n is None else n / d
        if ratio is None:
            raise NothingToDraw(f"{sweep!r}: data={data['name']} has no number of samples n")
        curves.setdefault(d, []).append((float(ratio), job))
    figure = new_figure(5.0, 3.6)
    axes = figure.add_subplot()
    for color, (d, points) in zip(CYCLE, sorted(curves.items()), strict=False):
        points.sort(key=lambda point: point[0])
        fraction, low, high = fractions([recovered(job.replicas) for _, job in points])
        x = [ratio for ratio, _ in points]
        axes.plot(x, fraction, color=color, marker="o", ms=3, label=f"$d = {d}$")
        axes.fill_between(x, low, high, color=color, alpha=0.15, lw=0)
    axes.set(
        xlabel="samples per input, $n/d$",
        ylabel="fraction of seeds that recover $a$",
        ylim=(-0.03, 1.03),
    )
    axes.legend()
    return figure


@styled
def plot_burn_in(sweep: Sweep) -> Figure:
    """Draw the time t = mu T of alignment and of growth against ln(1/sigma).

    It shows the replicas that reach a minimum, with one colour per step size.

    Args:
        sweep: sweep over `optimizer.lr`, whose runs have many scales (`init.scale_to`).

    Returns:
        Figure with two panels.

    Examples:
        >>> import reludyn
        >>> figure = reludyn.figures.plot_burn_in(reludyn.load_sweep("outputs/sweep"))
        >>> [axes.get_title() for axes in figure.axes]
        ['alignment', 'growth']
    """
    of_size = sorted(sweep.jobs, key=lambda job: float(job.config["optimizer"]["lr"]))
    figure = new_figure(7.2, 3.4)
    panels = figure.subplots(1, 2)
    for color, job in zip(CYCLE, of_size, strict=False):
        mu = float(job.config["optimizer"]["lr"])
        x, align, growth = burn_in(job.replicas)
        for axes, times in zip(panels, (align, growth), strict=True):
            axes.plot(
                x, mu * times, color=color, marker=".", ms=4, ls="none", label=f"$\\mu = {mu:g}$"
            )
    for axes, label in zip(panels, ("$\\mu T_1$", "$\\mu (T_2 - T_1)$"), strict=True):
        axes.set(xlabel="$\\ln(1/\\sigma)$", ylabel=label)
        axes.set_ylim(0, None)
    panels[0].set_title("alignment")
    panels[1].set_title("growth")
    figure.legend(
        *panels[0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=len(of_size),
        markerscale=2,
    )
    return figure


def fractions(events: list[Array]) -> tuple[Array, Array, Array]:
    """Return the fraction of true entries of each array, with 95% Wilson intervals."""
    values = np.array([wilson(int(event.sum()), len(event)) for event in events])
    fraction, low, high = values.T
    return fraction, low, high


def stuck(replicas: Table, says: str = "outcome") -> Array:
    """Return which replicas are stuck, by a column of outcomes, (R,)."""
    is_stuck: Array = replicas[says] == "non_strict_saddle"
    return is_stuck


def recovered(replicas: Table) -> Array:
    """Return which replicas learned A itself, (R,)."""
    below: Array = replicas["effective_weight_error"] < SUCCESS
    return below


def burn_in(replicas: Table) -> tuple[Array, Array, Array]:
    """Return ln(1/sigma), T_align and T_growth - T_align of the replicas that reach a minimum."""
    reached = replicas["outcome"] == Outcome.GLOBAL_MINIMUM
    scale, align, growth = (
        replicas[name][reached] for name in ("init_scale", Event.ALIGNED, Event.GROWN)
    )
    return -np.log(scale), align, growth - align
