"""The eigenvalues of the Hessian along a run, and the edge of stability 2/mu."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from reludyn.figures.style import BLACK, BLUE, RED, new_figure, styled
from reludyn.figures.timeline import iterations, mark_phases, of_replica
from reludyn.runs.load import Run


@styled
def plot_spectrum(run: Run, replica: int = 0) -> Figure:
    """Draw the eigenvalues of the Hessian of the population risk against iterations, and 2/mu.

    They are all eigenvalues, or the smallest and the largest of a large Hessian, darker the more
    often they occur (the legend has the rarest and the most frequent). Above 2/mu descent is
    unstable.

    Args:
        run: run with `theory.spectrum=true`.
        replica: index of the replica.

    Returns:
        Figure with one panel.

    Raises:
        NothingToDraw: where the spectrum was not recorded.

    Examples:
        >>> import reludyn
        >>> figure = reludyn.figures.plot_spectrum(reludyn.load_run("outputs/run"))
        >>> figure.axes[0].get_ylabel()
        'eigenvalue of the Hessian'
    """
    figure = new_figure(6.0, 4.0)
    axes = figure.add_subplot()
    sharpness = of_replica(run, "sharpness", replica)
    if "eigenvalues" in run.arrays:
        values = of_replica(run, "eigenvalues", replica)
        many = of_replica(run, "multiplicity", replica)
        most = np.nanmax(many, axis=0, initial=1).astype(int)
        for i, times in enumerate(most):
            axes.plot(run.step, values[:, i], color=BLUE, lw=1, alpha=_opaque(times))
        for times in sorted({int(most.min()), int(most.max())}):
            label = "simple" if times == 1 else f"{times} times"
            axes.plot([], [], color=BLUE, lw=1, alpha=_opaque(times), label=f"eigenvalue, {label}")
    else:
        smallest = of_replica(run, "smallest_eigenvalue", replica)
        axes.plot(run.step, smallest, color=BLUE, lw=1, label="smallest")
    axes.plot(run.step, sharpness, color=BLACK, lw=1.2, label="sharpness")
    edge = 2 / float(run.config["optimizer"]["lr"])
    axes.axhline(edge, color=RED, lw=1, ls="--", label="$2/\\mu$")
    largest = float(np.nanmax(np.append(sharpness, edge)))
    axes.set_yscale("symlog", linthresh=largest * 1e-3)
    iterations(axes, run, replica)
    axes.set_ylabel("eigenvalue of the Hessian")
    mark_phases(axes, run, replica)
    figure.legend(loc="outside upper center", ncols=4)
    return figure


def _opaque(times: int) -> float:
    """Return the opacity of an eigenvalue that occurs this often."""
    return float(np.clip(0.25 + 0.25 * np.log10(times), 0, 1))
