"""The phase portrait of one output: what each ray has learned, and the flow of a pair.

One neuron on each ray, both with V = |v_i| and w_i = P along its ray, in units of sqrt|a|, have
learned 2 odd V P of a, and gradient flow moves them by dV/dt = odd P (1 - 2 odd V P) |a|, dP/dt =
odd V (1 - 2 odd V P) |a|, with odd = (1 + s)/2, 1/2 for ReLU. V^2 - P^2 is conserved, V P =
1/(2 odd) is the end.
"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from reludyn.figures.style import BLACK, GREY, SIGNS, new_figure, styled
from reludyn.figures.timeline import NothingToDraw, has_diverged, of_replica
from reludyn.runs.load import Run
from reludyn.runs.table import Array

GRID = 41
FAR = 3  # a diverging path is drawn up to here, in units of its first point and of the minimum


@styled
def plot_portrait(run: Run, replica: int = 0) -> Figure:
    """Draw what each ray has learned, for one output, above the flow of one neuron on each ray.

    V = sqrt(sum v_i^2) and P = sum |v_i| p_i / V over the neurons with v_i > 0 (red) and over those
    with v_i < 0 (blue), p_i the part of w_i along its own ray, in units of sqrt|a|. The flow (grey)
    ends where V P = 1; a ray of several neurons follows it once they are proportional. A path that
    diverges leaves the picture.

    Args:
        run: run with one output and recorded weights.
        replica: index of the replica.

    Returns:
        Figure with one panel.

    Raises:
        NothingToDraw: for several outputs, and where the weights of the replica were not kept.

    Examples:
        >>> import reludyn
        >>> figure = reludyn.figures.plot_portrait(reludyn.load_run("outputs/run"))
        >>> figure.axes[0].get_xlabel()
        '$V$, output weights'
    """
    A = run.arrays["A"]
    if len(A) > 1:
        raise NothingToDraw(f"a phase portrait needs one output; {run!r} has {len(A)}")
    paths = {sign: _path(run, replica, sign) for sign in (1, -1)}
    seen = np.concatenate([*paths.values()])
    seen = seen[np.isfinite(seen).all(1)]
    if has_diverged(run, replica):
        begin = np.concatenate([path[:1] for path in paths.values()])
        far = FAR * max(1.0, float(np.nanmax(np.abs(begin), initial=0)))
        seen = seen[(np.abs(seen) <= far).all(1)]
    right = 1.15 * max(1.5, float(seen[:, 0].max(initial=0)))
    top = 1.15 * max(1.5, float(seen[:, 1].max(initial=0)))
    bottom = min(-0.2, 1.15 * float(seen[:, 1].min(initial=0)))
    figure = new_figure(4.8, 4.4)
    axes = figure.add_subplot(xlim=(0, right), ylim=(bottom, top))
    V, P = np.linspace(0, right, GRID), np.linspace(bottom, top, GRID)
    odd = (1 + float(run.config["model"]["negative_slope"])) / 2
    dV, dP = pair_flow(*np.meshgrid(V, P), odd)
    axes.streamplot(V, P, dV, dP, color="#bbbbbb", linewidth=0.7, arrowsize=0.8, density=1.1)
    product = 1 / (2 * odd)
    end = np.linspace(product / top, right, 200)
    axes.plot(end, product / end, color=BLACK, lw=1, ls="--", label=f"$V P = {product:.3g}$")
    for sign, look in SIGNS.items():
        path, color = paths[sign], look["color"]
        if np.isfinite(path).any():
            label = f"$v_i {'>' if sign > 0 else '<'} 0$"
            axes.plot(*path.T, color=color, label=label, ls=look["ls"])
            axes.plot(*path[:1].T, color=color, marker="x")
            axes.plot(
                *path[-1:].T,
                color=color,
                marker="o",
                mfc="none" if sign < 0 else color,
                ms=8 if sign < 0 else 5,
            )
    axes.plot([], [], color=GREY, lw=0.7, label="flow of a pair")
    leaves = " (diverged: leaves the picture)" if has_diverged(run, replica) else ""
    axes.set(xlabel=f"$V$, output weights{leaves}", ylabel="$P$, hidden weights along the ray")
    figure.legend(loc="outside upper center", ncols=4)
    return figure


def pair_flow(V: Array, P: Array, odd: float) -> tuple[Array, Array]:
    """Return dV/dt and dP/dt for |a| = 1, for arrays of any shape."""
    missing = odd * (1 - 2 * odd * V * P)
    return missing * P, missing * V


def _path(run: Run, replica: int, sign: int) -> Array:
    """Return V and P of the neurons whose v_i has this sign, (T, 2), NaN while there is none."""
    W, v = of_replica(run, "W", replica), of_replica(run, "V", replica)[:, 0]
    a = run.arrays["A"][0]
    size = float(np.linalg.norm(a))
    part = sign * (W @ a) / size
    on = sign * v > 0
    V = np.sqrt((v**2 * on).sum(1))
    learned = (np.abs(v) * part * on).sum(1)
    path: Array = np.stack([V, learned / np.where(V > 0, V, np.nan)], 1) / np.sqrt(size)
    path[V == 0] = np.nan
    return path
