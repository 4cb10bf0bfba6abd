"""The benchmark: everyone trains the same thing, the files are whole. Times are never tested."""

from __future__ import annotations

import csv
import json
import runpy
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from torch.utils.flop_counter import FlopCounterMode

from reludyn.system.compiler import Compiled
from scripts.benchmark import jax_scan, run, timing
from scripts.benchmark.cases import QUICK, STANDARD, Case, parse_case
from scripts.benchmark.contender import (
    Array,
    Problem,
    Training,
    Unavailable,
    difference,
    make_problem,
)
from scripts.benchmark.contenders import contenders
from scripts.benchmark.machine import Ceilings, describe
from scripts.benchmark.pytorch import Autograd
from scripts.benchmark.table import Row

SCRIPT = "scripts.benchmark"
CEILINGS = Ceilings(100.0, 20.0)
EVERYONE = [(case, name) for case in QUICK for name in contenders(case.risk)]
Benchmark = Callable[..., None]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Benchmark:
    """python -m scripts.benchmark, inside this process."""

    def benchmark(*words: str) -> None:
        monkeypatch.setattr(sys, "argv", [SCRIPT, *words])
        runpy.run_module(SCRIPT, run_name="__main__")

    return benchmark


def ready(problem: Problem, name: str) -> Training:
    try:
        return contenders(problem.case.risk)[name](problem)
    except Unavailable as error:
        pytest.skip(str(error))


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


# --- Everyone trains the same thing -----------------------------------------------------------


@pytest.mark.quick(3)
@pytest.mark.parametrize(("case", "name"), EVERYONE, ids=lambda x: getattr(x, "name", x))
def test_the_weights_agree(case: Case, name: str) -> None:
    """After 20 steps in which they have moved by half their size, and again from the start."""
    problem = make_problem(case, lr=0.1)
    one, ours = ready(problem, name), ready(problem, "reludyn eager")
    for training in (one, ours):
        training.start()
        training.advance(20)
    assert one.replicas == case.replicas
    assert [x.shape for x in one.weights()] == [problem.W.shape, problem.V.shape]
    assert difference(one, ours) < 1e-9
    assert np.abs(ours.weights()[0] - problem.W).max() > 0.5 * np.abs(problem.W).max()
    before = one.weights()
    one.start()
    one.advance(13)
    one.advance(7)
    for a, b in zip(before, one.weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("case", QUICK, ids=lambda case: case.name)
def test_a_step_goes_down_the_gradient_of_the_risk(case: Case) -> None:
    """The initial weights and the data are those of the seeds: one step by finite differences of
    the loss, of each replica alone."""
    problem = make_problem(case, lr=1e-3)
    training = Autograd(problem)
    training.advance(1)
    W, _ = training.weights()
    for replica in range(case.replicas):
        i, j, h = 1, case.d // 2, 1e-6
        sides = []
        for sign in (1, -1):
            moved = problem.W[replica].copy()
            moved[i, j] += sign * h
            sides.append(loss(problem, moved, problem.V[replica], replica))
        slope = (sides[0] - sides[1]) / (2 * h)
        step = problem.W[replica, i, j] - W[replica, i, j]
        assert step == pytest.approx(1e-3 * slope, rel=1e-5, abs=1e-12)


def loss(problem: Problem, W: Array, V: Array, replica: int) -> float:
    """By the definition for samples; for the population by the odd/even split."""
    if problem.case.n is not None:
        X, Y = problem.data_of(replica)
        return float(np.square(np.maximum(X @ W.T, 0) @ V.T - Y).sum() / (2 * len(X)))
    (A,) = problem.data_of(replica)
    norm = np.linalg.norm(W, axis=1)
    cosine = np.clip(W @ W.T / np.outer(norm, norm), -1, 1)
    J = np.outer(norm, norm) * (np.sqrt(1 - cosine**2) + np.arcsin(cosine) * cosine) * 2 / np.pi
    return float(np.square(A - V @ W / 2).sum() / 2 + ((V.T @ V) * J).sum() / 8)


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """This project takes part with its plain engine alone."""
    monkeypatch.setattr(Compiled, "available", False)


@pytest.mark.usefixtures("no_compiler")
def test_another_trajectory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    everyone = contenders("population")

    def faster(problem: Problem) -> Training:
        return everyone["vmap"](replace(problem, lr=1.001 * problem.lr))

    monkeypatch.setattr(run, "contenders", lambda _: everyone | {"vmap": faster})
    with pytest.raises(run.Disagreement, match=r"population,2,1,1: after 20 .*: vmap by \d.\de-"):
        run.measure(QUICK[0], CEILINGS, 1, 1e-6)


# --- Work and times ---------------------------------------------------------------------------


@pytest.mark.parametrize("case", [c for c in QUICK if c.n], ids=lambda case: case.name)
def test_products_of_samples_are_counted(case: Case) -> None:
    """PyTorch counts those that autograd makes; relu, its mask, E and the update come on top."""
    assert case.n is not None
    training = Autograd(make_problem(case, lr=0.1))
    with FlopCounterMode(display=False) as counter:
        training.advance(1)
    k, r, d, n = case.k, case.r, case.d, case.n
    beside = n * (2 * k + r) + 2 * k * (d + r)
    assert counter.get_total_flops() == case.replicas * (case.flops - beside)


def test_the_work_of_a_population_step() -> None:
    """k = 2, r = 1, m = 3 by hand: W W^T and (S C) W 24 each, V^T V and V J 8 each, three products
    with V or E 12 each, 4 pairs of 14, 16 for the update; 8 weights read and written."""
    case = Case(2, 1, 100, 1)
    assert case.flops == 2 * 24 + 2 * 8 + 3 * 12 + 4 * 14 + 16
    assert case.bytes == 2 * 8 * 8


def test_samples_are_read_once_by_all_who_share_them() -> None:
    one, shared, own = (
        Case(2, 1, 100, R, 1600, mine) for R, mine in ((1, False), (50, False), (50, True))
    )
    assert one.bytes == own.bytes == 8 * 1600 * 101 + 16 * 202
    assert shared.bytes == 8 * 1600 * 101 / 50 + 16 * 202
    assert (own.sample_bytes, shared.sample_bytes) == (50 * 8 * 1600 * 101, 8 * 1600 * 101)


class Clocked:
    """Trains in no time and says that a step takes so long, and the first one ten times as long."""

    replicas = 4

    def __init__(self, step: float) -> None:
        self.now, self.step, self.turns = 0.0, step, 0

    def start(self) -> None:
        self.now += 5.0  # not timed

    def advance(self, steps: int) -> None:
        self.now += self.step * (steps + 9 * (self.turns == 0))
        self.turns += 1

    def weights(self) -> tuple[Array, Array]:
        return np.zeros(0), np.zeros(0)


@pytest.mark.parametrize("step", [1e-7, 1e-5, 1e-3, 3.0])
def test_nanoseconds_of_a_step_of_a_run(step: float, monkeypatch: pytest.MonkeyPatch) -> None:
    training = Clocked(step)
    monkeypatch.setattr(timing.time, "perf_counter", lambda: training.now)
    times = timing.interleave({"it": training}, repeats=7, seconds=0.2)["it"]
    assert len(times.seconds) == 7
    assert times.nanoseconds == pytest.approx(1e9 * step / 4, rel=1e-6)
    assert times.fastest == pytest.approx(times.nanoseconds, rel=1e-6)
    assert times.steps == timing.MOST or 0.2 <= times.steps * step < 0.4 or times.steps == 1


def test_turns_are_taken() -> None:
    order: list[str] = []

    class Named(Clocked):
        def __init__(self, name: str) -> None:
            super().__init__(1.0)
            self.name = name

        def advance(self, steps: int) -> None:
            order.append(self.name)

    timing.interleave({"a": Named("a"), "b": Named("b")}, repeats=3, seconds=0.0)
    assert order[-6:] == ["a", "b"] * 3


# --- Files ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_short_form_writes_all_files(tmp_path: Path, command: Benchmark) -> None:
    command("--quick", "--output", str(tmp_path))
    names = {"table.md", "table.csv", "roofline.png", "roofline.pdf", "machine.json"}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert (tmp_path / "roofline.png").read_bytes().startswith(b"\x89PNG")
    rows = read(tmp_path / "table.csv")
    assert [(row["case"], row["contender"]) for row in rows] == [(c.name, n) for c, n in EVERYONE]
    page = (tmp_path / "table.md").read_text()
    for row in rows:
        assert list(row) == [field.name for field in fields(Row)]
        absent = {"n", "of_reading"} if row["risk"] == "population" else set()
        if row["note"]:
            assert row["note"].startswith("skipped: ")
            continue
        assert {name for name, value in row.items() if not value} == absent | {"note"}
        assert float(row["ns"]) >= float(row["ns_fastest"]) > 0
        assert float(row["gflops"]) == pytest.approx(int(row["flops"]) / float(row["ns"]))
        assert f"| {row['contender']} | {float(row['gflops']):.3g} |" in page
    ours = {row["case"]: float(row["ratio"]) for row in rows if not row["note"]}  # the last
    assert set(ours.values()) == {1.0}
    machine = json.loads((tmp_path / "machine.json").read_text())
    assert machine["threads"] >= 1
    assert machine["gflops"] > 0 < machine["gbytes"]
    assert set(describe()) < set(machine)


@pytest.mark.usefixtures("no_compiler")
def test_without_jax(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(jax_scan, "jax", None)
    rows = run.benchmark(tmp_path, QUICK[:1], CEILINGS, 1, 1e-6, 0.1, say=lambda _: None)
    notes = {row.contender: row.note for row in rows if row.contender != "reludyn compiled"}
    missing = "skipped: jax is not installed: pip install 'reludyn[bench]'"
    assert notes == {
        "autograd": "",
        "vmap": "",
        "jax matmul": missing,
        "jax pairs": missing,
        "reludyn eager": "",
    }
    assert f"| {missing} |" in (tmp_path / "table.md").read_text()
    assert (tmp_path / "roofline.png").exists()


@pytest.mark.usefixtures("no_compiler")
def test_without_a_compiler() -> None:
    """What has gone on eagerly is not shown as compiled; the others are compared with eager."""
    rows = {row.contender: row for row in run.measure(QUICK[0], CEILINGS, 1, 1e-6)}
    assert rows["reludyn compiled"].note == "skipped: this machine cannot compile"
    assert rows["reludyn eager"].ratio == 1


def test_what_does_not_fit_is_skipped() -> None:
    case = Case(1000, 1, 100, 100, 10**8)
    rows = run.measure(case, CEILINGS, 1, 0.1)
    assert [row.contender for row in rows] == list(contenders("empirical"))
    assert {row.note for row in rows} == {
        f"skipped: needs about {case.memory / 2**30:,.0f} GiB of memory"
    }
    assert all(row.ns is None for row in rows)


# --- The command ------------------------------------------------------------------------------


@pytest.mark.parametrize("case", STANDARD + QUICK, ids=lambda case: case.name)
def test_a_case_is_read_by_its_name(case: Case) -> None:
    (known,) = parse_case(case.name)
    assert replace(known, d=case.d) == case
    assert case.d == known.d or case in QUICK


def test_all_cases_of_a_risk() -> None:
    assert parse_case("population") + parse_case("empirical") == STANDARD


@pytest.mark.parametrize(
    "words",
    [
        ["--cases", "populaton,2,1,5"],
        ["--cases", "population,2,1"],
        ["--cases", "own"],
        ["--cases", "population,2,0,5"],
        ["--cases", "population,2,1,5,own"],
        ["--cases", "empirical,10,5,2,own"],
        ["--cases", "empirical,10,5,x,3"],
        ["--cases"],
        ["--quik"],
        ["quick"],
        ["--repeats", "0"],
        ["--seconds", "-1"],
        ["--seconds", "soon"],
    ],
    ids=" ".join,
)
def test_a_typo_gives_one_line(words: list[str], command: Benchmark) -> None:
    with pytest.raises(SystemExit, match=r"\Abenchmark: error: [^\n]+\Z") as stopped:
        command(*words)
    assert words[-1] in str(stopped.value)


def test_what_a_run_refuses_gives_one_line(
    command: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Case, "fits", lambda _: True)
    with pytest.raises(SystemExit, match=r"\Abenchmark: error: data.samples=.*GiB[^\n]*\Z"):
        command("--quick", "--output", str(tmp_path), "--cases", f"empirical,{10**11},9,1,1")
