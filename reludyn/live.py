"""The picture of a long run, drawn now and then while the run goes on."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from reludyn.recording.look import Array, Look
from reludyn.runs import Run, Table
from reludyn.settings import Config

FIRST = 60.0  # seconds until the first one; each takes as long again: few, however long the run


class LivePicture:
    """Draws the picture of replica 0 after 1, 2, 4, 8, ... minutes."""

    def __init__(self, config: Config, show: Callable[[int, str, bytes], None]) -> None:
        """show: takes the iteration, a tag and a PNG file."""
        self.config, self.show = config, show
        self.began = time.monotonic()
        self.due = self.began + FIRST

    def record(self, look: Look, arrays: Callable[[], Mapping[str, Array]]) -> None:
        """arrays: those of trajectory.npz, so far; asked for only when a picture is due."""
        if time.monotonic() < self.due:
            return
        from reludyn.figures import in_progress  # imports matplotlib

        run = Run(arrays(), _so_far(look), {}, asdict(self.config))
        drawn = in_progress(run, self.config.picture)
        if drawn is not None:
            name, figure = drawn
            file = io.BytesIO()
            figure.savefig(file, format="png")
            self.show(look.step, f"figure/{name}", file.getvalue())
        self.due = self.began + 2 * (time.monotonic() - self.began)


def _so_far(look: Look) -> Table:
    """What replicas.csv would say now."""
    columns: dict[str, Any] = {
        name: np.where(times >= 0, times, np.nan)
        for name in ("T_align", "T_growth", "T_converged")
        for times in [getattr(look, name)]
    }
    return Table(columns | {"outcome": ["still training"] * len(look.loss)})
