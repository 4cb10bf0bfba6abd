"""What is logged, as it is shown on the console."""

from __future__ import annotations

import logging
import sys


class Spoken(logging.Handler):
    """Warnings, and all lines of the loggers that `hydra.verbose` names (true: of every one), which
    Hydra sets to DEBUG.

    They go to what is sys.stderr at that moment: a progress bar takes its place, and stays below.
    """

    def emit(self, record: logging.LogRecord) -> None:
        asked_for = logging.getLogger(record.name).isEnabledFor(logging.DEBUG)
        if record.levelno >= logging.WARNING or asked_for:
            try:
                print(self.format(record), file=sys.stderr, flush=True)
            except OSError:
                self.handleError(record)
