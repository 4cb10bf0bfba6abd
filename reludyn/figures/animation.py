"""Figure 2 of the paper as it happens: neurons in the plane of a, and the loss."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
from matplotlib.animation import FuncAnimation
from matplotlib.artist import Artist

from reludyn.figures.neurons import frame, plane_of
from reludyn.figures.style import BLACK, BLUE, RED, STYLE, new_figure
from reludyn.figures.timeline import end_of, iterations, mark_phases, of_replica, positive
from reludyn.runs import Run

FRAMES, INTERVAL = 60, 80  # milliseconds between frames
ROOM = {"left": 0.09, "right": 0.98, "bottom": 0.14, "top": 0.9, "wspace": 0.27}


def animate(run: Run, replica: int = 0, frames: int = FRAMES) -> FuncAnimation:
    """The neurons of a replica in the plane of a and of a random direction orthogonal to it, each
    as an arrow with its path, red where v_i > 0, blue where v_i < 0; beside them the loss. The
    frames follow the recorded looks at an even pace of iterations. `.save("run.gif",
    writer="pillow")` needs nothing else; `.save("run.mp4")` needs ffmpeg."""
    W, v = of_replica(run, "W", replica), of_replica(run, "V", replica)[:, 0]
    a, loss = run.arrays["A"][0], positive(of_replica(run, "loss", replica))
    paths = W @ plane_of(a).T  # (T, k, 2)
    size = float(np.linalg.norm(a))
    end = end_of(run, replica)
    wanted = np.linspace(0, end, max(2, min(frames, len(run.step))))
    looks = np.searchsorted(run.step, wanted).clip(max=len(run.step) - 1)
    with mpl.rc_context(STYLE):
        figure = new_figure(
            7.2, 3.6, layout=None
        )  # placed once: a layout takes longer than a frame
        left, right = figure.subplots(1, 2, gridspec_kw=ROOM)
        frame(left, paths, size)
        left.set(xlabel="along $a$", ylabel="across $a$")
        for sign in (1, -1):
            tip = sign * size
            left.plot(tip, 0, color=BLACK, marker="*", ms=9, ls="none")
            left.annotate("$a$" if sign > 0 else "$-a$", (tip, 0), (0, -13),
                          textcoords="offset points", ha="center")  # fmt: skip
        trails = [left.plot([], [], lw=1, alpha=0.6)[0] for _ in range(W.shape[1])]
        arrows = [left.plot([], [], lw=2, marker="o", markevery=[-1], ms=4)[0] for _ in trails]
        right.set_yscale("log")
        right.plot(run.step, loss, color=BLACK)
        (point,) = right.plot([], [], color=RED, marker="o", ls="none")
        iterations(right, run, replica)
        right.set_ylabel("$L$")
        right.minorticks_off()
        mark_phases(right, run, replica)
        title = left.set_title("iteration 0")

    def show(look: int) -> list[Artist]:
        for i, (trail, arrow) in enumerate(zip(trails, arrows, strict=True)):
            color = RED if v[look, i] > 0 else BLUE
            trail.set_data(*paths[: look + 1, i].T)
            arrow.set_data(*np.stack([np.zeros(2), paths[look, i]]).T)
            trail.set_color(color)
            arrow.set_color(color)
        point.set_data([run.step[look]], [loss[look]])
        title.set_text(f"iteration {int(run.step[look]):,}")
        return [*trails, *arrows, point, title]

    return FuncAnimation(figure, show, frames=looks.tolist(), interval=INTERVAL, blit=False)
