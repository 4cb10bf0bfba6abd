"""Pictures drawn from the files of a run; nothing here trains."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from reludyn.figures.digits import draw_digits
from reludyn.figures.files import column, table
from reludyn.figures.margins import draw_margins
from reludyn.figures.neurons import draw_neurons, draw_sums
from reludyn.figures.pairs import draw_pairs
from reludyn.figures.phases import draw_phases
from reludyn.figures.scale import draw_scale
from reludyn.figures.stability import draw_stability
from reludyn.figures.stationary import draw_stationary
from reludyn.figures.surface import draw_surface
from reludyn.figures.sweeps import draw_burn_in, draw_samples, draw_stuck
from reludyn.figures.swept import SUMMARY, draw_swept

Draw = Callable[[Path], list[Path]]
OF_A_TRAJECTORY: dict[str, Draw] = {
    "phases": draw_phases,
    "neurons": draw_neurons,
    "sums": draw_sums,
    "pairs": draw_pairs,
}
OF_A_SWEEP: dict[str, Draw] = {
    "stuck": draw_stuck,
    "samples": draw_samples,
    "burn_in": draw_burn_in,
}
OF_A_FILE: dict[str, Draw] = {
    "plane.npz": draw_surface,
    "margins.npz": draw_margins,
    "stationary_points.csv": draw_stationary,
    "reconstructions.npz": draw_digits,
    "stability.csv": draw_stability,
}


def draw_sweep(sweep: Path, picture: str) -> list[Path]:
    """The picture of a sweep that is named, if it is one, else that of its summary, if it has one;
    returns the files."""
    if picture in OF_A_SWEEP:
        return OF_A_SWEEP[picture](sweep)
    return draw_swept(sweep) if (sweep / SUMMARY).exists() else []


def draw(run: Path, picture: str) -> list[Path]:
    """The picture of a run's trajectory that is named, and those of all other files that it left;
    returns the files. That of a sweep belongs to the sweep, and `none` is no picture."""
    files = OF_A_TRAJECTORY[picture](run) if picture in OF_A_TRAJECTORY else []
    for name, of_a_file in OF_A_FILE.items():
        if (run / name).exists():
            files += of_a_file(run)
    if len(set(column(table(run / "replicas.csv"), "init_scale"))) > 1:
        files += draw_scale(run)
    return files
