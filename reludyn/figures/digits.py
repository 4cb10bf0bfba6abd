"""Digits as a student sees them: reconstructions, and where they depart from Gaussian inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reludyn.figures.style import BLACK, BLUE, GREEN, ORANGE, new_figure, styled
from reludyn.runs.load import Run
from reludyn.runs.table import Array


@styled
def plot_digits(run: Run) -> Figure:
    """Draw a student's reconstructions of digits, its loss, and how well its neurons pair.

    Above: input, target and output of the first images. Below: the loss, and that of the same
    weights for Gaussian inputs of the same covariance; how well neurons pair, |w_i + w_j|^2 +
    |v_i + v_j|^2 of each pair in units of |w_i|^2 + |w_j|^2 + |v_i|^2 + |v_j|^2.

    Args:
        run: run with `data=digits`.

    Returns:
        Figure from reconstructions.npz and trajectory.npz.

    Raises:
        FileNotFoundError: for a run on other data.

    Examples:
        >>> import reludyn
        >>> figure = reludyn.figures.plot_digits(reludyn.load_run("outputs/digits"))
        >>> figure.axes[0].get_ylabel()
        'input'
    """
    images, data = run.npz("reconstructions.npz"), run.arrays
    figure = new_figure(7.4, 5.4)
    parts: Any = figure.subfigures(2, 1, height_ratios=(1.1, 1))
    above, below = parts
    rows = {name: images[name] for name in ("inputs", "targets", "outputs")}
    for i, (name, row) in enumerate(rows.items()):
        for j, image in enumerate(row):
            axes = above.add_subplot(3, len(row), 1 + i * len(row) + j)
            side = round(len(image) ** 0.5)
            axes.imshow(image.reshape(side, side), cmap="gray_r")
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            if j == 0:
                axes.set_ylabel(name[:-1])
    left, right = below.subplots(1, 2)
    left.set_yscale("log")
    left.plot(data["step"], data["loss"][:, 0], color=BLACK, label="digits")
    left.plot(
        data["step"],
        data["loss_population"][:, 0],
        color=ORANGE,
        ls="--",
        label="Gaussian inputs, same covariance",
    )
    left.set(xlabel="iteration", ylabel="$L$")
    left.legend()
    _residuals(right, data)
    return figure


def _residuals(axes: Axes, data: Mapping[str, Array]) -> None:
    w, v = data["W"][-1, 0], data["V"][-1, 0].T
    if "partner" not in data:
        axes.annotate("no pairs: too wide", (0.5, 0.5), xycoords="axes fraction", ha="center")
        return
    partner = data["partner"][0]
    paired = np.flatnonzero(partner >= 0)
    other = partner[paired]
    sums = np.square(w[paired] + w[other]).sum(1) + np.square(v[paired] + v[other]).sum(1)
    size = np.square(w).sum(1) + np.square(v).sum(1)
    axes.hist(sums / (size[paired] + size[other]), bins=40, range=(0, 2), color=BLUE)
    axes.axvline(1, color=GREEN, lw=1, ls=":")
    axes.set(xlabel="pair residual (0: opposite, 1: orthogonal)", ylabel="neurons", xlim=(0, 2))
