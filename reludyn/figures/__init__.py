"""Pictures drawn from the files of a run; nothing here trains."""

from reludyn.figures.landscape import draw_landscape
from reludyn.figures.phases import draw_phases
from reludyn.figures.scale import draw_scale

__all__ = ["draw_landscape", "draw_phases", "draw_scale"]
