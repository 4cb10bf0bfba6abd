"""The two parts of the loss: the error of the linear network, and that of the rectification."""

from __future__ import annotations

from matplotlib.figure import Figure

from reludyn.figures.style import BLACK, BLUE, ORANGE, RED, new_figure, styled
from reludyn.figures.timeline import iterations, mark_phases, of_replica, positive
from reludyn.runs.load import Run

CURVES = {
    "loss": ("$L$", BLACK, "-"),
    "loss_linear": ("linear network", BLUE, "-"),
    "loss_rectification": ("rectification", RED, "--"),
    "loss_population": ("$L$, population", ORANGE, ":"),
}


@styled
def plot_loss(run: Run, replica: int = 0) -> Figure:
    """Draw the loss and its two parts against iterations, logarithmically.

    The parts are the error of the linear network and that of the rectification; the loss of the
    population is added where training had samples. Shaded where the phases were measured.

    Args:
        run: finished or unfinished run.
        replica: index of the replica.

    Returns:
        Figure with one panel.

    Raises:
        NothingToDraw: where the replica was not recorded.

    Examples:
        >>> import reludyn
        >>> figure = reludyn.figures.plot_loss(reludyn.load_run("outputs/run"), replica=1)
        >>> figure.axes[0].get_yscale()
        'log'
    """
    figure = new_figure()
    axes = figure.add_subplot(yscale="log")
    for name, (label, color, line) in CURVES.items():
        if name in run.arrays:
            shown = positive(of_replica(run, name, replica))
            axes.plot(run.step, shown, color=color, ls=line, label=label)
    iterations(axes, run, replica)
    axes.set_ylabel("loss")
    mark_phases(axes, run, replica)
    figure.legend(loc="outside upper center", ncols=len(CURVES))
    return figure
