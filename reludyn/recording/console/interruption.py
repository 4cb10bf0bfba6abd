"""What Ctrl-C is answered with."""

from __future__ import annotations

from pathlib import Path

from reludyn.runs.folder import LAST
from reludyn.system.commands import command, override, relative

SAVED = (str(LAST), "trajectory.npz", "replicas.csv", "summary.json")


def announced(step: int, jobs: int, folder: Path | None) -> str:
    """At once: what happens now. Without a folder: where there is none, or one for each job."""
    of = "" if jobs == 1 else f" by {jobs:,} jobs (Ctrl-C again: leave it)"
    where = "" if folder is None else f" to {relative(folder)}"
    return f"interrupted at step {step:,}: writing what was reached{of}{where}"


def left(folder: Path, alone: bool = True) -> list[str]:
    """Then, in lines: what is there now of a run, and what can be made of it. A sweep, whose runs
    are not alone, says itself how it goes on."""
    saved = [name for name in SAVED if (folder / name).exists()]
    if not saved:
        return ["nothing was saved"]
    lines = [f"saved    {', '.join(saved)}"]
    if not (folder / "DONE").exists():
        lines[0] += " (no DONE: the run is not complete)"
        if alone and SAVED[0] in saved:
            again = command("reludyn", override("resume", relative(folder)))
            lines.append(f"resume   {again}")
    if "trajectory.npz" in saved:
        lines.append(f"draw     {command('reludyn-figures', relative(folder))}")
    return lines
