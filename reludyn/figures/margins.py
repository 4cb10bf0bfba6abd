"""Figures 4 and 5 of the paper: the functions of the angle behind Lemmas 8 and 13."""

from __future__ import annotations

import math

from matplotlib.figure import Figure

from reludyn.figures.style import BLACK, BLUE, new_figure, styled
from reludyn.runs.load import Run

LABELS = {
    "lemma_8": "$\\min_a\\ \\|\\nabla_{w_1}L\\|^2 + \\|\\nabla_{w_2}L\\|^2 - 0.05\\,L$",
    "lemma_13": "$\\frac{1}{4}-\\frac{1}{20} - "
    "\\frac{(\\pi(\\frac{1}{2}+\\frac{2}{20})-\\theta)\\cos\\theta+\\sin\\theta}{2\\pi}$",
}


@styled
def plot_margins(run: Run, lemma: str = "lemma_8") -> Figure:
    r"""Draw figure 4 or 5 of the paper: the function of the angle behind Lemma 8 or 13.

    Shaded where the lemma applies, theta >= pi/2.

    Args:
        run: run with `theory.margins=true`.
        lemma: `lemma_8` or `lemma_13`.

    Returns:
        Figure from margins.npz, against the angle in radians.

    Raises:
        FileNotFoundError: where the run left no margins.npz.

    Examples:
        >>> import reludyn
        >>> run = reludyn.load_run("outputs/run")
        >>> reludyn.figures.plot_margins(run, lemma="lemma_13").axes[0].get_xlabel()
        '$\\theta(w_1, w_2)$'
    """
    data = run.npz("margins.npz")
    figure = new_figure(4.6, 3.2)
    axes = figure.add_subplot()
    axes.axvspan(math.pi / 2, math.pi, color=BLACK, alpha=0.07, lw=0)
    axes.axhline(0, color=BLACK, lw=0.8)
    axes.plot(data["theta"], data[lemma], color=BLUE)
    axes.set(xlabel="$\\theta(w_1, w_2)$", xlim=(0, math.pi))
    axes.set_title(LABELS[lemma])
    axes.set_xticks([0, math.pi / 2, math.pi], ["0", "$\\pi/2$", "$\\pi$"])
    return figure
