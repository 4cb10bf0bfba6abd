"""Sweeps that were interrupted go on, folders never collide, failures are named."""

from __future__ import annotations

import csv
import json
import logging
import os
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reludyn.system.files import lock
from reludyn.training.engine import Engine
from tests.support.clusters import lacking
from tests.support.commands import QUICK, Command, contents, interrupt, refused
from tests.support.sweeps import LAUNCHERS, complete

SWEEP = ("-m", *QUICK[:2], "hydra.sweep.dir=s", "seed=range(4)")  # with the default logger
SLOW = ("joblib", "submitit_local")  # each job is a process that starts
GRID = "init.scale=1e-2,1e-3"


def named(files: dict[str, bytes]) -> list[str]:
    """The files, an event file without the time that its name has."""
    return sorted(name.partition("tfevents")[0] for name in files)


def launched(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What the basic launcher is asked to run from here on."""
    calls: list[list[str]] = []
    from hydra._internal.core_plugins.basic_launcher import BasicLauncher  # as Hydra loaded it

    original = BasicLauncher.launch

    def launch(self: Any, job_overrides: list[list[str]], initial_job_idx: int) -> object:
        calls.extend(job_overrides)
        return original(self, job_overrides, initial_job_idx)

    monkeypatch.setattr(BasicLauncher, "launch", launch)
    return calls


# --- Going on ---------------------------------------------------------------------------------


def trained(sweep: Path) -> dict[str, int]:
    """When each job was complete, in nanoseconds: another time is another training."""
    return {done.parent.name: done.stat().st_mtime_ns for done in sweep.rglob("DONE")}


@pytest.mark.parametrize(
    "launcher", [*LAUNCHERS, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]
)
def test_a_sweep_that_has_ended_is_repeated_extended_and_repaired(
    reludyn: Command, tmp_path: Path, launcher: str
) -> None:
    """With the logger and the pictures that everybody has, which leave files in the folder of the
    sweep: nothing runs but what is missing, and the table is anew."""
    if launcher in SLOW and lacking(launcher):
        pytest.skip(lacking(launcher))
    sweep, table = tmp_path / "s", tmp_path / "s" / "sweep.csv"
    words = ("-m", QUICK[0], "picture=loss", f"hydra/launcher={launcher}", "hydra.sweep.dir=s")

    def seeds(*swept: str) -> list[str]:
        """The column of the table, after a sweep over these seeds."""
        finished = reludyn(*words, f"seed={','.join(swept)}")
        assert (finished.code, finished.errors) == (0, [])
        with table.open(newline="") as file:
            return [row["seed"] for row in csv.DictReader(file)]

    assert seeds("0", "1") == ["0", "1"]
    assert (sweep / "tensorboard").is_dir()
    first, content = trained(sweep), table.read_bytes()
    table.unlink()
    assert seeds("0", "1") == ["0", "1"]
    assert (trained(sweep), table.read_bytes()) == (first, content)
    assert seeds("0", "1", "2") == ["0", "1", "2"]
    more = trained(sweep)
    assert more == first | {"2": more["2"]}
    for name in ("DONE", "summary.json", "checkpoints/last.pt"):  # as where it failed
        (sweep / "1" / name).unlink()
    (sweep / "1" / "trajectory.npz").unlink()
    assert seeds("0", "1", "2") == ["0", "1", "2"]
    whole = trained(sweep)
    assert {job for job, end in whole.items() if end != more[job]} == {"1"}


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_sweep_of_which_a_job_failed_is_repeated(
    reludyn: Command, tmp_path: Path, launcher: str
) -> None:
    """The same job fails again, the other one does not run again, and a third one is added."""
    words = ("-m", *QUICK[:2], f"hydra/launcher={launcher}", "hydra.sweep.dir=s")
    for widths, done in (("2,-1", {"0"}), ("2,-1", {"0"}), ("2,-1,3", {"0", "2"})):
        before = trained(tmp_path / "s")
        finished = reludyn(*words, f"model.width={widths}", "init.signs=random")
        assert finished.code == 1
        (line,) = finished.errors
        assert line.startswith("reludyn: error: job 1, s/1: model.width=-1: must be >= 1")
        after = trained(tmp_path / "s")
        assert {*after} == done
        assert before.items() <= after.items()


@pytest.mark.quick(1)
def test_jobs_that_are_complete_are_not_run_again(
    reludyn: Command, launcher: str, tmp_path: Path
) -> None:
    assert reludyn(*SWEEP, launcher).code == 0
    before = contents(tmp_path / "s")
    for name in ("1", "2"):
        (tmp_path / "s" / name / "DONE").unlink()
    shutil.rmtree(tmp_path / "s" / "3")
    again = reludyn(*SWEEP, launcher)
    assert again.code == 0
    assert "1 of 4 jobs are complete, the others run now" in again.out
    after = contents(tmp_path / "s")
    assert named(after) == named(before)
    assert after["0/summary.json"] == before["0/summary.json"]
    assert after["1/summary.json"] != before["1/summary.json"]  # the wall time is another
    same = [name for name in before if name.endswith(("DONE", "replicas.csv", "config.yaml"))]
    assert [name for name in same if after[name] != before[name]] == []
    assert after["sweep.csv"] == before["sweep.csv"]


@pytest.mark.slow
def test_a_complete_sweep_runs_nothing_and_says_what_came_out(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, first = launched(monkeypatch), reludyn(*SWEEP)
    assert len(calls) == 4
    again = reludyn(*SWEEP)
    assert (again.code, len(calls)) == (0, 4)
    assert "4 of 4 jobs are complete" in again.out
    assert "sweep.csv" in first.out
    assert "sweep.csv" in again.out


def test_only_the_others_are_launched_each_in_its_own_folder(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With values and folders that need quotes."""
    folders = "hydra.sweep.subdir='${hydra.job.override_dirname}'"
    sweep = ("-m", *QUICK, "hydra.sweep.dir=s", "seed=0,1,2", folders)
    assert reludyn(*sweep).code == 0
    names = complete(tmp_path / "s")
    assert names == [f"figures=False,logger=none,seed={i},trainer.steps=5" for i in range(3)]
    (tmp_path / "s" / names[1] / "DONE").unlink()
    calls = launched(monkeypatch)
    assert reludyn(*sweep).code == 0
    assert len(calls) == 1
    assert complete(tmp_path / "s") == names


@pytest.mark.slow
def test_what_an_interrupted_job_left_is_replaced(
    reludyn: Command, launcher: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with monkeypatch.context() as patch:
        interrupt(patch, Engine, "advance", 4, KeyboardInterrupt())
        begun = reludyn(*SWEEP, launcher, "logger=tensorboard", "logger.jobs=true")
    assert begun.code == 130
    assert "of 4 jobs are complete; to run the others:\nresume   reludyn -m " in begun.err
    (words,) = [shlex.split(line) for line in begun.err.splitlines() if line.startswith("resume ")]
    left = list((tmp_path / "s").rglob("events*"))
    again = reludyn(*words[2:])
    assert again.code == 0
    assert complete(tmp_path / "s") == ["0", "1", "2", "3"]
    assert left
    for job in range(4):
        assert len(list((tmp_path / "s" / str(job) / "tensorboard").glob("events*"))) == 1


@pytest.mark.slow
def test_a_sweep_may_grow(reludyn: Command, launcher: str, tmp_path: Path) -> None:
    assert reludyn(*SWEEP[:-1], "seed=range(2)", launcher).code == 0
    assert reludyn(*SWEEP, launcher).code == 0
    assert complete(tmp_path / "s") == ["0", "1", "2", "3"]
    with (tmp_path / "s" / "sweep.csv").open(newline="") as file:
        assert [row["seed"] for row in csv.DictReader(file)] == ["0", "1", "2", "3"]


@pytest.mark.slow
def test_another_sweep_in_the_same_folder_is_refused(
    reludyn: Command, launcher: str, tmp_path: Path
) -> None:
    assert reludyn(*SWEEP, launcher).code == 0
    before = contents(tmp_path / "s")
    other = reludyn(*SWEEP, launcher, "optimizer.lr=0.2", "model.width=3")
    assert other.code == 2
    (line,) = other.errors
    assert "hydra.sweep.dir=" in line
    assert "s/0, the place of job 0, has a run of another config" in line
    assert "optimizer.lr is 0.1 there, 0.2 here" in line
    assert "model.width is 2 there, 3 here" in line
    assert contents(tmp_path / "s") == before


@pytest.mark.slow
def test_a_begun_job_of_another_config_is_refused(reludyn: Command, tmp_path: Path) -> None:
    assert reludyn(*SWEEP).code == 0
    for done in (tmp_path / "s").rglob("DONE"):
        done.unlink()
    before = contents(tmp_path / "s")
    assert reludyn(*SWEEP, "optimizer.lr=0.2").code == 2
    assert contents(tmp_path / "s") == before


@pytest.mark.slow
def test_a_config_that_was_torn_is_of_this_sweep(reludyn: Command, tmp_path: Path) -> None:
    """Hydra writes it anew before a job goes on, and may be interrupted."""
    assert reludyn(*SWEEP).code == 0
    whole = contents(tmp_path / "s" / "3")
    for job, size in enumerate((0, 1, 500)):
        folder = tmp_path / "s" / str(job)
        (folder / "DONE").unlink()
        os.truncate(folder / ".hydra" / "config.yaml", size)
    assert reludyn(*SWEEP).code == 0
    assert complete(tmp_path / "s") == ["0", "1", "2", "3"]
    assert contents(tmp_path / "s" / "3") == whole
    config = tmp_path / "s" / "0" / ".hydra" / "config.yaml"
    assert len(config.read_text()) > 500


def test_a_folder_with_files_of_others_is_refused(reludyn: Command, tmp_path: Path) -> None:
    (tmp_path / "s" / "2").mkdir(parents=True)
    (tmp_path / "s" / "2" / "summary.json").write_text("{}")
    refused = reludyn(*SWEEP)
    assert refused.code == 2
    assert "s/2, the place of job 2, has files of another run" in refused.errors[0]


# --- Failures ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_failures_are_listed_with_folder_and_reason(
    reludyn: Command, launcher: str, tmp_path: Path
) -> None:
    finished = reludyn("-m", *QUICK, launcher, "hydra.sweep.dir=s", "model.width=0,2,-1")
    assert finished.code == 1
    assert finished.errors == [
        "reludyn: error: job 0, s/0: model.width=0: must be >= 1",
        "reludyn: error: job 2, s/2: model.width=-1: must be >= 1",
    ]
    assert finished.err.splitlines()[-1] == "reludyn: 2 of 3 jobs failed"
    assert complete(tmp_path / "s") == ["1"]
    with (tmp_path / "s" / "sweep.csv").open(newline="") as file:
        assert [row["model.width"] for row in csv.DictReader(file)] == ["2"]


@pytest.mark.quick(1)
def test_jobs_that_failed_run_again(reludyn: Command, launcher: str, tmp_path: Path) -> None:
    sweep = (
        "-m",
        *QUICK,
        launcher,
        "hydra.sweep.dir=s",
        "seed=0,1",
        "data=file",
        "data.path=X.npz",
        "init.scale=0.1",
        "trainer.tolerance=0",
    )
    assert reludyn(*sweep).code == 1
    assert complete(tmp_path / "s") == []
    X = np.random.default_rng(0).standard_normal((20, 3))
    np.savez(tmp_path / "X.npz", X=X, Y=X[:, :1])
    assert reludyn(*sweep).code == 0
    assert complete(tmp_path / "s") == ["0", "1"]


@pytest.mark.quick(1)
def test_the_sweep_is_split_as_hydra_splits_it(
    reludyn: Command, launcher: str, tmp_path: Path
) -> None:
    finished = reludyn(*SWEEP, launcher, "hydra.sweeper.max_batch_size=3")
    assert finished.code == 0
    assert complete(tmp_path / "s") == ["0", "1", "2", "3"]


@pytest.mark.slow
def test_both_launchers_end_in_the_same_words(reludyn: Command) -> None:
    ends = []
    for launcher in LAUNCHERS:
        logging.getLogger().handlers.clear()
        run = reludyn(
            "-m",
            *QUICK,
            f"hydra/launcher={launcher}",
            GRID,
            "seed=range(2)",
            f"hydra.sweep.dir={launcher}",
        )
        ends.append(run.out.split("replicas       success")[1].replace(launcher, ""))
        assert json.loads((run.where / launcher / "0" / "summary.json").read_text())
    assert ends[0] == ends[1]


@pytest.mark.slow
def test_one_sweep_at_a_time_works_in_a_folder(reludyn: Command, tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    with lock(tmp_path / "s", "hydra.sweep.dir"):
        finished = reludyn(*SWEEP)
    assert finished.code == 2
    assert "must be a folder in which no other process is at work" in finished.errors[0]
    assert reludyn(*SWEEP).code == 0


def test_what_is_wrong_with_every_job_is_said_once(reludyn: Command, launcher: str) -> None:
    finished = reludyn("-m", *QUICK, launcher, "seed=range(5)", "+trainer.foo=1")
    assert "trainer.foo=1: no such key" in refused(finished)


@pytest.mark.slow
def test_jobs_of_an_earlier_command_are_mentioned(reludyn: Command, launcher: str) -> None:
    reludyn(*SWEEP, launcher)
    fewer = reludyn(*SWEEP[:-1], "seed=range(2)", launcher)
    assert "2 other jobs in that folder are not of this command" in fewer.out


def test_a_run_that_stops_at_once_is_looked_at_once(reludyn: Command, launcher: str) -> None:
    finished = reludyn(
        "-m", *QUICK, launcher, "trainer.gradient_tolerance=1", "init.scale=1e-4,1e-3"
    )
    for folder in finished.folders:
        with np.load(folder / "trajectory.npz", allow_pickle=False) as file:
            assert file["step"].tolist() == [0]
