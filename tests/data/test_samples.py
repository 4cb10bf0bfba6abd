"""Samples: rows that depend on their seed alone, chunks, streams, batches, bounded memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from reludyn.data.laws import LAWS, InputLaw
from reludyn.data.layouts import Layout, Resident
from reludyn.data.samples import BLOCK, Source, Streamed
from reludyn.network.activation import RELU, LeakyReLU
from reludyn.network.teacher import axis_teacher, random_teacher
from reludyn.risk import EmpiricalRisk, FreshSamples, MiniBatches, empirical
from tests.support.commands import Command, reludyn_in
from tests.support.parts import drawn

CPU64 = torch.device("cpu"), torch.float64


def source(
    law: str = "gaussian", d: int = 3, seeds: tuple[int, ...] = (0, 5), r: int = 1
) -> Source:
    return Source(random_teacher(r, d), InputLaw(law, 6.0), seeds, 0.2)


# --- Rows -------------------------------------------------------------------------------------


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("n", [1, 100, BLOCK, BLOCK + 1, 2 * BLOCK + 77])
def test_rows_do_not_depend_on_how_they_are_drawn(law: str, n: int) -> None:
    whole = source(law).draw(n)
    for at_once in (1 if n <= 100 else 1000, 4095, 10**9):
        pieces = list(source(law).rows(n, at_once))
        assert max(X.shape[1] for X, _ in pieces) <= at_once
        assert torch.equal(torch.cat([X for X, _ in pieces], 1), whole.X)
        assert torch.equal(torch.cat([Y for _, Y in pieces], 1), whole.Y)
    longer = source(law).draw(n + 500)
    assert torch.equal(longer.X[:, :n], whole.X)
    assert torch.equal(longer.Y[:, :n], whole.Y)


def test_rows_belong_to_their_seed_block_and_step() -> None:
    rows = source().draw(3 * BLOCK).X
    alone = source(seeds=(5,)).draw(3 * BLOCK).X
    assert torch.equal(rows[1:], alone)
    first, second, third = alone[0].split(BLOCK)
    steps = [next(source(seeds=(5,)).rows(BLOCK, BLOCK, step))[0][0] for step in range(3)]
    unseen = Source(axis_teacher(1, 3), InputLaw(), [5], purpose="test").draw(BLOCK).X[0]
    every = [first, second, third, rows[0, :BLOCK], *steps, unseen]
    for i, one in enumerate(every):
        assert abs(float(one.mean())) < 5 / (3 * BLOCK) ** 0.5
        for other in every[:i]:
            correlation = float((one * other).mean())
            assert abs(correlation) < 5 / (3 * BLOCK) ** 0.5


# --- Chunks and streams -----------------------------------------------------------------------


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("chunk", [1, 60, 700, 10**9])
def test_chunks_and_streams_give_the_same_risk(
    shared: bool, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = source(seeds=(3,) if shared else (3, 4), r=2)
    students, before = (
        drawn("theorem", [0, 1], 4, 3, 2, 1.0),
        drawn("balanced", [0, 1], 4, 3, 2, 1.0),
    )
    whole = EmpiricalRisk(rows.draw(150), LeakyReLU(0.2))
    expected, loss = whole.evaluate(students), whole.loss(students)
    switched = whole.switched(before, students)
    monkeypatch.setattr(empirical, "CHUNK", chunk)
    for samples in (rows.draw(150), Streamed(rows, 150, *CPU64)):
        risk = EmpiricalRisk(samples, LeakyReLU(0.2))
        found = risk.evaluate(students)
        exact = {"rtol": 1e-13, "atol": 1e-15}
        torch.testing.assert_close(found.loss, expected.loss, **exact)
        torch.testing.assert_close(found.gradient.W, expected.gradient.W, **exact)
        torch.testing.assert_close(found.gradient.V, expected.gradient.V, **exact)
        torch.testing.assert_close(torch.stack(risk.loss(students)), torch.stack(loss), **exact)
        assert torch.equal(risk.switched(before, students), switched)
        assert risk.resolution == pytest.approx(whole.resolution)


def test_a_streamed_run_equals_a_resident_one(reludyn: Command) -> None:
    size = ["data.dim=6", "data.samples=5000", "data.noise=0.1", "replicas=2", "init.scale=0.3"]
    runs = [
        reludyn_in(reludyn, name, f"data={name}", *size, "trainer.steps=25")
        for name in ("gaussian", "stream")
    ]
    resident, streamed = (run.arrays for run in runs)
    assert set(resident) == set(streamed)
    for name in set(resident) - {"thinned"}:
        np.testing.assert_allclose(streamed[name], resident[name], rtol=1e-12, atol=1e-14)


PEAK = """
import sys, torch
from reludyn.data.laws import InputLaw
from reludyn.data.samples import Source, Streamed
from reludyn.network.initialization import draw_students
from reludyn.risk import EmpiricalRisk
from reludyn.network.teacher import axis_teacher
kind, n = sys.argv[1], int(sys.argv[2])
teacher = axis_teacher(1, 50)
students = draw_students([0], 2, teacher, "theorem", 1.0)
source = Source(teacher, InputLaw(), [0])
risk = EmpiricalRisk(Streamed(source, n, torch.device("cpu"), torch.float64)
                     if kind == "stream" else source.draw(n))
risk.evaluate(students)
(peak,) = [x for x in open("/proc/self/status") if x.startswith("VmHWM")]
print(int(peak.split()[1]) * 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
def test_memory_is_flat_for_streams_and_bounded_beside_resident_samples() -> None:
    def peak(kind: str, n: int) -> int:
        command = [sys.executable, "-c", PEAK, kind, str(n)]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    few, many = 20_000, 1_000_000  # 8 and 400 MB
    room = 64 * 2**20
    assert peak("stream", many) - peak("stream", few) < room
    sample = 8 * 51 * (many - few)
    assert peak("resident", many) - peak("resident", few) < sample + 2 * room


# --- Batches ----------------------------------------------------------------------------------


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(("n", "batch"), [(12, 4), (13, 4), (5, 5), (7, 1)])
def test_an_epoch_of_batches_is_the_sample(shared: bool, n: int, batch: int) -> None:
    """The gradients of the batches, weighted with their sizes, add up to that of the sample."""
    sample = source(seeds=(3,) if shared else (3, 4)).draw(n)
    students = drawn("theorem", [3, 4], 2, 3, 1, 1.0)
    batches = MiniBatches(sample, batch, [3, 4], RELU)
    assert batches.period == -(-n // batch)
    whole = EmpiricalRisk(sample).evaluate(students)
    for epoch in range(2):
        sizes = [min(batch, n - b * batch) for b in range(batches.period)]
        steps = range(epoch * batches.period, (epoch + 1) * batches.period)
        found = [batches.evaluate(students, step) for step in steps]
        loss = sum(s * e.loss for s, e in zip(sizes, found, strict=True)) / n
        gradient = sum(s * e.gradient.W for s, e in zip(sizes, found, strict=True)) / n
        torch.testing.assert_close(loss, whole.loss, rtol=1e-13, atol=0)
        torch.testing.assert_close(gradient, whole.gradient.W, rtol=1e-12, atol=1e-14)


def test_batches_belong_to_their_seed_and_are_reshuffled() -> None:
    X = torch.arange(40, dtype=torch.float64).view(1, 40, 1)
    student = drawn("explicit", [0, 1], 1, 1, 1, 1.0, W=[[1.0]], V=[[1.0]], path=None)
    batches = MiniBatches(Resident(X, torch.zeros_like(X)), 1, [8, 9], RELU)

    def order(epoch: int, of: MiniBatches = batches) -> torch.Tensor:
        """The rows in the order in which they come: each has a loss of its own, x^2 / 2."""
        one = student if len(of.seeds) == 2 else student.map(lambda x: x[:1])
        losses = [of.evaluate(one, 40 * epoch + step).loss for step in range(40)]
        return (2 * torch.stack(losses)).sqrt().round().long()

    first = order(0)
    assert torch.equal(first.sort(0).values, torch.arange(40).view(40, 1).expand(40, 2))
    assert not torch.equal(first[:, 0], first[:, 1])
    assert not torch.equal(first, order(1))
    assert torch.equal(first, order(0))  # also when going back
    alone = MiniBatches(batches.samples, 1, [9], RELU)
    assert torch.equal(order(3, alone)[:, 0], order(3)[:, 1])


def test_fresh_samples_are_new_in_every_step() -> None:
    rows = Streamed(source(), 50, *CPU64)
    students = drawn("theorem", [0, 1], 2, 3, 1, 1.0)
    fresh = FreshSamples(rows, RELU)
    losses = [fresh.evaluate(students, step).loss for step in (0, 1, 2)]
    assert len({float(x) for x in torch.cat(losses)}) == 6
    assert torch.equal(fresh.evaluate(students, 1).loss, losses[1])


@pytest.mark.parametrize("layout", ["rows", "columns", "tiles"])
@pytest.mark.parametrize("n", [1, 16, 50, 129])
def test_a_layout_changes_nothing_but_the_place(layout: Layout, n: int) -> None:
    """However samples came there, and whatever the chunks; also of some replicas."""
    source = Source(axis_teacher(2, 3), InputLaw(), range(4), 0.3)
    expected, drawn = source.draw(n), source.draw(n, layout)
    for held in (drawn, expected.laid(layout), drawn.to(torch.empty(0, dtype=torch.float64))):
        assert held.n == n
        for at_once in (1, 20, 1000):
            for which, whole in enumerate((expected.X, expected.Y)):
                found = torch.cat([chunk[which] for chunk in held.chunks(at_once)], 1)
                assert torch.equal(found, whole)
        for some in ([1, 2], [0, 3], [2]):
            (chunk,) = held.select(torch.tensor(some)).chunks(n + 16)
            assert torch.equal(chunk[0], expected.X[some])
            assert torch.equal(chunk[1], expected.Y[some])
