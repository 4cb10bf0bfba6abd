"""Checkpoints: an interrupted run that goes on leaves what one that was not interrupted leaves, to
the last bit; anything else is refused."""

from __future__ import annotations

import json
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import reference
import torch
from boards import events
from conftest import Finished, contents, run_command
from test_distributed import STREAM, on_ranks
from test_interruption import interrupt

from reludyn import cost, load_run, train
from reludyn.errors import ConfigError
from reludyn.training import checkpoint as checkpoint_file
from reludyn.training.checkpoint import (
    Checkpoint,
    Checkpoints,
    Unreadable,
    dumped,
    load_checkpoint,
    loaded,
)
from reludyn.training.compiled import CompiledEngine
from reludyn.training.engine import Engine
from reludyn.training.schedule import look_steps, stretch_ends

Command = Callable[..., Finished]
FEW = ("figures=false", "trainer.looks=12", "trainer.tolerance=0", "init.scale=0.1")
KINDS = {
    "gd": "trainer.steps=90 trainer.engine=eager theory.bounds=true theory.spectrum=true",
    "a batch that stops one by one": "replicas=5 model.width=3 init.signs=random trainer.steps=300 "
    "trainer.tolerance=1e-4 data.dim=6 init.scale=0.5 trainer.engine=eager",
    "momentum": "optimizer=momentum optimizer.lr=0.05 trainer.steps=80",
    "adam": "optimizer=adam optimizer.lr=0.01 optimizer.schedule=cosine optimizer.warmup=9 "
    "trainer.steps=80 replicas=2 data.dim=5",
    "mini-batches": "data=gaussian data.samples=50 data.dim=5 optimizer=sgd optimizer.batch=8 "
    "optimizer.momentum=0.9 optimizer.lr=0.02 trainer.steps=80 replicas=2",
    "samples": "data=gaussian data.samples=60 data.dim=4 replicas=3 trainer.steps=80",
    "stream": "data=stream data.samples=50 data.dim=4 trainer.steps=60 replicas=2",
    "fresh samples": "data=stream data.fresh=true data.samples=9 data.dim=4 trainer.steps=60 "
    "trainer.observables=full",
    "gradient flow": "optimizer=gradient_flow trainer.steps=60 optimizer.rtol=1e-6",
    "compiled": "trainer.engine=compiled trainer.steps=90 replicas=3 trainer.tolerance=1e-2",
    "compiled, samples": "trainer.engine=compiled data=gaussian data.samples=90 data.dim=4 "
    "trainer.steps=90 replicas=2 trainer.tolerance=1e-3",
    "two outputs, float32": "data.outputs=2 init.signs=random model.width=4 data.dim=8 "
    "precision=float32 trainer.steps=90 replicas=2",
}


@pytest.fixture(autouse=True)
def short_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of four iterations or so, so that there are some between two looks."""
    monkeypatch.setattr(cost, "EAGER", 4e-4)
    monkeypatch.setattr(cost, "COMPILED", 4e-4)


def told(folder: Path) -> dict[str, list[Any]]:
    """Of each event file what is not of a moment: steps, tags and numbers, in order."""
    found = {}
    for path in sorted(folder.rglob("events.*")):
        found[str(path.parent.relative_to(folder))] = [
            (event.step, value.tag, value.simple_value, list(value.tensor.float_val))
            for event in events(path.parent)
            for value in event.summary.value
            if not value.tag.startswith(("about/", "_hparams_", "custom_scalars"))
        ]
    return found


def same(whole: Finished, folder: Path) -> None:
    """A run that went on in a folder left what `whole` left."""
    with np.load(folder / "trajectory.npz") as file:
        assert set(file.files) == set(whole.arrays)
        for name, x in whole.arrays.items():
            np.testing.assert_array_equal(file[name], x, err_msg=name, strict=True)
    for name in ("replicas.csv", "bounds.csv", "DONE"):
        if (whole.folder / name).exists():
            assert (folder / name).read_bytes() == (whole.folder / name).read_bytes()
    assert told(folder / "tensorboard") == told(whole.folder / "tensorboard")
    summaries = [json.loads((f / "summary.json").read_text()) for f in (whole.folder, folder)]
    for summary in summaries:
        assert summary.pop("wall_seconds") > 0
    assert summaries[0] == summaries[1]
    saved = [
        torch.load(f / "checkpoints/last.pt", weights_only=True) for f in (whole.folder, folder)
    ]
    assert equal({**saved[0], "seen": None}, {**saved[1], "seen": None})


def equal(a: Any, b: Any) -> bool:
    """Nested values, to the last bit."""
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return set(a) == set(b) and all(equal(a[name], b[name]) for name in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(equal, a, b))
    return bool(a == b)


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

SHORT = [*FEW, *KINDS["gd"].split()[:2]]
CRASH = RuntimeError("the machine is gone")


def crashed(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch, folder: str, *overrides: str, call: int = 14
) -> None:
    """A run that ended without a word in its call-th stretch; a checkpoint is some stretches old,
    events have gone on."""
    words = [*SHORT, "trainer.checkpoint_steps=12", f"hydra.run.dir={folder}", *overrides]
    with monkeypatch.context() as patch:
        interrupt(patch, Engine, "advance", call, CRASH)
        with pytest.raises(RuntimeError, match="is gone"):
            reludyn(*words)


def refused(finished: Finished) -> str:
    """The one line with which a command ended that did nothing."""
    (line,) = finished.errors
    assert finished.code == 2
    assert "Traceback" not in finished.out + finished.err
    return line.removeprefix("reludyn: error: ")


def whole_run(reludyn: Command, *overrides: str) -> Finished:
    ended = reludyn(*SHORT, "trainer.checkpoint_steps=12", "hydra.run.dir=whole", *overrides)
    return Finished(ended.code, ended.out, ended.err, ended.where / "whole")


def test_a_crashed_run_goes_on_from_its_last_checkpoint(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    crashed(reludyn, monkeypatch, "outputs/one")
    assert {path.name for path in (tmp_path / "outputs/one").iterdir()} == {
        ".hydra", "reludyn.log", "checkpoints", "tensorboard"
    }  # fmt: skip
    saved = torch.load(tmp_path / "outputs/one/checkpoints/last.pt", weights_only=True)
    assert 12 <= saved["step"] < 32
    assert reludyn("resume=latest").code == 0
    same(whole_run(reludyn), tmp_path / "outputs/one")


def test_a_run_goes_on_somewhere_else(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With the curves of the earlier part, which stays as it was."""
    crashed(reludyn, monkeypatch, "one")
    before = contents(tmp_path / "one")
    assert reludyn("resume=one/checkpoints/last.pt", "hydra.run.dir=other").code == 0
    assert contents(tmp_path / "one") == before
    same(whole_run(reludyn), tmp_path / "other")


def test_a_command_that_is_repeated_goes_on_by_itself(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """resume=auto, as in a job that a scheduler puts back into its queue."""
    auto = ("resume=auto", "trainer.checkpoint_steps=12", "hydra.run.dir=one")
    crashed(reludyn, monkeypatch, "one", "resume=auto")
    assert reludyn(*SHORT, *auto).code == 0
    whole = whole_run(reludyn)
    same(whole, tmp_path / "one")
    said = refused(reludyn(*SHORT, *auto))
    assert said.startswith("hydra.run.dir=one: must be a folder without an earlier run")
    assert "needs a folder of its own" in refused(reludyn(*SHORT, "resume=auto"))


def test_a_command_that_is_repeated_begins_anew_where_nothing_was_saved(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    crashed(reludyn, monkeypatch, "one", "resume=auto", call=3)
    assert (tmp_path / "one" / "tensorboard").exists()
    words = (*SHORT, "trainer.checkpoint_steps=12", "hydra.run.dir=one")
    assert "it has tensorboard" in refused(reludyn(*words))
    assert reludyn(*words, "resume=auto").code == 0
    same(whole_run(reludyn), tmp_path / "one")


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


# --- What is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("optimizer.lr=0.2 model.width=3", "resume=one/checkpoints/last.pt: the run had another "
         "config: model.width is 2 there, 3 here; optimizer.lr is 0.1 there, 0.2 here. Leave them "
         "as they were"),
        ("optimizer.lr=0.2", "optimizer.lr is 0.1 there, 0.2 here. Leave them as they were, or add "
         "resume_allow=[optimizer.lr]"),
        ("optimizer.lr=0.2 trainer.steps=99 resume_allow=[optimizer.lr]", "another config: "
         "trainer.steps is 90 there, 99 here. Leave them as they were, or add "
         "resume_allow=[optimizer.lr,trainer.steps]"),
        ("model.width=3 resume_allow=[model.width]", "resume_allow=model.width: cannot change in a "
         "run that goes on; these can: optimizer.lr, trainer.steps"),
        ("seed=4", "seed is 0 there, 4 here"),
        ("optimizer=adam", "optimizer.name is gd there, adam here"),
        ("-m seed=1,2", "resume=one: must be null with -m"),
    ],
)  # fmt: skip
def test_another_config_is_refused(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: str, said: str
) -> None:
    crashed(reludyn, monkeypatch, "one")
    before = contents(tmp_path / "one" / "checkpoints")
    assert said in refused(reludyn("resume=one", *words.split()))
    assert contents(tmp_path / "one" / "checkpoints") == before
    assert reludyn("resume=one").code == 0


@pytest.mark.parametrize(
    ("kind", "key"),
    [("momentum", "optimizer.lr=0.01"), ("adam", "trainer.steps=99"), ("gd", "optimizer.lr=0.2")],
)
def test_what_the_memory_or_a_lemma_knows_cannot_change(
    reludyn: Command, kind: str, key: str
) -> None:
    overrides = [*FEW, *KINDS[kind].split(), "hydra.run.dir=one", "trainer.max_seconds=1e-9"]
    reludyn(*overrides)
    name = key.partition("=")[0]
    said = refused(reludyn("resume=one", key, f"resume_allow=[{name}]", "hydra.run.dir=two"))
    assert said.startswith(f"resume_allow={name}: ")
    assert said.endswith("Leave it as it was")


@pytest.mark.parametrize("path", ["latest", "absent", "outputs"])
def test_what_is_not_there_is_refused(reludyn: Command, tmp_path: Path, path: str) -> None:
    (tmp_path / "outputs").mkdir()
    assert refused(reludyn(f"resume={path}")).startswith(f"resume={path}: ")


def test_a_complete_run_is_refused(reludyn: Command, tmp_path: Path) -> None:
    whole_run(reludyn)
    before = contents(tmp_path)
    said = refused(reludyn("resume=whole", "hydra.run.dir=other"))
    assert said.startswith("resume=whole/checkpoints/last.pt: the run is complete. To go on longer")
    after = contents(tmp_path)
    assert {name: after[name] for name in before} == before


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    where = tmp_path_factory.mktemp("checkpoint")
    run_command(where, *FEW, *KINDS["adam"].split(), "hydra.run.dir=run", "logger=none")
    return (where / "run/checkpoints/last.pt").read_bytes()


def test_a_checkpoint_that_was_cut_off_is_refused(checkpoint: bytes, tmp_path: Path) -> None:
    path = tmp_path / "cut.pt"
    for size in {*range(0, len(checkpoint), 997), len(checkpoint) - 1}:
        path.write_bytes(checkpoint[:size])
        with pytest.raises(ConfigError, match="not a whole one"):
            load_checkpoint(path)


def test_a_flipped_bit_is_noticed_or_means_nothing(checkpoint: bytes) -> None:
    """Of a name, a size, a number, a program of the pickle: never another state."""
    rng, refused, whole = np.random.default_rng(0), 0, dumped(loaded(checkpoint))
    for place in rng.integers(0, 8 * len(checkpoint), 300).tolist():
        bits = bytearray(checkpoint)
        bits[place // 8] ^= 1 << place % 8
        try:
            state = loaded(bytes(bits))
        except Unreadable:
            refused += 1
        else:
            assert dumped(state) == whole
    assert refused > 200


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "was here",))

    path = tmp_path / "evil.pt"
    for content, said in (
        ({"version": 2, "W": Evil()}, "not a checkpoint"),
        ({"version": 1}, "version 1; this reludyn reads version 2"),
        ({"version": 2}, "lacks"),
        ([1, 2], "no version"),
    ):
        torch.save(content, path)
        with pytest.raises(ConfigError, match=said):
            load_checkpoint(path)
    path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ConfigError, match="not a checkpoint"):
        load_checkpoint(path)
    assert not (tmp_path / "was here").exists()


def test_weights_that_are_not_those_of_the_config_are_refused(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A file that the config names may have changed: coordinates would mean other weights."""
    np.savez(tmp_path / "w.npz", W=np.eye(2, 5), V=np.array([[1.0, -1.0]]))
    crashed(reludyn, monkeypatch, "one", "init=explicit", f"init.path={tmp_path}/w.npz",
            "data.dim=5")  # fmt: skip
    for W in (np.eye(2, 5, 1), 2 * np.eye(2, 5)):
        np.savez(tmp_path / "w.npz", W=W, V=np.array([[1.0, -1.0]]))
        assert "path names has changed" in refused(reludyn("resume=one"))


def test_samples_that_have_changed_are_refused(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    X = np.random.default_rng(0).standard_normal((20, 3))
    np.savez(tmp_path / "x.npz", X=X, A=np.eye(1, 3))
    given = ("data=file", f"data.path={tmp_path}/x.npz", "data.dim=null", "data.outputs=null")
    crashed(reludyn, monkeypatch, "one", *given)
    X[3, 1] += 1e-3
    np.savez(tmp_path / "x.npz", X=X, A=np.eye(1, 3))
    assert "path names has changed" in refused(reludyn("resume=one"))


@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_curves_that_are_damaged_are_refused_or_begun_anew(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, damage: str
) -> None:
    crashed(reludyn, monkeypatch, "one")
    folder = tmp_path / "one" / "tensorboard"
    (events,) = (folder / "theory").glob("events.*")
    content = bytearray(events.read_bytes())
    content[len(content) // 3] ^= 4
    events.write_bytes(content if damage == "flipped" else content[: len(content) // 3])
    said = refused(reludyn("resume=one"))
    assert "the run's curves cannot go on from here" in said
    assert said.endswith("To begin them anew, move one/tensorboard away")
    assert len([*folder.rglob("events.*")]) == 2
    folder.rename(tmp_path / "away")
    again = reludyn("resume=one")
    assert again.code == 0
    assert "the curves begin here" in (tmp_path / "one/reludyn.log").read_text() + again.err
    steps = [step for step, *_ in told(folder)["."]]
    assert steps[0] > 11


# --- When checkpoints are written -------------------------------------------------------------


def test_checkpoints_are_written_at_their_cadence(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []
    original = checkpoint_file.save_checkpoint

    def noted(path: Path, made: Checkpoint) -> None:
        steps.append(made.state.step)
        original(path, made)

    monkeypatch.setattr(checkpoint_file, "save_checkpoint", noted)
    reludyn(*SHORT, "trainer.looks=500", "trainer.checkpoint_steps=25")
    assert steps == [25, 50, 75, 90]
    steps.clear()
    reludyn(*SHORT, "trainer.checkpoint_minutes=null", "hydra.run.dir=other")
    assert steps == [90]


def test_checkpoints_take_a_twentieth_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step takes a second, a checkpoint ten: every 200 seconds, where every 60 were wanted."""
    clock, saved = [0.0], []
    state = SimpleNamespace(step=0)
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])

    def save(path: Path, _: object) -> None:
        clock[0] += 10
        saved.append(state.step)

    monkeypatch.setattr(checkpoint_file, "save_checkpoint", save)
    checkpoints = Checkpoints(Path("last.pt"), lambda _: None, seconds=60.0)
    checkpoints.begin(state)
    for _ in range(700):
        state.step += 1
        clock[0] += 1
        checkpoints.follow(state)
    assert saved == [60, 260, 460, 660]


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


def test_a_job_of_a_sweep_goes_on_from_its_checkpoint(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    words = ["-m", *SHORT, "trainer.checkpoint_steps=12", "seed=3,4"]
    whole = reludyn(*words, "hydra.sweep.dir=whole")
    calls = len([*stretch_ends(look_steps(90, 12), 4, 0)])
    with monkeypatch.context() as patch:
        interrupt(patch, Engine, "advance", calls + 15, KeyboardInterrupt())
        assert reludyn(*words, "hydra.sweep.dir=parts").code == 130
    begun: list[int] = []
    original = Engine.go_on
    monkeypatch.setattr(
        Engine, "go_on", lambda self, state: begun.append(state.step) or original(self, state)
    )
    assert reludyn(*words, "hydra.sweep.dir=parts").code == whole.code == 0
    assert len(begun) == 1
    assert 12 < begun[0] < 90
    for job in "01":
        same(Finished(0, "", "", tmp_path / "whole" / job), tmp_path / "parts" / job)


def test_a_run_goes_on_in_python(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    crashed(reludyn, monkeypatch, "one")
    monkeypatch.chdir(tmp_path)
    before = contents(tmp_path)
    run = train("resume=one")
    assert contents(tmp_path) == before
    whole = whole_run(reludyn)
    for name, x in whole.arrays.items():
        np.testing.assert_array_equal(run.arrays[name], x, err_msg=name)
    with pytest.raises(ValueError, match=r"optimizer\.lr is 0\.1 there, 0\.2 here"):
        train("resume=one", "optimizer.lr=0.2")


def test_other_conditions_are_said(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    crashed(reludyn, monkeypatch, "one")
    threads = torch.get_num_threads()
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads + 1)
    assert reludyn("resume=one").code == 0
    log = (tmp_path / "one/reludyn.log").read_text()
    assert f"to rounding, not to the bit: threads is {threads} there, {threads + 1} here" in log
