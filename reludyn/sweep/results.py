"""The results of a sweep as tables, pictures and TensorBoard's events.

sweep.csv has one row per replica, sweep_summary.csv one row per group: the jobs that differ by
their seed alone. Both begin with the swept keys.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from reludyn.numerics.statistics import as_numbers
from reludyn.recording.console.report import PLAIN
from reludyn.runs.columns import COLUMNS
from reludyn.sweep.combination import Combination
from reludyn.sweep.report import print_sweep
from reludyn.sweep.tally import STATISTICS, Tally
from reludyn.system.errors import why
from reludyn.system.files import csv_file

RUNS = 20  # combinations up to which each is a run of TensorBoard's, which shows 40 at most
Values = Mapping[str, str]


@dataclass(frozen=True)
class Part:
    """Job that is complete: its folder, and every swept key with its value as typed.

    All parts of a sweep have the same keys.
    """

    folder: Path
    values: Values


def finish(
    sweep: Path,
    parts: Sequence[Part],
    *,
    picture: str,
    tensorboard: bool,
    console: Console,
    jobs: bool = False,
) -> list[Path]:
    """Write the tables, picture and TensorBoard's events of a sweep and print a short table.

    Returns the files. Without parts there is nothing to write.

    sweep.csv has the columns job (the folder, relative to the sweep), the swept keys, and COLUMNS
    of replicas.csv. sweep_summary.csv has the swept keys without the seed, and STATISTICS
    (`reludyn.sweep.tally`). Where a swept key has the name of another column, seed is left out of
    sweep.csv, where each replica has its own, and `replicas` is called job.replicas in the summary.

    If `picture` names a picture of sweeps, it is drawn in figures/; if it names a picture of runs,
    sweep.png and .pdf over one or two swept keys without the seed are drawn; for `none` nothing.

    tensorboard/NAME/ is a run per group, or per job where only the seed was swept. There is one run
    for all if there are more than RUNS, unless `jobs`, when the jobs have event files, too. Raises
    OSError where a file cannot be read or written.
    """
    if not parts:
        return []
    tables = {"table": sweep / "sweep.csv", "summary": sweep / "sweep_summary.csv"}
    single = _write_replicas(tables["table"], sweep, parts)
    groups = _joined(single, lambda values: {key: values[key] for key in values if key != "seed"})
    _write_groups(tables["summary"], groups)
    pictures: list[Path] = []
    events: list[Path] = []
    if picture != "none" and groups[0].values:
        try:
            from reludyn.figures import draw_sweep  # imports matplotlib

            pictures = draw_sweep(sweep, picture)
        except Exception as error:
            console.print(f"no picture: {why(error)}", **PLAIN)
    if tensorboard:
        from reludyn.sweep.board import write_board

        shown = groups if groups[0].values else single
        if len(shown) > RUNS and not jobs:
            what = "combinations" if groups[0].values else "jobs"
            console.print(
                f"TensorBoard shows {len(shown):,} {what} as one run; with logger.jobs=true each "
                "has its own",
                **PLAIN,
            )
            every = {key: _all(job.values[key] for job in single) for key in parts[0].values}
            shown = _joined(single, lambda _: every)
        events, left_out = write_board(sweep / "tensorboard", shown, groups, pictures)
        if left_out:
            console.print(f"no curves of {left_out:,} jobs: trajectory.npz cannot be read", **PLAIN)
    runs = len(events) + jobs * len(parts)
    logdir = sweep if tensorboard else None
    print_sweep(console, [*tables.items()], groups, pictures, logdir, runs)
    return [*tables.values(), *pictures, *events]


def _write_replicas(path: Path, sweep: Path, parts: Sequence[Part]) -> list[Combination]:
    """Write sweep.csv, row by row; return each job as a combination."""
    shown = [key for key in parts[0].values if key not in COLUMNS]
    jobs = []
    with csv_file(path, ["job", *shown, *COLUMNS]) as add:
        for part in parts:
            begin = [os.path.relpath(part.folder, sweep), *(part.values[key] for key in shown)]
            tally = Tally(1, _meaning(part.values))
            for row in _replicas(part.folder / "replicas.csv"):
                add(begin + row)
                tally.add(row)
            jobs.append(Combination(part.values, [part.folder], tally))
    return jobs


def _joined(
    jobs: Sequence[Combination], values_of: Callable[[Values], Values]
) -> list[Combination]:
    """Return one combination for all jobs of the same values, in the order of their first jobs."""
    groups: dict[Hashable, Combination] = {}
    for job in jobs:
        values = values_of(job.values)
        groups.setdefault(_meaning(values), Combination(values)).join(job)
    return [*groups.values()]


def _meaning(values: Values) -> Hashable:
    """Return a key that is the same for the same settings, apart from the seed, however typed."""
    texts = [text for key, text in values.items() if key != "seed"]
    numbers = (as_numbers([text]) for text in texts)
    return tuple(text if x is None else x[0] for text, x in zip(texts, numbers, strict=True))


def _all(values: Iterable[str]) -> str:
    """Return a text that stands for all values of a key."""
    different = {*values}
    return different.pop() if len(different) == 1 else f"{len(different)} values"


def _replicas(path: Path) -> Iterator[list[str]]:
    """Yield the rows of a replicas.csv in the order of COLUMNS.

    Cells that another version did not write are empty.
    """
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.reader(file)
        header = next(reader)
        places = [header.index(name) if name in header else -1 for name in COLUMNS]
        for row in reader:
            row.append("")
            yield [row[place] for place in places]


def _write_groups(path: Path, groups: Sequence[Combination]) -> None:
    """Write sweep_summary.csv."""
    names = [f"job.{key}" if key in STATISTICS else key for key in groups[0].values]
    with csv_file(path, [*names, *STATISTICS]) as add:
        for group in groups:
            add([*group.values.values(), *group.statistics.values()])
