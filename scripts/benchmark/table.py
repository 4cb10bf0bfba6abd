"""The table: one row per case and contender, as CSV and as a page."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from reludyn.system.files import atomic
from scripts.benchmark.cases import Case
from scripts.benchmark.machine import Ceilings
from scripts.benchmark.timing import Times

NOTES = """\
- **ns**: nanoseconds per step of one run, the median of the repeats (time of the batch divided by
  steps and replicas); in brackets times that of this project, compiled where there is such a
  program, else eager.
- **GFLOP/s, GB/s**: the least work of a step of one run, over its time. The work is counted
  once per case, for all contenders alike: the closed form in m = min(d, k + r) coordinates, or both
  layers forward and backward on n samples; the weights read and written once, and samples read
  once by all replicas that share them (`Case.flops` and `Case.bytes` in
  `scripts/benchmark/cases.py`). Work beyond it, such as that of a closed form in R^d, is no merit.
- **of GEMM, of bandwidth, of roof**: over the measured ceilings of this machine, and over the lower
  of the two at the case's operations per byte. What fits the caches may pass the bandwidth.
- **reading X**: the time of reading X and Y once at that bandwidth, over the time of a step.
- **difference**: of the weights from those of this project after the same steps, relative to the
  largest.
"""


@dataclass(frozen=True)
class Row:
    """Contender in a case; None where nothing was measured, with the reason in a note."""

    case: str
    risk: str
    n: int | None
    d: int
    k: int
    r: int
    replicas: int
    samples: str
    contender: str
    trained: int | None = None  # replicas that were trained
    steps: int | None = None  # steps per repeat
    ns: float | None = None
    ns_fastest: float | None = None
    ratio: float | None = None
    flops: int | None = None
    bytes: float | None = None
    gflops: float | None = None
    gbytes: float | None = None
    of_gemm: float | None = None
    of_bandwidth: float | None = None
    of_roof: float | None = None
    of_reading: float | None = None  # None for the population risk
    difference: float | None = None
    note: str = ""


def blank(case: Case, contender: str, note: str) -> Row:
    """Return a row without numbers."""
    return Row(
        case.name,
        case.risk,
        case.n,
        case.d,
        case.k,
        case.r,
        case.replicas,
        case.samples,
        contender,
        note=note,
    )


def measured(
    case: Case, contender: str, times: Times, ours: Times, ceilings: Ceilings, difference: float
) -> Row:
    """Return the numbers of a contender beside those of this project."""
    ns = times.nanoseconds
    gflops, gbytes = case.flops / ns, case.bytes / ns
    reading = case.sample_bytes / ceilings.gbytes  # ns
    return Row(
        case.name,
        case.risk,
        case.n,
        case.d,
        case.k,
        case.r,
        case.replicas,
        case.samples,
        contender,
        trained=times.replicas,
        steps=times.steps,
        ns=ns,
        ns_fastest=times.fastest,
        ratio=ns / ours.nanoseconds,
        flops=case.flops,
        bytes=case.bytes,
        gflops=gflops,
        gbytes=gbytes,
        of_gemm=gflops / ceilings.gflops,
        of_bandwidth=gbytes / ceilings.gbytes,
        of_roof=gflops / ceilings.roof(case.flops / case.bytes),
        of_reading=reading / (ns * case.replicas) if case.n else None,
        difference=difference,
    )


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Return the table as CSV in full precision, with one column per field of `Row`."""
    text = io.StringIO(newline="")
    table = csv.writer(text)
    table.writerow(field.name for field in fields(Row))
    table.writerows(astuple(row) for row in rows)
    with atomic(path) as file:
        file.write(text.getvalue().encode())


def write_page(
    path: Path, rows: Sequence[Row], machine: Mapping[str, object], ceilings: Ceilings
) -> None:
    """Return table.md: the machine, times and ratios of all contenders, then all numbers."""
    lines = ["# Benchmark", ""]
    about = ", ".join(f"{key} {value}" for key, value in machine.items() if value is not None)
    lines += [about + ".", ""]
    lines += [
        f"Ceilings in float64: {ceilings.gflops:.1f} GFLOP/s (product of large matrices), "
        f"{ceilings.gbytes:.1f} GB/s (reading memory).",
        "",
    ]
    for risk in ("population", "empirical"):
        chosen = [row for row in rows if row.risk == risk]
        if chosen:
            lines += [
                f"## {risk.capitalize()} risk",
                "",
                *_times(chosen),
                "",
                *_details(chosen),
                "",
            ]
    with atomic(path) as file:
        file.write(("\n".join(lines) + "\n" + NOTES).encode())


def _times(rows: Sequence[Row]) -> list[str]:
    """Return lines of a table with one row per case and one column per contender."""
    names = list(dict.fromkeys(row.contender for row in rows))
    lines = _head(["case", *names])
    for case in dict.fromkeys(row.case for row in rows):
        of = {row.contender: row for row in rows if row.case == case}
        lines.append(_line([_title(next(iter(of.values()))), *(_time(of[name]) for name in names)]))
    return lines


def _details(rows: Sequence[Row]) -> list[str]:
    lines = _head(
        [
            "case",
            "contender",
            "GFLOP/s",
            "GB/s",
            "of GEMM",
            "of bandwidth",
            "of roof",
            "reading X",
            "steps x runs",
            "difference",
            "note",
        ]
    )
    for row in rows:
        numbers = (
            row.gflops,
            row.gbytes,
            row.of_gemm,
            row.of_bandwidth,
            row.of_roof,
            row.of_reading,
        )
        made = "" if row.steps is None else f"{row.steps:,} x {row.trained:,}"
        off = "" if row.difference is None else f"{row.difference:.0e}"
        cells = [_title(row), row.contender, *map(_short, numbers), made, off, row.note]
        lines.append(_line(cells))
    return lines


def _title(row: Row) -> str:
    """Return k, r and R for the population risk; n, d, k and R for samples."""
    if row.n is None:
        return f"k={row.k} r={row.r} R={row.replicas:,}"
    own = " own samples" if row.samples == "own" else ""
    return f"n={row.n:,} d={row.d} k={row.k} R={row.replicas:,}{own}"


def _time(row: Row) -> str:
    if row.ns is None or row.ratio is None:
        return "--"
    places = 0 if row.ns >= 100 else 1
    ratio = f"{row.ratio:,.0f}" if row.ratio >= 100 else f"{row.ratio:.2g}"
    return f"{row.ns:,.{places}f} ({ratio})"


def _short(number: float | None) -> str:
    return "" if number is None else f"{number:.3g}"


def _head(names: Sequence[str]) -> list[str]:
    return [_line(names), _line(["---"] * len(names))]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
