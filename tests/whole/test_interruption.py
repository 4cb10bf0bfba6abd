"""Interruptions and used folders: nothing is lost, overwritten or half written."""

import io
import os
import shlex
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from numpy.typing import NDArray

from reludyn.experiment import write
from reludyn.figures import __main__
from reludyn.recording.console import interruption, progress
from reludyn.recording.look import Observer
from reludyn.recording.trajectory import Trajectory
from reludyn.system import signals
from reludyn.system.files import atomic
from reludyn.training import checkpoint
from reludyn.training.engine import Engine
from tests.support.commands import COMMAND, QUICK, Command, contents, interrupt, process, reludyn_in

Arrays = dict[str, NDArray[Any]]


# --- Interruption -----------------------------------------------------------------------------


PLACES = {
    "in a step": (Engine, "advance", 4),
    "in a look": (Observer, "look", 5),
    "while recording": (Trajectory, "record", 5),
}


@pytest.mark.parametrize("place", PLACES)
def test_an_interrupted_run_keeps_what_was_reached_in_files_that_agree(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    interrupt(monkeypatch, *PLACES[place], KeyboardInterrupt())
    finished = reludyn("figures=false", "logger=none")
    assert finished.code == 130
    assert finished.summary["stopped_because"] == "interrupted"
    assert not (finished.folder / "DONE").exists()
    assert finished.arrays["step"][0] == 0
    assert len(finished.arrays["step"]) >= 4
    saved = torch.load(finished.folder / "checkpoints" / "last.pt", weights_only=True)
    last = finished.arrays["step"][-1]
    assert (last, last) == (finished.summary["steps"], saved["steps"].item())
    assert float(finished.rows[0]["loss"]) == finished.arrays["loss"][-1, 0]


@pytest.mark.slow
def test_an_interrupted_run_says_what_it_does_and_what_it_has_done(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pictures are left for later: the last line is the command for them."""
    interrupt(monkeypatch, *PLACES["in a step"], KeyboardInterrupt())
    finished = reludyn("logger=none", "trainer.looks=1000")
    folder = finished.folder.relative_to(finished.where)
    first, *_, saved, resume, draw = filter(None, finished.out.splitlines())
    assert first == f"interrupted at step 3: writing what was reached to {folder}"
    names = "checkpoints/last.pt, trajectory.npz, replicas.csv, summary.json"
    assert saved == f"saved    {names} (no DONE: the run is not complete)"
    assert resume == f"resume   reludyn resume={folder}"
    assert not (finished.folder / "figures").exists()
    monkeypatch.undo()
    monkeypatch.chdir(finished.where)
    word, command, *folders = shlex.split(draw)
    assert (word, command) == ("draw", "reludyn-figures")
    __main__.main(folders)
    assert (finished.folder / "figures" / "phases.png").exists()
    assert reludyn(*shlex.split(resume)[2:]).code == 0
    assert (finished.folder / "DONE").exists()


def test_an_interruption_before_training_has_saved_nothing(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(monkeypatch, Engine, "start", 1, KeyboardInterrupt())
    finished = reludyn(*QUICK)
    assert finished.code == 130
    assert finished.err.splitlines() == ["reludyn: interrupted", "nothing was saved"]


def test_an_interruption_while_files_are_written_says_which_there_are(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(monkeypatch, write, "write_json", 1, KeyboardInterrupt())
    finished = reludyn(*QUICK)
    assert finished.code == 130
    assert not finished.claims_success()
    first, saved, resume, _ = finished.err.splitlines()
    assert first == "reludyn: interrupted"
    assert resume.startswith("resume   reludyn resume=")
    names = "checkpoints/last.pt, trajectory.npz, replicas.csv"
    assert saved == f"saved    {names} (no DONE: the run is not complete)"


@pytest.mark.parametrize("name", ["write_npz", "write_csv", "write_json"])
def test_a_second_interruption_leaves_no_half_files(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """While what had been reached is written."""
    interrupt(monkeypatch, *PLACES["in a step"], KeyboardInterrupt())
    interrupt(monkeypatch, write, name, 1, KeyboardInterrupt())
    finished = reludyn("figures=false", "logger=none")
    assert finished.code == 130
    assert not finished.claims_success()
    assert not list(finished.folder.rglob("*.part"))
    there = {str(path.relative_to(finished.folder)) for path in finished.folder.rglob("*.*")}
    for saved in interruption.SAVED:
        assert (saved in there) is (saved in finished.err)


def test_a_batch_that_is_interrupted_counts_its_jobs(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(monkeypatch, Engine, "advance", 4, KeyboardInterrupt())
    finished = reludyn("-m", "hydra/launcher=fused", *QUICK, "seed=range(3)")
    assert "interrupted at step 3: writing what was reached by 3 jobs" in finished.out


@pytest.mark.faults
def test_ctrl_c_is_answered_within_a_second(endless: subprocess.Popen[str], tmp_path: Path) -> None:
    began = time.monotonic()
    os.killpg(endless.pid, signal.SIGINT)
    assert endless.stdout
    answer = endless.stdout.readline()
    assert time.monotonic() - began < 1
    assert answer.startswith("interrupted at step ")
    assert answer.endswith(" writing what was reached to run\n")
    assert endless.wait(30) == 130
    assert (tmp_path / "run" / "summary.json").exists()
    assert not (tmp_path / "run" / "DONE").exists()


@pytest.mark.parametrize(
    ("words", "library"),
    [
        (["reludyn"], "hydra"),
        (["reludyn", *QUICK], "torch"),
        (["reludyn", "--help"], "omegaconf"),
        (["reludyn", "-m", *QUICK, "seed=1,2"], "torch"),
        (["reludyn-figures", "."], "yaml"),
    ],
)
def test_ctrl_c_while_libraries_are_imported(
    words: list[str], library: str, tmp_path: Path
) -> None:
    """One of them swallows the exception that it would be."""
    (tmp_path / f"{library}.py").write_text(
        "import os, signal, time\n"
        "try:\n    os.kill(os.getpid(), signal.SIGINT)\n    time.sleep(1)\n"
        "except BaseException: pass\n"
    )
    command = str(Path(COMMAND).with_name(words[0]))
    ended = process(command, *words[1:], where=tmp_path, PYTHONPATH=str(tmp_path))
    assert ended.stderr == f"{words[0]}: interrupted before anything was done\n"
    assert ended.returncode == 130


@pytest.mark.parametrize("name", ["SIGHUP", "SIGUSR2"])
def test_other_signals_save_as_well(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """SIGHUP as SIGTERM does, SIGUSR2 as SIGUSR1, in this process; nobody reads what is said."""
    advance, calls = Engine.advance, iter(range(10**9))

    def signalling(*arguments: Any) -> object:
        if next(calls) == 3:
            signal.raise_signal(getattr(signal, name))
        return advance(*arguments)

    def closed(*_: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(Engine, "advance", signalling)
    monkeypatch.setattr(progress.ProgressReport, "say", closed)
    finished = reludyn("figures=false", "logger=none")
    assert finished.code == {"SIGHUP": 129, "SIGUSR2": 75}[name]
    assert finished.summary["stopped_because"] == "interrupted"
    assert (finished.folder / "checkpoints" / "last.pt").exists()


class Dropped:
    """Ctrl-C comes while an object is taken away: Python drops the exception."""

    def __del__(self) -> None:
        signals._received.append("SIGINT")
        raise KeyboardInterrupt


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_ctrl_c_is_not_lost(reludyn: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    advance, calls = Engine.advance, iter(range(10**9))

    def dropping(*arguments: Any) -> object:
        if next(calls) == 3:
            Dropped()
        return advance(*arguments)

    monkeypatch.setattr(Engine, "advance", dropping)
    finished = reludyn("figures=false", "logger=none")
    assert finished.code == 130
    assert finished.summary["stopped_because"] == "interrupted"
    assert finished.summary["steps"] <= 4


class Cut(io.FileIO):
    """Interrupted once, when 500 bytes have been written."""

    whole = True

    def write(self, part: Any) -> int:
        written = super().write(part)
        if self.whole and self.tell() > 500:
            self.whole = False
            raise KeyboardInterrupt
        return written


def test_ctrl_c_while_a_checkpoint_is_written_ends_in_order(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """torch makes another error of it, or aborts the process, where it cannot finish its file."""
    monkeypatch.setattr(checkpoint, "atomic", lambda path: Cut(tmp_path / "part", "w"))
    finished = reludyn(*QUICK)
    assert finished.code == 130
    assert finished.err.splitlines() == ["reludyn: interrupted", "nothing was saved"]


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
