"""What a person sees before and after the iterations: what is being done, and for how long."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

Status = Callable[[str], object]  # takes what is being done from now on


def silent(what: str) -> None:
    """Says nothing."""


def live(console: Console, row: Callable[[], RenderableType]) -> Live:
    """Rows that stay below what is printed, and go at the end."""
    redirect = sys.stderr.isatty()
    return Live(get_renderable=row, console=console, transient=True, redirect_stderr=redirect)


class Stages:
    """`drawing the picture, 3 s` in a terminal, as long as it takes; a context manager, called with
    what is done next."""

    def __init__(self, console: Console, what: str) -> None:
        self(what)
        self.shown = console.is_terminal and not console.quiet
        self.live = live(console, self.row)

    def __call__(self, what: str) -> None:
        self.what, self.began = what, time.monotonic()

    def row(self) -> Text:
        """The first second is not counted."""
        seconds = int(time.monotonic() - self.began)
        return Text(f"{self.what}, {seconds} s" if seconds else self.what, no_wrap=True)

    def __enter__(self) -> Stages:
        if self.shown:
            self.live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.live.stop()
