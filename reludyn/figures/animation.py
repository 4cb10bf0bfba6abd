"""The neurons as they turn and grow, and the loss."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.animation import FuncAnimation
from matplotlib.artist import Artist

from reludyn.figures.polar import disc_of, draw_disc, handles_of
from reludyn.figures.style import BLACK, RED, STYLE, new_figure
from reludyn.figures.timeline import end_of, iterations, mark_phases, of_replica, positive
from reludyn.runs.load import Run

FRAMES, INTERVAL = 60, 80  # milliseconds between frames


def animate(run: Run, replica: int = 0, frames: int = FRAMES) -> FuncAnimation:
    """Animate the neurons of a replica beside its loss.

    Neurons are rods with their paths, at their true angle to a (to A^T v_i for several outputs) and
    with the length of plot_polar, which is logarithmic while weights are small; red and full where
    v_i > 0, blue, dashed and hollow where v_i < 0. The frames follow the recorded looks at an even
    pace of iterations. `.save("run.gif", writer="pillow")` needs nothing else; `.save("run.mp4")`
    needs ffmpeg.

    Args:
        run: run with recorded weights.
        replica: index of the replica.
        frames: number of frames, at most.

    Returns:
        Animation, not yet drawn.

    Raises:
        NothingToDraw: where the weights of the replica were not kept.

    Examples:
        >>> import reludyn
        >>> run = reludyn.load_run("outputs/run")
        >>> animation = reludyn.figures.animate(run, frames=2)
        >>> animation.save("run.gif", writer="pillow")
    """
    disc = disc_of(run, replica)
    loss = positive(of_replica(run, "loss", replica))
    end = end_of(run, replica)
    wanted = np.linspace(0, end, max(2, min(frames, len(run.step))))
    looks = np.searchsorted(run.step, wanted).clip(max=len(run.step) - 1)
    with mpl.rc_context(STYLE):
        # laid out once: a layout takes longer than a frame
        figure = new_figure(7.2, 3.6, layout=None)
        left: Any = figure.add_axes((0.03, 0.1, 0.47, 0.85), projection="polar")
        right = figure.add_axes((0.6, 0.14, 0.37, 0.76))
        draw_disc(left, disc)
        figure.legend(
            handles=handles_of(disc),
            loc="lower center",
            bbox_to_anchor=(0.265, 0.02),
            ncols=4,
            columnspacing=1.2,
        )
        trails = [left.plot([], [], lw=1, alpha=0.6)[0] for _ in range(disc.angle.shape[1])]
        rods = [
            left.plot([], [], lw=2, marker="o", markevery=[-1], ms=5, clip_on=False)[0]
            for _ in trails
        ]
        for place in zip(disc.angle[0], disc.radius[0], disc.looks[0], strict=True):
            left.plot(*place[:2], color=place[2]["color"], marker="x", ms=5)
        right.set_yscale("log")
        right.plot(run.step, loss, color=BLACK)
        (point,) = right.plot([], [], color=RED, marker="o", ls="none")
        iterations(right, run, replica)
        right.set_ylabel("$L$")
        right.minorticks_off()
        mark_phases(right, run, replica)
        title = figure.text(0.265, 0.9, "iteration 0", ha="center")

    def show(look: int) -> list[Artist]:
        for i, (trail, rod) in enumerate(zip(trails, rods, strict=True)):
            trail.set_data(disc.angle[: look + 1, i], disc.radius[: look + 1, i])
            rod.set_data([disc.angle[look, i]] * 2, [0, disc.radius[look, i]])
            appearance = disc.looks[look][i]
            for artist in (trail, rod):
                artist.set(color=appearance["color"], ls=appearance["ls"], mfc=appearance["mfc"])
        point.set_data([run.step[look]], [loss[look]])
        title.set_text(f"iteration {int(run.step[look]):,}")
        return [*trails, *rods, point, title]

    return FuncAnimation(figure, show, frames=looks.tolist(), interval=INTERVAL, blit=False)
