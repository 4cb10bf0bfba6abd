"""The short table that ends a run."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from reludyn.config.parse import OUTPUTS
from reludyn.network.outcomes import Event, Reason
from reludyn.system.commands import command, relative

SELECTED = 40  # runs that TensorBoard selects by itself; of more it selects none
HINT = (
    f"more than {SELECTED} runs: TensorBoard shows nothing of them until you press TOGGLE ALL "
    "RUNS, below its list of runs"
)
PLAIN: Any = {"soft_wrap": True, "highlight": False, "markup": False}  # lines to be copied


def print_report(
    console: Console,
    folder: Path,
    summary: Mapping[str, object],
    rows: Sequence[Mapping[str, object]],
    pictures: Sequence[Path],
) -> None:
    """What came out, where the files are, and how to look at them."""
    table = Table(box=box.SIMPLE, show_header=False, pad_edge=False)
    for name, value in _lines(summary, rows):
        table.add_row(name, value)
    console.print(table)
    events = folder if (folder / "tensorboard").exists() else None
    print_places(console, [("files", folder)], pictures, events)


def print_places(
    console: Console,
    files: Sequence[tuple[str, Path]],
    pictures: Sequence[Path],
    events: Path | None,
    runs: int = 1,
) -> None:
    """Where the files are, each after a word of at most eight letters, and the command that shows
    the events below a folder, if there are any; so many runs of TensorBoard's are there."""
    shown = [("picture", picture) for picture in pictures if picture.suffix == ".png"]
    for name, path in [*files, *shown]:
        console.print(f"{name:<8} {relative(path)}", **PLAIN)
    if events is not None:
        console.print(f"watch    {_watch(events)}", **PLAIN)
        if runs > SELECTED:
            console.print(f"{'':<8} {HINT}", **PLAIN)
        elif OUTPUTS.absolute() in events.absolute().parents and _has_more(OUTPUTS):
            console.print(f"{'all':<8} {_watch(OUTPUTS)}", **PLAIN)
            console.print(f"{'':<8} {HINT}", **PLAIN)


def _watch(events: Path) -> str:
    return command(tensorboard(), "--logdir", relative(events), "--host", "127.0.0.1")


def _has_more(folder: Path) -> bool:
    """Whether TensorBoard finds more runs than it selects below a folder of experiments, each with
    folders of runs and of sweeps."""
    found = set[Path]()
    for run, below in product(("*", "*/*"), ("", "*/")):
        for file in folder.glob(f"{run}/tensorboard/{below}events.out.tfevents.*"):
            found.add(file.parent)
            if len(found) > SELECTED:
                return True
    return False


def _lines(
    summary: Mapping[str, object], rows: Sequence[Mapping[str, object]]
) -> list[tuple[str, str]]:
    median, defined = summary["median"], summary["defined"]
    assert isinstance(median, Mapping)
    assert isinstance(defined, Mapping)

    def named(name: str, column: str) -> str:
        """Return a name with the number of replicas that have such a value."""
        count = defined[column]
        of = f"{len(rows):,}" if count == len(rows) else f"{count:,} of {len(rows):,}"
        return name if len(rows) == 1 else f"{name} (median of {of})"

    outcomes = [str(row["outcome"]) for row in rows]
    counts = {name: outcomes.count(name) for name in dict.fromkeys(outcomes)}
    outcome = outcomes[0] if len(rows) == 1 else ", ".join(f"{c:,} {n}" for n, c in counts.items())
    reason = Reason(str(summary["stopped_because"]))
    lines = [
        ("outcome", outcome),
        ("stopped", f"{reason} after {summary['steps']:,} steps: {reason.sentence}"),
        *(
            (named(name, name), f"{number(median[name])}   {meaning}")
            for name, meaning in (
                (Event.ALIGNED, "alignment ends"),
                (Event.GROWN, "growth ends"),
                (Event.CONVERGED, "loss below the tolerance"),
            )
        ),
        (named("loss", "loss"), number(median["loss"])),
        (
            named("rate", "rate_measured"),
            f"{number(median['rate_measured'])}   factor per step of sqrt(loss)",
        ),
        ("time", f"{summary['wall_seconds']:.2f} s on {summary['device']}"),
    ]
    bounds = summary.get("bounds")
    if isinstance(bounds, Mapping):
        violated = [
            f"{name} by {tally['replicas_violating']} from step {tally['first_violation']}"
            for name, tally in bounds.items()
            if tally["violated"]
        ]
        checks = sum(tally["checked"] for tally in bounds.values())
        said = f"VIOLATED: {', '.join(violated)}" if violated else "all hold"
        lines.insert(-1, ("lemmas", f"{said} ({checks:,} checks)"))
    return lines


def tensorboard() -> str:
    """The command as it can be typed here: by its name, or beside this Python."""
    if shutil.which("tensorboard"):
        return "tensorboard"
    return relative(Path(sys.prefix) / "bin" / "tensorboard")


def number(value: object) -> str:
    return "-" if value is None else f"{value:.6g}"
