"""Figure 3 of the paper: loss, |w_1|, v_1 and the angle between the neurons through the phases."""

from __future__ import annotations

import math
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from reludyn.figures.files import Array, arrays, table
from reludyn.figures.style import BLACK, BLUE, GREEN, RED, SKY, STYLE, new_figure, save


def draw_phases(run: Path) -> list[Path]:
    """Draw replica 0 of a run folder from trajectory.npz and replicas.csv; returns the files.

    L, |w_1| and |v_1| on the logarithmic left axis, the angle between w_1 and w_2 (the angle of w_1
    to its target where k = 1 or k > 16) on the right one, against iterations; shaded where the
    phases were measured. Thin dashed: what theory predicts from the initial weights.
    """
    data, replica = arrays(run / "trajectory.npz"), table(run / "replicas.csv")[0]
    step = data["step"]
    with mpl.rc_context(STYLE):
        figure = new_figure()
        left = figure.add_subplot()
        left.set_yscale("log")
        left.plot(step, _positive(data["loss"][:, 0]), color=BLACK, label="$L$")
        left.plot(step, _positive(data["w_norm"][:, 0, 0]), color=BLUE, label="$\\|w_1\\|$")
        left.plot(step, _positive(data["v_norm"][:, 0, 0]), color=RED, ls="--", label="$|v_1|$")
        left.set(
            xlabel=_x_label(replica), ylabel="$L$, $\\|w_1\\|$, $|v_1|$", xlim=(0, max(1, step[-1]))
        )
        _draw_theory(left, data)
        left.xaxis.set_major_locator(MaxNLocator(integer=True))
        right = left.twinx()
        right.spines["right"].set_visible(True)
        right.grid(False)
        angle, label = _angle(data)
        right.plot(step, angle, color=GREEN, ls="-.", label=label)
        right.set(ylim=(0, math.pi * 1.02), yticks=[0, math.pi / 2, math.pi])
        right.set_yticklabels(["0", "$\\pi/2$", "$\\pi$"])
        right.set_ylabel(f"{label} (radians)")

        _mark_phases(left, replica, step[-1])
        handles = [*left.get_lines(), *right.get_lines()]
        shown = [line for line in handles if not str(line.get_label()).startswith("_")]
        figure.legend(handles=shown, loc="outside upper center", ncols=len(shown))
    return save(figure, run / "figures", "phases")


def _draw_theory(axes: Axes, data: dict[str, Array]) -> None:
    """The predictions for L, |w_1| and |v_1|, thin and pale above the measured curves."""
    for name, label in (("loss", "theory"), ("w_norm", "_"), ("v_norm", "_")):
        curve = data.get(f"predicted_{name}")
        if curve is not None:
            shown = _positive(curve.reshape(*curve.shape[:2], -1)[:, 0, 0])
            axes.plot(data["step"], shown, color=SKY, lw=0.8, ls=(0, (3, 2)), label=label)


def _angle(data: dict[str, Array]) -> tuple[Array, str]:
    between = data.get("angle_between")
    if between is not None and between.shape[1] and between.shape[2] > 1:
        return between[:, 0, 0, 1], "$\\theta(w_1, w_2)$"
    return data["angle_to_target"][:, 0, 0], "$\\theta(w_1, v_1 a)$"


def _mark_phases(axes: Axes, replica: dict[str, str], last: int) -> None:
    """Shade each measured phase and name it where it is wide enough."""
    from reludyn.phases import PHASES  # imports torch

    ends = [int(replica[name]) if replica[name] else last for name in ("T_align", "T_growth")]
    edges = [0, *ends, last]
    for shade, (name, begin, end) in enumerate(zip(PHASES, edges, edges[1:], strict=False)):
        if end <= begin:
            continue
        axes.axvspan(begin, end, color=BLACK, alpha=(0.02, 0.07, 0.12)[shade], lw=0)
        if end - begin > 0.12 * last:
            middle, above_axis = (begin + end) / 2, axes.get_xaxis_transform()
            axes.text(
                middle, 1.01, name, transform=above_axis, ha="center", va="bottom", color="#555555"
            )
    for name in ("T_align", "T_growth"):
        if replica[name]:
            axes.axvline(int(replica[name]), color="#555555", lw=0.8, ls=":")


def _x_label(replica: dict[str, str]) -> str:
    """A run that did not reach a minimum says so."""
    outcome = replica["outcome"].replace("_", " ")
    return "iteration" if outcome == "global minimum" else f"iteration ({outcome})"


def _positive(values: Array) -> Array:
    """What a logarithmic axis can show; a diverging run is cut off far above everything else."""
    shown: Array = np.where((values > 0) & (values < 1e30), values, np.nan)
    return shown
