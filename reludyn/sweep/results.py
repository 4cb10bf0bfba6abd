"""The results of a sweep as one table, and what is made of it.

sweep.csv has a row a replica, sweep_summary.csv a row a group: the jobs that differ by their seed
alone. Both begin with what was swept.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from reludyn.files import csv_file
from reludyn.recording.columns import COLUMNS
from reludyn.recording.event_file import EventFile
from reludyn.recording.report import PLAIN
from reludyn.sweep.report import print_sweep
from reludyn.sweep.tally import STATISTICS, Statistics, Tally

SINGLY = 200  # jobs that HPARAMS shows each for itself, where only the seed is swept
WITH_CURVES = 50  # jobs whose own curves TensorBoard loads quickly enough beside HPARAMS
Values = Mapping[str, str]
Group = tuple[Values, Statistics]


@dataclass(frozen=True)
class Part:
    """A job that came to its end: its folder, and every swept key with its value as typed. All
    parts of a sweep have the same keys."""

    folder: Path
    values: Values


def finish(
    sweep: Path, parts: Sequence[Part], *, picture: str, tensorboard: bool, console: Console
) -> list[Path]:
    """Write the tables, picture and HPARAMS of a sweep and print a short table; returns the files.
    Without parts there is nothing to write.

    sweep.csv has the columns job (the folder, relative to the sweep), the swept keys, COLUMNS of
    replicas.csv; sweep_summary.csv the swept keys but seed, STATISTICS (`reludyn.sweep.tally`). Of
    a key with the name of another column, seed is left out of sweep.csv, where each replica has its
    own, and `replicas` is called job.replicas in the summary. The picture of a sweep that is named
    is drawn in figures/; where `picture` names that of a run, sweep.png and .pdf of one or two
    swept keys but seed; for `none` nothing. tensorboard/NAME/ has a run a group, or a run a job
    where only the seed was swept, tensorboard/sweep the picture. Raises OSError where a file cannot
    be read or written.
    """
    if not parts:
        return []
    tables = {"table": sweep / "sweep.csv", "summary": sweep / "sweep_summary.csv"}
    groups, jobs = _write_replicas(tables["table"], sweep, parts)
    _write_groups(tables["summary"], groups)
    pictures, events = [], []
    if picture != "none" and groups[0][0]:
        from reludyn.figures import draw_sweep  # imports matplotlib
        from reludyn.figures.timeline import NothingToDraw

        try:
            pictures = draw_sweep(sweep, picture)
        except NothingToDraw as reason:
            console.print(f"no picture: {reason}", **PLAIN)
    if tensorboard and parts[0].values:
        from reludyn.sweep.hparams import write_hparams

        events = write_hparams(sweep / "tensorboard", _runs(parts, groups, jobs))
        events += _show(sweep / "tensorboard" / "sweep", pictures)
    logdir = sweep if len(parts) <= WITH_CURVES else sweep / "tensorboard"
    print_sweep(console, [*tables.items()], groups, pictures, logdir if tensorboard else None)
    return [*tables.values(), *pictures, *events]


def _show(folder: Path, pictures: Sequence[Path]) -> list[Path]:
    """An event file with the pictures, if there are any."""
    shown = [picture for picture in pictures if picture.suffix == ".png"]
    if not shown:
        return []
    with closing(EventFile(folder)) as file:
        for picture in shown:
            file.add_image(0, f"figure/{picture.stem}", picture.read_bytes())
    return [file.path]


def _write_replicas(
    path: Path, sweep: Path, parts: Sequence[Part]
) -> tuple[list[Group], list[Statistics]]:
    """sweep.csv, row by row; returns the groups, and the statistics of each job where only the seed
    was swept, for as many as are shown singly."""
    shown = [key for key in parts[0].values if key not in COLUMNS]
    keys = [key for key in parts[0].values if key != "seed"]
    singly = not keys and len(parts) <= SINGLY
    groups: dict[tuple[str, ...], Tally] = {}
    jobs = []
    with csv_file(path, ["job", *shown, *COLUMNS]) as add:
        for part in parts:
            begin = [os.path.relpath(part.folder, sweep), *(part.values[key] for key in shown)]
            group = groups.setdefault(tuple(part.values[key] for key in keys), Tally())
            own = Tally()
            for row in _replicas(part.folder / "replicas.csv"):
                add(begin + row)
                group.add(row)
                if singly:
                    own.add(row)
            group.jobs += 1
            if singly:
                own.jobs = 1
                jobs.append(own.statistics())
    return [
        (dict(zip(keys, values, strict=True)), tally.statistics())
        for values, tally in groups.items()
    ], jobs


def _replicas(path: Path) -> Iterator[list[str]]:
    """The rows of a replicas.csv in the order of COLUMNS; what another version did not write is
    empty."""
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.reader(file)
        header = next(reader)
        places = [header.index(name) if name in header else -1 for name in COLUMNS]
        for row in reader:
            row.append("")
            yield [row[place] for place in places]


def _write_groups(path: Path, groups: Sequence[Group]) -> None:
    """sweep_summary.csv."""
    names = [f"job.{key}" if key in STATISTICS else key for key in groups[0][0]]
    with csv_file(path, [*names, *STATISTICS]) as add:
        for values, statistics in groups:
            add([*values.values(), *statistics.values()])


def _runs(
    parts: Sequence[Part], groups: Sequence[Group], jobs: Sequence[Statistics]
) -> Sequence[Group]:
    """What HPARAMS shows: groups, or jobs where only the seed was swept."""
    if groups[0][0]:
        return groups
    if jobs:
        return [(part.values, said) for part, said in zip(parts, jobs, strict=True)]
    return [({"seed": f"{len(parts)} values"}, groups[0][1])]
