"""An interrupted run that goes on leaves what an uninterrupted one leaves, to the last bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from reludyn import load_run, train
from reludyn.training.compiled_engine import CompiledEngine
from reludyn.training.engine import Engine
from reludyn.training.schedule import look_steps, stretch_ends
from tests.oracles import reference
from tests.support.boards import runs
from tests.support.commands import Command, Finished, complaint, contents, interrupt
from tests.support.ranks import STREAM, on_ranks
from tests.support.resuming import FEW, KINDS, SHORT, crashed, same, told

pytestmark = pytest.mark.usefixtures("short_stretches")


@pytest.mark.quick(2)
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_was_interrupted_twice_goes_on_to_the_last_bit(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    overrides = [*FEW, *KINDS[kind].split()]
    whole = reludyn(*overrides, "hydra.run.dir=whole")
    whole = Finished(whole.code, whole.out, whole.err, whole.where / "whole")
    folder = whole.where.parent / "parts"
    for call, words in ((7, [*overrides, "hydra.run.dir=parts"]), (4, ["resume=parts"])):
        with monkeypatch.context() as patch:
            engine = CompiledEngine if kind == "compiled" else Engine
            interrupt(patch, engine, "advance", call, KeyboardInterrupt())
            assert reludyn(*words).code == 130
        assert not (folder / "DONE").exists()
    assert reludyn("resume=parts").code == whole.code
    same(whole, folder)


# --- Crashes, and where a run goes on ---------------------------------------------------------


def test_a_crashed_run_goes_on_from_its_last_checkpoint(
    reludyn: Command, tmp_path: Path, one: Path, whole: Finished
) -> None:
    (tmp_path / "outputs").mkdir()
    one = one.rename(tmp_path / "outputs" / "one")
    assert {path.name for path in one.iterdir()} == {
        ".hydra",
        "reludyn.log",
        "checkpoints",
        "tensorboard",
    }
    saved = torch.load(one / "checkpoints/last.pt", weights_only=True)
    assert 12 <= saved["step"] < 32
    assert reludyn("resume=latest").code == 0
    same(whole, one)


def test_a_run_goes_on_somewhere_else(
    reludyn: Command, tmp_path: Path, one: Path, whole: Finished
) -> None:
    """With the curves of the earlier part, which stays as it was."""
    before = contents(one)
    assert reludyn("resume=one/checkpoints/last.pt", "hydra.run.dir=other").code == 0
    assert contents(one) == before
    same(whole, tmp_path / "other")


def test_a_command_that_is_repeated_goes_on_by_itself(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, whole: Finished
) -> None:
    """resume=auto, as in a job that a scheduler puts back into its queue."""
    auto = ("resume=auto", "trainer.checkpoint_steps=12", "hydra.run.dir=one")
    crashed(reludyn, monkeypatch, "one", "resume=auto")
    assert reludyn(*SHORT, *auto).code == 0
    same(whole, tmp_path / "one")
    said = complaint(reludyn(*SHORT, *auto))
    assert said.startswith("hydra.run.dir=one: must be a folder without an earlier run")
    assert "needs a folder of its own" in complaint(reludyn(*SHORT, "resume=auto"))


@pytest.mark.slow
@pytest.mark.parametrize("words", [(), ("resume=auto",)])
def test_a_command_that_is_repeated_begins_anew_where_nothing_was_saved(
    reludyn: Command,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    words: tuple[str, ...],
    whole: Finished,
) -> None:
    """All files are those of a run that was never killed, its events too."""
    crashed(reludyn, monkeypatch, "one", "resume=auto", call=3)
    assert (tmp_path / "one" / "tensorboard").exists()
    again = reludyn(*SHORT, "trainer.checkpoint_steps=12", "hydra.run.dir=one", *words)
    assert again.code == 0
    assert "had saved nothing when it ended: it begins anew" in again.out
    same(whole, tmp_path / "one")


@pytest.mark.slow
def test_a_complete_run_goes_on_for_longer(reludyn: Command, tmp_path: Path) -> None:
    """Somewhere else; with a look at every step it is the run that had been longer."""
    words = [*SHORT[2:], "figures=false", "trainer.looks=500"]
    reludyn(*words, "trainer.steps=40", "hydra.run.dir=short")
    reludyn(*words, "trainer.steps=70", "hydra.run.dir=long")
    before = contents(tmp_path / "short")
    more = ("trainer.steps=70", "resume_allow=[trainer.steps]")
    assert reludyn("resume=short", *more, "hydra.run.dir=more").code == 0
    assert contents(tmp_path / "short") == before
    short, long = (load_run(tmp_path / name) for name in ("more", "long"))
    for name, x in long.arrays.items():
        np.testing.assert_array_equal(short.arrays[name], x, err_msg=name)
    assert told(tmp_path / "more/tensorboard") == told(tmp_path / "long/tensorboard")
    assert short.summary["changes"] == [
        {"step": 40, "time": pytest.approx(4.0), "keys": {"trainer.steps": [40, 70]}}
    ]


@pytest.mark.quick(1)
@pytest.mark.parametrize("engine", ["eager", "compiled"])
def test_the_step_size_changes_on_the_way(reludyn: Command, tmp_path: Path, engine: str) -> None:
    """Against an independent descent from where it changed; theory, which knows one step size, is
    silent from there on, and time is the sum of the step sizes."""
    words = ["figures=false", "init.scale=0.3", "trainer.tolerance=0", "data.dim=6"]
    words += [f"trainer.engine={engine}", "trainer.looks=500"]
    reludyn(*words, "trainer.steps=30", "hydra.run.dir=one")
    more = ("resume_allow=[optimizer.lr,trainer]", "optimizer.lr=0.2", "trainer.steps=60")
    assert reludyn("resume=one", *more, "hydra.run.dir=two").code == 0
    run = load_run(tmp_path / "two")
    W, V = (run.arrays[name][30] for name in "WV")
    A = run.arrays["A"]
    Ws, Vs = reference.descend(
        W[0], V[0], lambda W, V: reference.population_gradient(W, V, A), 0.2, 30
    )
    np.testing.assert_allclose(run.arrays["W"][30:, 0], Ws, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(run.arrays["V"][30:, 0], Vs, rtol=1e-9, atol=1e-12)
    steps = run.arrays["step"]
    meant = np.where(steps <= 30, 0.1 * steps, 3 + 0.2 * (steps - 30))
    np.testing.assert_allclose(run.arrays["time"], meant, rtol=1e-14)
    known = np.isfinite(run.arrays["predicted_loss"]).all(1)
    np.testing.assert_array_equal(known, steps <= 30)
    assert np.isnan(run.replicas["predicted_T_align"]).all()
    assert reludyn("resume=two", "trainer.steps=70", more[0], "hydra.run.dir=three").code == 0
    time = load_run(tmp_path / "three").arrays["time"]
    assert time[-1] == pytest.approx(3 + 0.2 * 40, rel=1e-14)


# --- Ranks ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_of_ranks_goes_on_to_the_last_bit(tmp_path: Path) -> None:
    words = [*STREAM, "logger=tensorboard", "trainer.checkpoint_steps=8"]
    wholes = tmp_path / "whole"
    wholes.mkdir()
    assert on_ranks(2, wholes, *words).code == 0
    assert on_ranks(2, tmp_path, *words, fault="interrupt:0:12").code != 0
    again = on_ranks(2, tmp_path, "resume=run")
    assert (again.code, again.errors) == (0, [])
    same(Finished(0, "", "", wholes), tmp_path / "run")


# --- Sweeps, and in Python --------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("jobs", ["true", "false"])
def test_a_job_of_a_sweep_goes_on_from_its_checkpoint(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, jobs: str
) -> None:
    """With events of its own, and without."""
    words = ["-m", *SHORT, "trainer.checkpoint_steps=12", "seed=3,4", f"logger.jobs={jobs}"]
    whole = reludyn(*words, "hydra.sweep.dir=whole")
    calls = len([*stretch_ends(look_steps(90, 12), 4, 0)])
    with monkeypatch.context() as patch:
        interrupt(patch, Engine, "advance", calls + 15, KeyboardInterrupt())
        assert reludyn(*words, "hydra.sweep.dir=parts").code == 130
    begun: list[int] = []
    original = Engine.resume
    monkeypatch.setattr(
        Engine, "resume", lambda self, state: begun.append(state.step) or original(self, state)
    )
    assert reludyn(*words, "hydra.sweep.dir=parts").code == whole.code == 0
    assert len(begun) == 1
    assert 12 < begun[0] < 90
    for job in "01":
        same(Finished(0, "", "", tmp_path / "whole" / job), tmp_path / "parts" / job)
        assert (tmp_path / "parts" / job / "tensorboard").exists() is (jobs == "true")
    assert runs(tmp_path / "whole") == runs(tmp_path / "parts")


def test_a_job_of_a_sweep_goes_on_alone_with_events_from_there_on(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As a run of its own, which it is by then."""
    words = ["-m", *SHORT, "trainer.checkpoint_steps=12", "seed=3", "hydra.sweep.dir=sweep"]
    with monkeypatch.context() as patch:
        interrupt(patch, Engine, "advance", 14, KeyboardInterrupt())
        assert reludyn(*words).code == 130
    assert runs(tmp_path) == []
    again = reludyn("resume=sweep/0")
    assert again.code == 0
    log = (tmp_path / "sweep" / "0" / "reludyn.log").read_text()
    assert "the curves begin here" in log + again.err
    steps = [step for step, *_ in told(tmp_path / "sweep" / "0" / "tensorboard")["."]]
    assert steps[0] > 11
    assert steps[-1] == 90


@pytest.mark.usefixtures("one")
def test_a_run_goes_on_in_python(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, whole: Finished
) -> None:
    monkeypatch.chdir(tmp_path)
    before = contents(tmp_path)
    run = train("resume=one")
    assert contents(tmp_path) == before
    for name, x in whole.arrays.items():
        np.testing.assert_array_equal(run.arrays[name], x, err_msg=name)
    with pytest.raises(ValueError, match=r"optimizer\.lr is 0\.1 there, 0\.2 here"):
        train("resume=one", "optimizer.lr=0.2")


def test_other_conditions_are_said(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch, one: Path
) -> None:
    threads = torch.get_num_threads()
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads + 1)
    assert reludyn("resume=one").code == 0
    log = (one / "reludyn.log").read_text()
    assert f"to rounding, not to the bit: threads is {threads} there, {threads + 1} here" in log
