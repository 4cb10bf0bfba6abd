"""Figures, drawn from the files of runs and sweeps; nothing here trains.

    run = reludyn.load_run("outputs/fig3/...")
    reludyn.figures.plot_phases(run).savefig("phases.pdf")

Each `plot_` function takes a run or a sweep and returns a matplotlib figure; `animate` returns an
animation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from reludyn.figures.animation import animate
from reludyn.figures.digits import plot_digits
from reludyn.figures.fan import plot_fan
from reludyn.figures.loss import plot_loss
from reludyn.figures.margins import plot_margins
from reludyn.figures.neurons import plot_neurons
from reludyn.figures.pairs import plot_pairs
from reludyn.figures.phases import plot_phases
from reludyn.figures.polar import plot_polar
from reludyn.figures.portrait import plot_portrait
from reludyn.figures.scale import plot_scale
from reludyn.figures.spectrum import plot_spectrum
from reludyn.figures.stability import plot_stability
from reludyn.figures.stationary import plot_stationary
from reludyn.figures.style import Picture, save
from reludyn.figures.surface import plot_surface
from reludyn.figures.sweeps import plot_burn_in, plot_samples, plot_stuck
from reludyn.figures.swept import plot_sweep
from reludyn.figures.timeline import NothingToDraw
from reludyn.runs.load import Run, Sweep, load_run, load_sweep

__all__ = [
    "animate",
    "plot_burn_in",
    "plot_digits",
    "plot_fan",
    "plot_loss",
    "plot_margins",
    "plot_neurons",
    "plot_pairs",
    "plot_phases",
    "plot_polar",
    "plot_portrait",
    "plot_samples",
    "plot_scale",
    "plot_spectrum",
    "plot_stability",
    "plot_stationary",
    "plot_stuck",
    "plot_surface",
    "plot_sweep",
]


def __dir__() -> list[str]:
    return __all__


OF_A_REPLICA: dict[str, Callable[[Run, int], Picture]] = {
    "phases": plot_phases,
    "neurons": plot_neurons,
    "sums": partial(plot_neurons, sums=True),
    "pairs": plot_pairs,
    "loss": plot_loss,
    "polar": plot_polar,
    "portrait": plot_portrait,
    "animation": animate,
}
OF_A_SWEEP: dict[str, Callable[[Sweep], Figure]] = {
    "stuck": plot_stuck,
    "samples": plot_samples,
    "burn_in": plot_burn_in,
}
ALL = "all"
CHOICES = (*OF_A_REPLICA, ALL, *OF_A_SWEEP, "none")
OF_AN_ENSEMBLE: dict[str, Callable[[Run], Figure]] = {"fan": plot_fan}
OF_WHAT_WAS_ASKED: dict[str, Callable[[Run], Figure]] = {
    "spectrum": plot_spectrum,
    "scale": plot_scale,
    "surface": plot_surface,
    "lemma_8": partial(plot_margins, lemma="lemma_8"),
    "lemma_13": partial(plot_margins, lemma="lemma_13"),
    "stationary": plot_stationary,
    "digits": plot_digits,
    "stability": plot_stability,
}


Failed = Callable[[str, Exception], object]  # takes a picture's name and the reason it failed


def raising(_: str, error: Exception) -> None:
    """Raise the error: the pictures after this one are not drawn."""
    raise error


def draw(folder: Path, picture: str, replica: int = 0, failed: Failed = raising) -> list[Path]:
    """Draw pictures of a run into its folder, and return their files.

    They are the named picture of a replica (`all`: every one but the animation, which takes a
    while), and those of all else that the run left. The picture of a sweep belongs to the sweep's
    folder, and `none` names no picture. Only the named picture fails with NothingToDraw where the
    run lacks what it shows.
    """
    run = load_run(folder, unfinished=True)
    files = []
    for name, plot in _pictures(picture, run, replica):
        try:
            files += save(plot(), folder / "figures", name)
        except Exception as error:
            if name == picture or not isinstance(error, (NothingToDraw, FileNotFoundError)):
                failed(name, error)
    return files


def in_progress(run: Run, picture: str) -> tuple[str, Figure] | None:
    """Return name and figure of the named picture (of `all`: the first) for an unfinished run.

    None where it is not the still picture of a replica.
    """
    name = next(iter(OF_A_REPLICA)) if picture == ALL else picture
    drawn = OF_A_REPLICA[name](run, 0) if name in OF_A_REPLICA and name != "animation" else None
    return (name, drawn) if isinstance(drawn, Figure) else None


def draw_sweep(folder: Path, picture: str) -> list[Path]:
    """Draw the picture of a sweep into its folder, and return the files.

    It is the named one if that is of a sweep, else the one over its one or two keys. Raises
    NothingToDraw for another number of keys.
    """
    sweep = load_sweep(folder)
    if picture in OF_A_SWEEP:
        return save(OF_A_SWEEP[picture](sweep), folder / "figures", picture)
    return save(plot_sweep(sweep), folder / "figures", "sweep")


def _pictures(picture: str, run: Run, replica: int) -> Iterator[tuple[str, Callable[[], Picture]]]:
    """Yield the named picture, and those of all else that the run may have left."""
    if picture in OF_A_REPLICA:
        yield picture, partial(OF_A_REPLICA[picture], run, replica)
    if picture == ALL:
        for name, plot in OF_A_REPLICA.items():
            if name != "animation":
                yield name, partial(plot, run, replica)
    beside = OF_WHAT_WAS_ASKED
    if picture == ALL or picture in OF_A_REPLICA:
        beside = OF_AN_ENSEMBLE | beside
    for name, of_run in beside.items():
        yield name, partial(of_run, run)
