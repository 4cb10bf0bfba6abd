"""The short table that ends a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from reludyn.recording.console.report import PLAIN, number, print_places
from reludyn.sweep.combination import Combination
from reludyn.sweep.tally import Statistics

SHOWN = 20  # groups in the printed table; the file has all of them
HEADER = ("replicas", "success [95%]", "T_converged", "loss")


def print_sweep(
    console: Console,
    tables: Sequence[tuple[str, Path]],
    groups: Sequence[Combination],
    pictures: Sequence[Path],
    events: Path | None,
    runs: int,
) -> None:
    """Print the results of each group of jobs, where the files are, and how to look at them.

    `runs` is the number of runs of TensorBoard's below the folder `events`.
    """
    table = Table(box=box.SIMPLE, pad_edge=False, collapse_padding=True)
    for key in groups[0].values:
        table.add_column(Text(key.replace(".", ".\n")), overflow="fold", min_width=6)
    for name in HEADER:
        table.add_column(Text(name), justify="right", no_wrap=True)
    for group in groups[:SHOWN]:
        table.add_row(*(Text(cell) for cell in cells(group)))
    console.print(table)
    if len(groups) > SHOWN:
        console.print(f"and {len(groups) - SHOWN:,} groups more, in the summary", **PLAIN)
    if repeated := sum(group.statistics["repeated"] for group in groups):
        console.print(
            f"{repeated:,} rows repeat a seed with the same settings: each replica counts once",
            **PLAIN,
        )
    print_places(console, tables, pictures, events, runs)


def cells(group: Combination) -> list[str]:
    """Return the values of a group, then the columns of HEADER."""
    said = group.statistics
    success = f"{said['success']:.3f} [{said['success_low']:.2f}, {said['success_high']:.2f}]"
    medians = [_median(said, name) for name in ("T_converged", "loss")]
    count = f"{said['replicas']:,}"
    if said["repeated"]:
        count += f" ({said['repeated']:,} repeated)"
    return [*group.values.values(), count, success, *medians]


def _median(said: Statistics, name: str) -> str:
    """Return a median, with the number of replicas that have a value where some have none."""
    count, of = said[f"{name}_defined"], said["replicas"]
    return number(said[f"{name}_median"]) + (f" ({count:,} of {of:,})" if 0 < count < of else "")
