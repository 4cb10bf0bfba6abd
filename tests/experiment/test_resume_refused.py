"""What a run cannot go on from: another config, other files, damaged curves, a complete run."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.support.commands import Command, Finished, complaint, contents
from tests.support.resuming import FEW, KINDS, crashed, told

pytestmark = pytest.mark.usefixtures("short_stretches")


OTHER_CONFIGS = [
    (
        "optimizer.lr=0.2 model.width=3",
        "resume=one/checkpoints/last.pt: the run had another config: model.width is 2 "
        "there, 3 here; optimizer.lr is 0.1 there, 0.2 here. Leave them as they were",
    ),
    (
        "optimizer.lr=0.2",
        "optimizer.lr is 0.1 there, 0.2 here. Leave them as they were, or add "
        "resume_allow=[optimizer.lr]",
    ),
    (
        "optimizer.lr=0.2 trainer.steps=99 resume_allow=[optimizer.lr]",
        "another config: "
        "trainer.steps is 90 there, 99 here. Leave them as they were, or add "
        "resume_allow=[optimizer.lr,trainer.steps]",
    ),
    (
        "model.width=3 resume_allow=[model.width]",
        "resume_allow=model.width: cannot change in a "
        "run that goes on; these can: optimizer.lr, trainer.steps",
    ),
    ("seed=4", "seed is 0 there, 4 here"),
    ("optimizer=adam", "optimizer.name is gd there, adam here"),
    ("-m seed=1,2", "resume=one: must be null with -m"),
]


def test_another_config_is_refused(reludyn: Command, one: Path) -> None:
    before = contents(one / "checkpoints")
    for words, said in OTHER_CONFIGS:
        assert said in complaint(reludyn("resume=one", *words.split()))
        assert contents(one / "checkpoints") == before
    assert reludyn("resume=one").code == 0


@pytest.mark.quick(1)
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
    said = complaint(reludyn("resume=one", key, f"resume_allow=[{name}]", "hydra.run.dir=two"))
    assert said.startswith(f"resume_allow={name}: ")
    assert said.endswith("Leave it as it was")


@pytest.mark.parametrize("path", ["latest", "absent", "outputs"])
def test_what_is_not_there_is_refused(reludyn: Command, tmp_path: Path, path: str) -> None:
    (tmp_path / "outputs").mkdir()
    assert complaint(reludyn(f"resume={path}")).startswith(f"resume={path}: ")


def test_a_complete_run_is_refused(reludyn: Command, tmp_path: Path, whole: Finished) -> None:
    shutil.copytree(whole.where, tmp_path / "whole")
    before = contents(tmp_path)
    said = complaint(reludyn("resume=whole", "hydra.run.dir=other"))
    assert said.startswith("resume=whole/checkpoints/last.pt: the run is complete. To go on longer")
    after = contents(tmp_path)
    assert {name: after[name] for name in before} == before


def test_weights_that_are_not_those_of_the_config_are_refused(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A file that the config names may have changed: coordinates would mean other weights."""
    np.savez(tmp_path / "w.npz", W=np.eye(2, 5), V=np.array([[1.0, -1.0]]))
    crashed(
        reludyn, monkeypatch, "one", "init=explicit", f"init.path={tmp_path}/w.npz", "data.dim=5"
    )
    for W in (np.eye(2, 5, 1), 2 * np.eye(2, 5)):
        np.savez(tmp_path / "w.npz", W=W, V=np.array([[1.0, -1.0]]))
        assert "path names has changed" in complaint(reludyn("resume=one"))


def test_samples_that_have_changed_are_refused(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    X = np.random.default_rng(0).standard_normal((20, 3))
    np.savez(tmp_path / "x.npz", X=X, A=np.eye(1, 3))
    given = ("data=file", f"data.path={tmp_path}/x.npz", "data.dim=null", "data.outputs=null")
    crashed(reludyn, monkeypatch, "one", *given)
    X[3, 1] += 1e-3
    np.savez(tmp_path / "x.npz", X=X, A=np.eye(1, 3))
    assert "path names has changed" in complaint(reludyn("resume=one"))


@pytest.mark.quick(1)
@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_curves_that_are_damaged_are_refused_or_begun_anew(
    reludyn: Command, tmp_path: Path, one: Path, damage: str
) -> None:
    folder = one / "tensorboard"
    (events,) = folder.glob("events.*")
    content = bytearray(events.read_bytes())
    content[len(content) // 3] ^= 4
    events.write_bytes(content if damage == "flipped" else content[: len(content) // 3])
    said = complaint(reludyn("resume=one"))
    assert "the run's curves cannot go on from here" in said
    assert said.endswith("To begin them anew, move one/tensorboard away")
    assert [*folder.rglob("events.*")] == [events]
    folder.rename(tmp_path / "away")
    again = reludyn("resume=one")
    assert again.code == 0
    assert "the curves begin here" in (one / "reludyn.log").read_text() + again.err
    steps = [step for step, *_ in told(folder)["."]]
    assert steps[0] > 11
