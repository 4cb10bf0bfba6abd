"""Interruptions and used folders: nothing is lost, overwritten or half written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import QUICK, Finished, contents, reludyn_in
from numpy.typing import NDArray

from reludyn.files import atomic
from reludyn.recording import run_files
from reludyn.recording.look import Observer
from reludyn.recording.trajectory import Trajectory
from reludyn.training.engine import Engine

Command = Callable[..., Finished]
Arrays = dict[str, NDArray[Any]]


# --- Interruption -----------------------------------------------------------------------------


def interrupt(
    monkeypatch: pytest.MonkeyPatch, owner: object, name: str, call: int, error: BaseException
) -> None:
    """The call-th call of owner.name raises."""
    original, calls = getattr(owner, name), iter(range(1, 10**9))

    def method(*arguments: object) -> object:
        if next(calls) == call:
            raise error
        return original(*arguments)

    monkeypatch.setattr(owner, name, method)


PLACES = {
    "in a step": (Engine, "advance", 4),
    "in a look": (Observer, "look", 5),
    "while recording": (Trajectory, "record", 5),
}


@pytest.mark.parametrize("place", PLACES)
def test_an_interrupted_run_keeps_what_was_reached(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    interrupt(monkeypatch, *PLACES[place], KeyboardInterrupt())
    finished = reludyn("figures=false", "logger=none")
    assert finished.code == 130
    assert finished.summary["stopped_because"] == "interrupted"
    assert not (finished.folder / "DONE").exists()
    assert finished.arrays["step"][0] == 0
    assert len(finished.arrays["step"]) >= 4


@pytest.mark.parametrize("place", PLACES)
def test_the_files_of_an_interrupted_run_agree(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    interrupt(monkeypatch, *PLACES[place], KeyboardInterrupt())
    finished = reludyn("figures=false", "logger=none")
    saved = torch.load(finished.folder / "checkpoints" / "last.pt", weights_only=True)
    last = finished.arrays["step"][-1]
    assert (last, last) == (finished.summary["steps"], saved["steps"].item())
    assert float(finished.rows[0]["loss"]) == finished.arrays["loss"][-1, 0]


def test_an_interruption_at_the_end_is_not_one_before_training(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(monkeypatch, run_files, "write_json", 1, KeyboardInterrupt())
    finished = reludyn(*QUICK)
    assert finished.code == 130
    assert not finished.claims_success()
    assert "before training" not in finished.err


def test_an_interrupted_sweep_stops(reludyn: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt(monkeypatch, Engine, "advance", 7, KeyboardInterrupt())
    finished = reludyn("-m", *QUICK, "seed=0,1,2")
    assert finished.code == 130
    assert [(folder / "DONE").exists() for folder in finished.folders] == [True, False]


def test_a_run_that_fails_does_not_claim_success(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    interrupt(monkeypatch, Engine, "advance", 2, RuntimeError("broken"))
    with pytest.raises(RuntimeError, match="broken"):
        reludyn(*QUICK)
    assert not list(tmp_path.rglob("DONE"))
    assert not list(tmp_path.rglob("summary.json"))


# --- Nothing is overwritten, nothing is half written ------------------------------------------


def test_a_second_run_in_the_same_folder_is_refused(reludyn: Command) -> None:
    reludyn_in(reludyn, "here", "seed=0")
    second = reludyn_in(reludyn, "here", "seed=1")
    assert second.code == 2
    (line,) = second.errors
    assert "hydra.run.dir=" in line


@pytest.mark.parametrize("folder", ["here", "${name}"])
def test_a_refused_run_leaves_the_first_as_it_was(reludyn: Command, folder: str) -> None:
    first = reludyn(*QUICK, f"hydra.run.dir={folder}", "seed=0")
    before = contents(first.folder)
    assert reludyn(*QUICK, f"hydra.run.dir={folder}", "seed=1").code == 2
    assert contents(first.folder) == before


def test_a_refused_sweep_leaves_the_first_as_it_was(reludyn: Command) -> None:
    first = reludyn("-m", *QUICK, "hydra.sweep.dir=here", "seed=0,1")
    before = contents(first.where / "here")
    assert reludyn("-m", *QUICK, "hydra.sweep.dir=here", "seed=2,3").code == 2
    assert contents(first.where / "here") == before


def test_a_file_appears_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    with atomic(path) as file:
        file.write(b"whole")
        assert not path.exists()
    assert path.read_bytes() == b"whole"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_file_that_fails_leaves_the_old_one(tmp_path: Path, error: type) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail_half_way() -> None:
        with atomic(path) as file:
            file.write(b"new")
            raise error

    with pytest.raises(error):
        fail_half_way()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
