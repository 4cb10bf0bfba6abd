"""The command `reludyn-figures`: draw the pictures of finished runs and sweeps again."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from reludyn.figures import (
    ALL,
    CHOICES,
    OF_A_REPLICA,
    OF_A_SWEEP,
    Failed,
    draw,
    draw_sweep,
    raising,
)
from reludyn.runs.folder import check_plain
from reludyn.runs.load import latest
from reludyn.runs.read import config_of
from reludyn.system.commands import command, relative
from reludyn.system.errors import ConfigError, why


def redraw(
    folder: Path, picture: str | None = None, replica: int = 0, failed: Failed = raising
) -> list[Path]:
    """Draw from their files the pictures that a run or a sweep drew, or the named one.

    Returns the files of the pictures. Raises ConfigError for a folder that holds neither.
    """
    check_plain(folder, "RUN_DIR", ["figures"])
    jobs = sorted(folder.rglob("DONE"))
    of_a_sweep = (folder / "multirun.yaml").exists() and bool(jobs)
    if not of_a_sweep and not (folder / "trajectory.npz").exists():
        such = command("reludyn-figures", relative(latest(folder))) if jobs else ""
        remedy = f"Name a folder below it, as in {such}" if jobs else ""
        raise ConfigError("RUN_DIR", folder, "must be the folder of a run or of a sweep", remedy)
    if picture in (*OF_A_REPLICA, ALL) and of_a_sweep:
        raise ConfigError(
            "--picture", picture, "shows a run", f"Name the folder of a run in {folder}"
        )
    if picture in OF_A_SWEEP and not of_a_sweep:
        raise ConfigError("--picture", picture, "shows a sweep", "Name the folder of a sweep")
    first = jobs[0].parent if of_a_sweep else folder
    chosen = picture or config_of(first).get("picture", "phases")
    if chosen not in CHOICES:
        raise ConfigError("picture", chosen, f"must be one of {', '.join(CHOICES)}")
    return draw_sweep(folder, chosen) if of_a_sweep else draw(folder, chosen, replica, failed)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command `reludyn-figures RUN_DIR ... [--picture NAME] [--replica J]`."""
    parser = argparse.ArgumentParser(
        prog="reludyn-figures",
        description="Draw the pictures of finished runs and sweeps again, from their files.",
        epilog="What the pictures show: docs/gallery.md.",
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="RUN_DIR")
    parser.add_argument("--picture", choices=CHOICES)
    parser.add_argument("--replica", type=int, default=0, help="index of the replica that is shown")
    given = parser.parse_args(arguments)
    errors: list[str] = []

    def failed(name: str, error: Exception) -> None:
        errors.append(f"reludyn-figures: error: {name}: {why(error)}")

    for folder in given.folders:
        try:
            for path in redraw(folder, given.picture, given.replica, failed):
                print(path)
        except (ConfigError, OSError, ValueError, KeyError) as error:
            errors.append(f"reludyn-figures: error: {why(error)}")
    if errors:
        sys.exit("\n".join(errors))


if __name__ == "__main__":
    main()
