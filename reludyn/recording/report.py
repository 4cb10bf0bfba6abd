"""The short table that ends a run."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table


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
    plain: Any = {"soft_wrap": True, "highlight": False, "markup": False}
    shown = _relative(folder)
    console.print(f"files    {shown}", **plain)
    for picture in pictures:
        if picture.suffix == ".png":
            console.print(f"picture  {_relative(picture)}", **plain)
    if (folder / "tensorboard").exists():
        board = f"{_tensorboard()} --logdir {quote(str(shown))} --host 127.0.0.1"
        console.print(f"watch    {board}", **plain)
    if summary["stopped_because"] == "interrupted":
        console.print("interrupted: what had been reached is saved; there is no DONE", **plain)


def _lines(
    summary: Mapping[str, object], rows: Sequence[Mapping[str, object]]
) -> list[tuple[str, str]]:
    median = summary["median"]
    assert isinstance(median, Mapping)
    of = "" if len(rows) == 1 else " (median)"
    outcomes = [str(row["outcome"]) for row in rows]
    counts = {name: outcomes.count(name) for name in dict.fromkeys(outcomes)}
    outcome = outcomes[0] if len(rows) == 1 else ", ".join(f"{c:,} {n}" for n, c in counts.items())
    lines = [
        ("outcome", outcome),
        ("stopped", f"{summary['stopped_because']} after {summary['steps']:,} steps"),
        (f"T_align{of}", f"{_number(median['T_align'])}   alignment ends"),
        (f"T_growth{of}", f"{_number(median['T_growth'])}   growth ends"),
        (f"T_converged{of}", f"{_number(median['T_converged'])}   loss below the tolerance"),
        (f"loss{of}", _number(median["loss"])),
        (f"rate{of}", f"{_number(median['rate_measured'])}   factor a step of sqrt(loss)"),
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


def _tensorboard() -> str:
    """The command as it can be typed here: by its name, or beside this Python."""
    if shutil.which("tensorboard"):
        return "tensorboard"
    return quote(str(_relative(Path(sys.prefix) / "bin" / "tensorboard")))


def _number(value: object) -> str:
    return "-" if value is None else f"{value:.6g}"


def _relative(path: Path) -> Path:
    try:
        return path.relative_to(Path.cwd())
    except ValueError:
        return path
