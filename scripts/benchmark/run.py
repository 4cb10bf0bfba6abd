"""The benchmark from its cases to its files."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from reludyn.system.errors import why
from reludyn.system.files import atomic
from scripts.benchmark.cases import Case
from scripts.benchmark.contender import Training, Unavailable, difference, make_problem
from scripts.benchmark.contenders import contenders
from scripts.benchmark.machine import Ceilings, describe
from scripts.benchmark.table import Row, blank, measured, write_csv, write_page
from scripts.benchmark.timing import LR, interleave

AGREED = 20  # steps after which all weights must agree
HEAVY = 10**9  # operations per step of the batch from which two steps must suffice
TOLERANCE = 1e-9
BUSY = "threads that wait for a busy core cost PyTorch far more than JAX: leave the machine alone"
Say = Callable[[str], None]


class Disagreement(Exception):
    """Error of a contender that trains something else, so that its times would mean nothing."""


def benchmark(
    folder: Path,
    cases: Sequence[Case],
    ceilings: Ceilings,
    repeats: int,
    seconds: float,
    lr: float = LR,
    say: Say = print,
) -> list[Row]:
    """Measure all cases; write table.csv, table.md, roofline.png and .pdf, machine.json."""
    machine, rows = describe(), list[Row]()
    say(f"load {machine['load']} on {machine['cores']} cores; {BUSY}")
    for number, case in enumerate(cases, 1):
        say(f"{number} of {len(cases)}   {case.name}")
        found = measure(case, ceilings, repeats, seconds, lr)
        for row in found:
            said = row.note if row.ns is None else f"{row.ns:,.1f} ns   {row.ratio:.3g} x"
            say(f"    {row.contender:<18} {said}")
        rows += found
    everything = {**machine, "gflops": ceilings.gflops, "gbytes": ceilings.gbytes}
    with atomic(folder / "machine.json") as file:
        file.write(json.dumps(everything, indent=2).encode())
    write_csv(folder / "table.csv", rows)
    write_page(folder / "table.md", rows, machine, ceilings)
    try:
        from scripts.benchmark.roofline import draw_roofline  # imports matplotlib

        draw_roofline(folder, rows, ceilings)
    except Exception as error:
        say(f"no picture: {why(error)}")
    return rows


def measure(
    case: Case, ceilings: Ceilings, repeats: int, seconds: float, lr: float = LR
) -> list[Row]:
    """Return one row per contender. Raises Disagreement."""
    names = contenders(case.risk)
    if not case.fits():
        needed = f"skipped: needs about {case.memory / 2**30:,.0f} GiB of memory"
        return [blank(case, name, needed) for name in names]
    problem, ready, absent = make_problem(case, lr), {}, {}
    for name, prepare in names.items():
        try:
            ready[name] = prepare(problem)
        except Unavailable as error:
            absent[name] = f"skipped: {error}"
    off = check_agreement(case, ready)
    times = interleave(ready, repeats, seconds)
    ours = times[list(ready)[-1]]
    return [
        blank(case, name, absent[name])
        if name in absent
        else measured(case, name, times[name], ours, ceilings, off[name])
        for name in names
    ]


def check_agreement(case: Case, ready: dict[str, Training]) -> dict[str, float]:
    """Return the relative difference of each contender's weights from those of this project, after
    a few steps from the same initial weights. Raises Disagreement."""
    steps = AGREED if case.flops * case.replicas < HEAVY else 2
    for training in ready.values():
        training.start()
        training.advance(steps)
    ours = ready[list(ready)[-1]]
    off = {name: difference(training, ours) for name, training in ready.items()}
    wrong = [name for name, value in off.items() if not value <= TOLERANCE]
    if wrong:
        worst = ", ".join(f"{name} by {off[name]:.1e}" for name in wrong)
        raise Disagreement(f"{case.name}: after {steps} steps the weights differ: {worst}")
    return off
