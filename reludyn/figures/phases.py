"""Figure 3 of the paper: loss, |w_1|, v_1 and the angle between the neurons through the phases."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reludyn.figures.style import BLACK, BLUE, GREEN, RED, SKY, new_figure, styled
from reludyn.figures.timeline import iterations, made, mark_phases, of_replica, positive
from reludyn.runs.load import Run
from reludyn.runs.table import Array


class Labels(NamedTuple):
    """Names of the lengths and of the angle that are shown."""

    w: str
    v: str
    angle: str


@styled
def plot_phases(run: Run, replica: int = 0) -> Figure:
    r"""Draw figure 3 of the paper: loss, norms and angle of a replica through the phases.

    L, |w_1| and |v_1| are on the logarithmic left axis, the angle between w_1 and w_2 (that of w_1
    to its target where k = 1) on the right one, against iterations; shaded where the phases were
    measured. With more than two neurons it shows what decides when phases end: the smallest |w_i|
    and |v_i|, and the largest angle theta_i of a neuron to its target. With one output these are
    w_g, v_g and theta_g of the effective neurons of the sign groups, where the weights of the
    replica were kept. Thin and dashed: what theory predicts from the initial weights.

    Args:
        run: finished or unfinished run.
        replica: index of the replica.

    Returns:
        Figure with a left and a right axis; the angle is in radians.

    Raises:
        NothingToDraw: where the replica was not recorded.

    Examples:
        >>> import reludyn
        >>> figure = reludyn.figures.plot_phases(reludyn.load_run("outputs/run"))
        >>> figure.axes[1].get_ylabel()
        '$\\theta(w_1, w_2)$ (radians)'
    """
    run, grouped = _by_groups(run, replica)
    step = run.step[made(run, replica)]
    labels = _labels(run, "g" if grouped else "i")
    figure = new_figure()
    left = figure.add_subplot()
    left.set_yscale("log")
    for name, color, line, label in (
        ("loss", BLACK, "-", "$L$"),
        ("w_norm", BLUE, "-", labels.w),
        ("v_norm", RED, "--", labels.v),
    ):
        left.plot(step, _curve(run, name, replica), color=color, ls=line, label=label)
    iterations(left, run, replica)
    left.set_ylabel(f"$L$, {labels.w}, {labels.v}")
    _draw_theory(left, run, replica)
    right = left.twinx()
    right.spines["right"].set_visible(True)
    right.grid(False)
    right.plot(step, _angle(run, replica), color=GREEN, ls="-.", label=labels.angle)
    right.set(ylim=(0, math.pi * 1.02), yticks=[0, math.pi / 2, math.pi])
    right.set_yticklabels(["0", "$\\pi/2$", "$\\pi$"])
    right.set_ylabel(f"{labels.angle} (radians)")

    mark_phases(left, run, replica)
    handles = [*left.get_lines(), *right.get_lines()]
    shown = [line for line in handles if not str(line.get_label()).startswith("_")]
    figure.legend(handles=shown, loc="outside upper center", ncols=len(shown))
    return figure


def _by_groups(run: Run, replica: int) -> tuple[Run, bool]:
    """Return the run with the effective neurons of the sign groups in place of its neurons.

    It has them, and no predictions, where sign groups decide and the weights of the replica were
    kept.
    """
    from reludyn.dynamics.order_parameters import in_groups  # imports torch
    from reludyn.dynamics.phases import groups_path

    kept = run.arrays["W"].shape[1] if "W" in run.arrays else 0
    shape = len(run.arrays["A"]), run.arrays["w_norm"].shape[2]
    if replica >= kept or not in_groups(*shape):
        return run, False
    W, V = run.W[:, replica], run.V[:, replica]
    deciding = groups_path(W, V, run.arrays["A"])
    predicted = ("predicted_w_norm", "predicted_v_norm")
    arrays = {name: x for name, x in run.arrays.items() if name not in predicted}
    names = ("w_norm", "v_norm", "angle_to_target")
    for name, x in zip(names, deciding, strict=True):
        arrays[name] = np.broadcast_to(x[:, None, None], (len(x), replica + 1, 1))
    return replace(run, arrays=arrays), True


def _draw_theory(axes: Axes, run: Run, replica: int) -> None:
    """Draw the predictions for L, |w_1| and |v_1|, thin and pale above the measured curves."""
    step = run.step[made(run, replica)]
    for name, label in (("loss", "theory"), ("w_norm", "_"), ("v_norm", "_")):
        curves = run.arrays.get(f"predicted_{name}")
        if curves is not None and replica < curves.shape[1]:
            shown = _curve(run, f"predicted_{name}", replica)
            axes.plot(step, shown, color=SKY, lw=0.8, ls=(0, (3, 2)), label=label)


def _labels(run: Run, index: str) -> Labels:
    k = run.arrays["w_norm"].shape[2]
    if index == "g" or k > 2:
        least = f"$\\min_{index} \\|"
        return Labels(
            f"{least}w_{index}\\|$", f"{least}v_{index}\\|$", f"$\\max_{index} \\theta_{index}$"
        )
    one = len(run.arrays["A"]) == 1
    target = "v_1 a" if one else "A^T v_1"
    return Labels(
        "$\\|w_1\\|$",
        "$|v_1|$" if one else "$\\|v_1\\|$",
        "$\\theta(w_1, w_2)$" if k == 2 else f"$\\theta(w_1, {target})$",
    )


def _curve(run: Run, name: str, replica: int) -> Array:
    """Return a curve (T,): of neurons, the first of two, or the smallest of more."""
    x = positive(of_replica(run, name, replica)[made(run, replica)])
    if x.ndim == 1:
        return x
    curve: Array = x[:, 0] if x.shape[1] <= 2 else np.min(x, axis=1)
    return curve


def _angle(run: Run, replica: int) -> Array:
    looks = made(run, replica)
    if run.arrays["w_norm"].shape[2] == 2:
        return of_replica(run, "angle_between", replica)[looks, 0, 1]
    largest: Array = of_replica(run, "angle_to_target", replica)[looks].max(1)
    return largest
