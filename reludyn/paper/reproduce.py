"""Run all rows in parallel processes, check the claims, write the report."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from reludyn.paper.checks import CLAIMS
from reludyn.paper.claims import Claim, Finding
from reludyn.paper.report import write_report
from reludyn.paper.rows import ROWS, Done, Row
from reludyn.system.commands import command
from reludyn.system.errors import ConfigError


def reproduce(
    folder: Path,
    rows: Sequence[str] | None = None,
    workers: int | None = None,
    short: bool = False,
    overrides: Sequence[str] = (),
) -> bool:
    """Run the named rows (None: all) below `folder`, `workers` at once (None: one per core).

    `short` is a rehearsal; `overrides` are added to every command. Writes report.html, report.md
    and claims.json. Returns whether every row was completed.
    """
    began, chosen = time.perf_counter(), _chosen(rows)
    cores = os.cpu_count() or 1
    workers = min(workers or cores, len(chosen))
    threads = str(max(1, cores // workers))
    done: list[Done] = []
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    )
    with bar, ThreadPoolExecutor(workers) as pool:
        task = bar.add_task("reproducing the paper", total=len(chosen))
        order = sorted(chosen, key=lambda row: -row.cost)
        futures = [pool.submit(_run, row, folder, short, overrides, threads) for row in order]
        for future in as_completed(futures):
            done.append(future.result())
            bar.update(task, advance=1, description=f"finished {done[-1].row.name}")
    done.sort(key=lambda one: chosen.index(one.row))
    findings = _check(folder, {one.row.name for one in done if not one.error})
    about = {
        "version": version("reludyn"),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {cores} cores",
        "seconds": time.perf_counter() - began,
        "short": short,
        "overrides": list(overrides),
    }
    _write_claims(folder / "claims.json", about, findings, done)
    write_report(folder, about, findings, done)
    return not any(one.error for one in done)


def _chosen(names: Sequence[str] | None) -> list[Row]:
    known = {row.name: row for row in ROWS}
    for name in names or ():
        if name not in known:
            raise ConfigError("rows", name, f"must be among {', '.join(known)}")
    return [row for row in ROWS if names is None or row.name in names]


def _run(row: Row, folder: Path, short: bool, overrides: Sequence[str], threads: str) -> Done:
    """Run one command in a process of its own; return its time and memory."""
    words = row.words(folder / row.name, short, overrides)
    shown = command("reludyn", *(word for word in words if not word.startswith("hydra.")))
    log = folder / f"{row.name}.log"
    folder.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "reludyn", *words],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | {"OMP_NUM_THREADS": threads},
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    unit = 1 if platform.system() == "Darwin" else 1024  # ru_maxrss: bytes there, else KiB
    return Done(
        row,
        shown,
        time.perf_counter() - began,
        usage.ru_maxrss * unit / 2**20,
        _error(process.returncode, log),
    )


def _error(code: int, log: Path) -> str:
    if code == 0:
        return ""
    lines = log.read_text(errors="replace").splitlines()
    said = [line for line in lines if "error" in line.lower()]
    return next(iter(said), f"exit code {code}")


def _check(folder: Path, finished: set[str]) -> list[tuple[Claim, Finding | None]]:
    """Return each claim with its finding; None where a row that it needs is missing."""
    found: list[tuple[Claim, Finding | None]] = []
    for claim in CLAIMS:
        found.append((claim, claim.on(folder) if set(claim.rows) <= finished else None))
    return found


def _write_claims(
    path: Path,
    about: dict[str, object],
    findings: Sequence[tuple[Claim, Finding | None]],
    done: Sequence[Done],
) -> None:
    claims = [
        {
            "title": claim.title,
            "paper": claim.paper,
            "rows": claim.rows,
            "verdict": finding.verdict if finding else "not run",
            "measured": finding.measured if finding else "",
            "remark": finding.remark if finding else "",
        }
        for claim, finding in findings
    ]
    rows = [
        {"name": one.row.name, **{k: v for k, v in asdict(one).items() if k != "row"}}
        for one in done
    ]
    text = json.dumps({**about, "claims": claims, "rows": rows}, indent=2)
    path.write_text(text + "\n")
