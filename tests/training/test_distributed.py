"""One run on several processes: the trajectory of one, and a clear end where a rank dies."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import reludyn as package
from reludyn import cli
from reludyn.config.compose import configure
from reludyn.data.laws import InputLaw
from reludyn.data.layouts import Resident
from reludyn.data.samples import BLOCK, Source, Streamed
from reludyn.data.shares import share
from reludyn.experiment import torchrun
from reludyn.experiment.memory import estimate
from reludyn.network.activation import LeakyReLU
from reludyn.network.teacher import axis_teacher, random_teacher
from reludyn.risk import EmpiricalRisk
from reludyn.risk.sharded import ShardedRisk
from reludyn.system.launch import Launch, launched
from reludyn.training import distributed
from reludyn.training.distributed import ALONE
from tests.support.commands import COMMAND, Command, Finished, refused
from tests.support.parts import drawn, sampled
from tests.support.ranks import SIZE, STREAM, on_ranks

CPU64 = torch.device("cpu"), torch.float64


# --- Shares -----------------------------------------------------------------------------------


@given(st.integers(0, 10**12), st.integers(1, 5000), st.integers(1, 40))
def test_shares_cover_all_rows_in_whole_units(n: int, unit: int, size: int) -> None:
    shares = [share(n, unit, rank, size) for rank in range(size)]
    assert (shares[0].start, shares[-1].stop) == (0, n)
    assert all(a.stop == b.start for a, b in pairwise(shares))
    assert all(rows.start % unit == 0 for rows in shares if rows)
    units = [-(-len(rows) // unit) for rows in shares]
    assert units == sorted(units, reverse=True)
    assert units[0] - units[-1] <= 1


@pytest.mark.parametrize("n", [0, 1, BLOCK, 3 * BLOCK + 77])
def test_the_rows_of_all_shares_are_those_of_one_rank(n: int) -> None:
    source = Source(random_teacher(2, 3), InputLaw(), (0, 5), 0.2)
    whole = source.draw(n)
    for size in (2, 3, 7):
        shares = [share(n, BLOCK, rank, size) for rank in range(size)]
        held = [source.draw(len(rows), "tiles", rows.start) for rows in shares]
        held = [Resident(*next(iter(one.chunks(n + 16)))) for one in held]
        assert torch.equal(torch.cat([one.X for one in held], 1), whole.X)
        assert torch.equal(torch.cat([one.Y for one in held], 1), whole.Y)
        streams = (Streamed(source, len(rows), *CPU64, first=rows.start) for rows in shares)
        chunks = [chunk for stream in streams for chunk in stream.chunks(1000)]
        assert torch.equal(torch.cat([X for X, _ in chunks], 1), whole.X)


def test_a_share_of_held_rows_is_all_that_is_kept() -> None:
    rows = Resident(torch.randn(2, 50, 3), torch.randn(2, 50, 1))
    part = rows.part(range(20, 35))
    assert torch.equal(part.X, rows.X[:, 20:35])
    assert part.X.untyped_storage().nbytes() == 4 * 2 * 15 * 3
    assert rows.part(range(50)) is rows


# --- Sums -------------------------------------------------------------------------------------


def shards(X: torch.Tensor, Y: torch.Tensor, size: int) -> tuple[list[ShardedRisk], list]:
    """The risks of all ranks, and what each asks to be completed."""
    asked: list[torch.Tensor] = []
    n, risks = X.shape[1], []
    for rank in range(size):
        rows = Resident(X, Y).part(share(n, 16, rank, size))
        risks.append(ShardedRisk(rows, n, lambda x: asked.append(x.clone()), LeakyReLU(0.2)))
    return risks, asked


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("size", [2, 3, 6])  # of 50 rows in units of 16, two ranks get none
def test_sums_of_shares_add_up(own: bool, size: int) -> None:
    """Value, gradient, parts, switched and resolution: one flat sum each, that of all rows."""
    X, Y = sampled(axis_teacher(2, 3), 50, (3, 4) if own else (3,), noise=0.1)
    after = drawn("theorem", [0, 1], 4, 3, 2, 1.0)
    before = drawn("balanced", [0, 1], 4, 3, 2, 1.0)
    n, whole, (risks, asked) = 50, EmpiricalRisk(Resident(X, Y), LeakyReLU(0.2)), shards(X, Y, size)

    def total(ask: Callable[[ShardedRisk], object]) -> torch.Tensor:
        asked.clear()
        for risk in risks:
            ask(risk)
        assert len(asked) == size
        return torch.stack(asked).sum(0)

    value, gradient = whole.evaluate(after)
    expected = torch.cat([2 * n * value, n * gradient.W.flatten(), n * gradient.V.flatten()])
    exact = {"rtol": 1e-13, "atol": 1e-14}
    torch.testing.assert_close(total(lambda risk: risk.evaluate(after)), expected, **exact)
    parts = 2 * n * torch.cat(whole.loss(after))
    torch.testing.assert_close(total(lambda risk: risk.loss(after)), parts, **exact)
    switched = total(lambda risk: risk.switched(before, after))
    assert torch.equal(switched, (n * whole.switched(before, after)).round().long().flatten())
    squares = total(lambda risk: risk.resolution)
    eps = torch.finfo(torch.float64).eps
    assert 16 * eps**2 * float(squares) / (len(X) * n) == pytest.approx(whole.resolution)
    one = total(lambda risk: risk.select(torch.tensor([1])).loss(after.map(lambda x: x[1:])))
    torch.testing.assert_close(one, parts.view(3, 2)[:, 1], **exact)


def test_replicas_go_together_whatever_the_share() -> None:
    """Ranks whose samples fit into a cache differently must not ask in different orders."""
    X, Y = sampled(axis_teacher(1, 3), 40, (3, 4))
    risks, _ = shards(X, Y, 2)
    assert {risk.group for risk in risks} == {sys.maxsize}
    assert not any(risk.fixed for risk in risks)


# --- What is refused, what is known beforehand ------------------------------------------------


@pytest.fixture
def two_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if torchrun had started this process, up to where it would meet the other one."""
    monkeypatch.setattr(cli, "launched", lambda: Launch(0, 2, 0, 2))
    monkeypatch.setattr(torchrun, "lead_or_follow", lambda _, command: command(ALONE))


@pytest.mark.usefixtures("two_ranks")
@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        ("", "data=population: must be stream, gaussian, file or digits with 2 ranks"),
        ("data=gaussian optimizer=sgd", "optimizer=sgd: must be a full-batch one with 2 ranks"),
        ("data=stream data.fresh=true", "data.fresh=true: must be false with 2 ranks"),
        ("-m data=stream seed=1,2", "hydra.mode=MULTIRUN: must be RUN with 2 ranks"),
    ],
)
def test_what_ranks_cannot_share_is_refused(reludyn: Command, overrides: str, line: str) -> None:
    said = refused(reludyn(*overrides.split()))
    assert said.startswith(line)
    assert "Start one" in said or "start one" in said


def test_the_place_of_a_process_is_what_torchrun_says(monkeypatch: pytest.MonkeyPatch) -> None:
    assert launched() == Launch()
    monkeypatch.setenv("WORLD_SIZE", "8")  # of another program
    assert launched() == Launch()
    known = {"RANK": "5", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4", "MASTER_PORT": "1"}
    for name, value in (known | {"MASTER_ADDR": "127.0.0.1"}).items():
        monkeypatch.setenv(name, value)
    assert launched() == Launch(5, 8, 1, 4)
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert launched() == Launch()


@pytest.fixture
def left_over(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Variables of a torchrun that is no more, as an interactive shell may have them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    known = {"RANK": "0", "WORLD_SIZE": "3", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    for name, value in known.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.mark.parametrize("option", ["--help", "--version", "--cfg=job", "--hydra-help"])
def test_what_runs_nothing_waits_for_nobody(
    reludyn: Command, left_over: pytest.MonkeyPatch, option: str
) -> None:
    """It waited for other ranks, and heeded no Ctrl-C; under torchrun it is said once."""
    for rank, said in (("0", True), ("1", True)):
        left_over.setenv("RANK", rank)
        finished = reludyn(option)
        assert (finished.code, bool(finished.out)) == (0, said)
    left_over.setenv("TORCHELASTIC_RUN_ID", "one")
    assert reludyn(option).out == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rank", "whom"),
    [("0", "rank 0 of 3 waits for the others"), ("2", "rank 2 of 3 waits for rank 0")],
)
def test_a_rank_says_for_whom_it_waits(
    reludyn: Command, left_over: pytest.MonkeyPatch, rank: str, whom: str
) -> None:
    """And ends in one line once the time is over, which it has said before."""
    left_over.setenv("RANK", rank)
    left_over.setattr(distributed, "TIMEOUT", timedelta(seconds=2))
    left_over.setattr(distributed, "SILENCE", 0.1)
    finished = reludyn("data=stream")
    at = f"127.0.0.1:{os.environ['MASTER_PORT']}"
    alone = "To run alone: unset RANK WORLD_SIZE MASTER_ADDR MASTER_PORT"
    assert finished.err.startswith(f"reludyn: {whom} at {at}, for 2 seconds. {alone}\n")
    line = refused(finished)
    assert line.startswith(f"WORLD_SIZE=3: {whom} at {at}, and did not meet them in 2 seconds")
    assert line.endswith(alone)


@pytest.mark.slow
def test_a_rank_that_waits_heeds_ctrl_c(tmp_path: Path, left_over: pytest.MonkeyPatch) -> None:
    """The library in which it waits runs no handler."""
    waiting = subprocess.Popen(
        [COMMAND, "data=stream"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    assert waiting.stderr is not None
    assert "waits for the others" in waiting.stderr.readline()
    waiting.send_signal(signal.SIGINT)
    _, said = waiting.communicate(timeout=60)
    assert (waiting.returncode, said) == (130, "reludyn: interrupted before anything was done\n")


@pytest.mark.parametrize("name", ["RANK", "WORLD_SIZE", "MASTER_PORT"])
def test_a_place_that_is_no_number_is_named(
    reludyn: Command, left_over: pytest.MonkeyPatch, name: str
) -> None:
    left_over.setenv(name, "many")
    assert refused(reludyn()).startswith(f"{name}=many: must be an integer, as torchrun sets it")


def test_ranks_share_the_memory_of_samples_and_repeat_the_rest() -> None:
    settings = configure("data=gaussian", "data.samples=1000000")
    alone, two, far = (
        estimate(settings, place) for place in (Launch(), Launch(0, 2, 0, 2), Launch(0, 2, 0, 1))
    )
    held = 8 * 101 * 10**6
    assert alone < two < alone + 2**27
    assert far == pytest.approx(alone - held / 2, rel=0.01)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As a rank has: steps are small, and threads of several tests would wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


# --- Real processes ---------------------------------------------------------------------------


def samples_file(where: Path) -> str:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((101, 6))
    np.savez(where / "samples.npz", X=X, A=np.eye(1, 6))
    return str(where / "samples.npz")


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    ("data", "size"),
    [
        (["data=stream", "data.samples=10000", "data.noise=0.01"], 2),  # two blocks, and a cut one
        (["data=gaussian", "data.samples=5000"], 3),  # the last rank has no rows
        (["data=file", "data.dim=null", "optimizer=momentum", "optimizer.lr=0.1"], 2),
    ],
)
def test_ranks_make_the_trajectory_of_one_process(
    tmp_path: Path, data: list[str], size: int
) -> None:
    if "data=file" in data:
        data = [*data, f"data.path={samples_file(tmp_path)}"]
    arguments = [*SIZE, *data]
    assert on_ranks(size, tmp_path, *arguments).code == 0
    alone, shared = package.train(*arguments), package.load_run(tmp_path / "run")
    assert shared.summary["stopped_because"] == alone.summary["stopped_because"]
    assert set(alone.arrays) == set(shared.arrays)
    for name in set(alone.arrays) - {"thinned"}:
        expected = alone.arrays[name]
        size_of = np.nanmax(np.abs(expected)) if expected.size else 0.0
        np.testing.assert_allclose(
            shared.arrays[name], expected, rtol=1e-10, atol=1e-12 * size_of, err_msg=name
        )
    np.testing.assert_allclose(shared.loss, alone.loss, rtol=1e-10, atol=0)
    assert (alone.replicas["T_growth"] > 0).any()
    for name, column in alone.replicas.items():
        if name.startswith("T_") or column.dtype.kind == "U":
            np.testing.assert_array_equal(shared.replicas[name], column)


def checkpoint_of(finished: Finished, step: int) -> None:
    """There is one, whole, of this iteration: that of one process."""
    saved = torch.load(finished.where / "run/checkpoints/last.pt", weights_only=True)
    assert saved["step"] == step
    alone = package.train(*STREAM, f"trainer.steps={step}", "trainer.looks=1")
    torch.testing.assert_close(saved["W"], alone.final.W, rtol=1e-10, atol=1e-14)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
@pytest.mark.faults
@pytest.mark.parametrize(
    ("fault", "size", "said"),
    [
        ("kill:1:12", 3, "no answer from rank 1"),
        ("kill:0:12", 2, "no answer from rank 0"),
        ("stuck:1:12", 3, "no answer from rank 1"),
        ("raise:1:12", 2, "rank 1 has failed: ValueError: no room for this"),
    ],
)
def test_a_rank_that_dies_ends_all(tmp_path: Path, fault: str, size: int, said: str) -> None:
    began = time.monotonic()
    finished = on_ranks(size, tmp_path, *STREAM, "trainer.checkpoint_steps=1", fault=fault)
    assert time.monotonic() - began < 40
    assert finished.code != 0
    (line,) = finished.errors
    assert f"{said}. The run is not complete (no DONE)" in line
    assert f"{tmp_path}/run/checkpoints/last.pt (step 11)" in line
    assert not finished.claims_success()
    checkpoint_of(finished, 11)


@pytest.mark.slow
@pytest.mark.faults
def test_ranks_whose_weights_part_are_stopped(tmp_path: Path) -> None:
    """By one bit of one weight of one replica."""
    finished = on_ranks(2, tmp_path, *STREAM, fault="drift:1:12")
    (line,) = finished.errors
    assert "at step 12 the weights of rank 1 are not those of rank 0" in line
    assert finished.code != 0
    assert not finished.claims_success()


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_an_interrupted_run_of_ranks_keeps_what_was_reached(tmp_path: Path) -> None:
    finished = on_ranks(2, tmp_path, *STREAM, fault="interrupt:0:12")
    assert finished.code != 0
    assert finished.errors == []
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert (summary["stopped_because"], summary["steps"]) == ("interrupted", 12)
    assert not (tmp_path / "run/DONE").exists()
    checkpoint_of(finished, 12)


@pytest.mark.slow
def test_a_bad_config_is_said_once(tmp_path: Path) -> None:
    """By rank 0, although all ranks meet it."""
    finished = on_ranks(3, tmp_path, *SIZE, "data=file", "data.dim=null", "data.path=absent.npz")
    (line,) = finished.errors
    assert line.startswith(f"reludyn: error: data.path={tmp_path}/absent.npz: ")
    assert finished.code != 0
    assert not finished.claims_success()
