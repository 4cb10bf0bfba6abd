"""Figure 3 of the paper: loss, |w_1|, v_1 and the angle between the neurons through the phases."""

from __future__ import annotations

import math

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reludyn.figures.style import BLACK, BLUE, GREEN, RED, SKY, new_figure, styled
from reludyn.figures.timeline import iterations, mark_phases, of_replica, positive
from reludyn.runs import Array, Run


@styled
def plot_phases(run: Run, replica: int = 0) -> Figure:
    """L, |w_1| and |v_1| of a replica on the logarithmic left axis, the angle between w_1 and w_2
    (the angle of w_1 to its target where k = 1 or k > 16) on the right one, against iterations;
    shaded where the phases were measured. Thin dashed: what theory predicts from the initial
    weights."""
    step = run.step
    figure = new_figure()
    left = figure.add_subplot()
    left.set_yscale("log")
    for name, color, line, label in (
        ("loss", BLACK, "-", "$L$"),
        ("w_norm", BLUE, "-", "$\\|w_1\\|$"),
        ("v_norm", RED, "--", "$|v_1|$"),
    ):
        left.plot(step, positive(_first(run, name, replica)), color=color, ls=line, label=label)
    iterations(left, run, replica)
    left.set_ylabel("$L$, $\\|w_1\\|$, $|v_1|$")
    _draw_theory(left, run, replica)
    right = left.twinx()
    right.spines["right"].set_visible(True)
    right.grid(False)
    angle, label = _angle(run, replica)
    right.plot(step, angle, color=GREEN, ls="-.", label=label)
    right.set(ylim=(0, math.pi * 1.02), yticks=[0, math.pi / 2, math.pi])
    right.set_yticklabels(["0", "$\\pi/2$", "$\\pi$"])
    right.set_ylabel(f"{label} (radians)")

    mark_phases(left, run, replica)
    handles = [*left.get_lines(), *right.get_lines()]
    shown = [line for line in handles if not str(line.get_label()).startswith("_")]
    figure.legend(handles=shown, loc="outside upper center", ncols=len(shown))
    return figure


def _draw_theory(axes: Axes, run: Run, replica: int) -> None:
    """The predictions for L, |w_1| and |v_1|, thin and pale above the measured curves."""
    for name, label in (("loss", "theory"), ("w_norm", "_"), ("v_norm", "_")):
        curves = run.arrays.get(f"predicted_{name}")
        if curves is not None and replica < curves.shape[1]:
            shown = positive(_first(run, f"predicted_{name}", replica))
            axes.plot(run.step, shown, color=SKY, lw=0.8, ls=(0, (3, 2)), label=label)


def _first(run: Run, name: str, replica: int) -> Array:
    """A curve (T,), of the first neuron where each has its own."""
    x = of_replica(run, name, replica)
    return x.reshape(len(x), -1)[:, 0]


def _angle(run: Run, replica: int) -> tuple[Array, str]:
    if "angle_between" in run.arrays:
        between = of_replica(run, "angle_between", replica)
        if between.shape[-1] > 1:
            return between[:, 0, 1], "$\\theta(w_1, w_2)$"
    return of_replica(run, "angle_to_target", replica)[:, 0], "$\\theta(w_1, v_1 a)$"
