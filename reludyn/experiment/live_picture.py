"""The picture of a long run, drawn now and then while the run goes on."""

from __future__ import annotations

import io
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from reludyn.config.schema import Config
from reludyn.network.outcomes import Event
from reludyn.recording.look import Look
from reludyn.recording.registry import Array
from reludyn.runs.load import Run
from reludyn.runs.table import Table
from reludyn.system.errors import why

log = logging.getLogger(__name__)
FIRST = 60.0  # seconds until the first one; each takes as long again: few, however long the run


class LivePicture:
    """Draws the picture of replica 0 after 1, 2, 4, 8, ... minutes."""

    def __init__(
        self,
        config: Config,
        show: Callable[[int, str, bytes], None],
        arrays: Callable[[], Mapping[str, Array]],
    ) -> None:
        """show: takes the iteration, a tag and a PNG file; arrays: returns those of trajectory.npz
        so far, asked for only when a picture is due."""
        self.config, self.show, self.arrays = config, show, arrays
        self.began = time.monotonic()
        self.due = self.began + FIRST

    def record(self, look: Look) -> None:
        """Draw the picture if it is due."""
        if time.monotonic() < self.due:
            return
        run = Run(self.arrays(), _so_far(look), {}, asdict(self.config))
        try:
            drawn = _drawn(run, self.config.picture)
        except Exception as error:
            log.warning("there is no picture while the run goes on: %s", why(error))
            self.due = math.inf
            return
        if drawn is not None:
            name, png = drawn
            self.show(look.step, f"figure/{name}", png)
        self.due = self.began + 2 * (time.monotonic() - self.began)

    def saved(self) -> Mapping[str, Any]:
        """Return nothing: the next picture is drawn from the trajectory."""
        return {}

    def restore(self, saved: Any) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


def _drawn(run: Run, picture: str) -> tuple[str, bytes] | None:
    """Return the name and the PNG file of the picture that is shown, if there is one."""
    from reludyn.figures import in_progress  # imports matplotlib

    drawn = in_progress(run, picture)
    if drawn is None:
        return None
    name, figure = drawn
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return name, file.getvalue()


def _so_far(look: Look) -> Table:
    """What replicas.csv would say now."""
    columns: dict[str, Any] = {
        name: np.where(times >= 0, times, np.nan)
        for name in Event
        for times in [getattr(look, name)]
    }
    return Table(columns | {"outcome": ["still training"] * len(look.loss)})
