"""Processes that die before the jobs of a sweep that they run."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from pathlib import Path
from typing import Any, NoReturn

import pytest

from reludyn.sweep import run
from reludyn.sweep.deaths import Submitted, death
from tests.support.clusters import lacking
from tests.support.commands import COMMAND, QUICK, Command

RAY_S = type("WorkerCrashedError", (Exception,), {"__module__": "ray.exceptions"})


def test_what_is_complete_is_told_and_the_rest_can_go_on(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A launcher that gives up: one line for the cause, the table, the job that could not run at
    all, the command."""
    words = ["-m", *QUICK, "seed=0,1,-1", "hydra.sweep.dir=s"]
    launch = run._launch

    def torn(launcher: Any, jobs: Any, complete: Any, texts: Any, first: int) -> NoReturn:
        launch(launcher, jobs[:1], complete, texts[:1], first)
        raise RAY_S("The worker died unexpectedly\nwhile executing this task.")

    monkeypatch.setattr(run, "_launch", torn)
    ended = reludyn(*words)
    assert ended.code == 1
    assert ended.err.splitlines() == [
        "reludyn: error: job 2, s/2: seed=-1: must be >= 0",
        "reludyn: 1 of 3 jobs failed",
        "reludyn: error: hydra/launcher=basic: a process has ended before its job, most likely for "
        "lack of memory",
        "reludyn: 1 of 3 jobs are complete; to run the others:",
        f"resume   {shlex.join(['reludyn', *words])}",
    ]
    assert len((tmp_path / "s" / "sweep.csv").read_text().splitlines()) == 2
    monkeypatch.setattr(run, "_launch", launch)
    again = reludyn(*words)
    assert "1 of 3 jobs are complete, the others run now" in again.out
    assert len((tmp_path / "s" / "sweep.csv").read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("module", "name", "launcher", "found"),
    [
        ("ray.exceptions", "OutOfMemoryError", "ray", True),
        ("torch", "OutOfMemoryError", "ray", False),  # of a job: it is a failure like others
        ("ray.exceptions", "RayTaskError", "ray", False),
        ("joblib.externals.loky.process_executor", "BrokenProcessPool", "joblib", True),
        ("submitit.core.utils", "UncompletedJobError", "submitit_slurm", True),
    ],
)
def test_a_death_is_known_by_its_name(module: str, name: str, launcher: str, found: bool) -> None:
    """Also of what inherits from it."""
    kind = type("Special", (type(name, (Exception,), {"__module__": module}),), {})
    died = death(kind("no more"), launcher)
    assert (died is not None) is found
    if died is not None:
        assert died.value == launcher
        assert died.allowed.startswith("a process has ended before its job, most likely for lack")
        assert "hydra.launcher." in died.remedy


@pytest.mark.parametrize(
    ("signals", "said"),
    [
        ("SIGKILL(-9), SIGTERM(-15)", " (SIGKILL, SIGTERM), most likely for lack of memory"),
        ("SIGSEGV(-11)", " (SIGSEGV)"),  # a fault of native code
    ],
)
def test_memory_is_blamed_where_the_system_takes_it_back(signals: str, said: str) -> None:
    died = death(RAY_S(f"The exit codes of the workers are {{{signals}}}"), "ray")
    assert died is not None
    assert died.allowed == f"a process has ended before its job{said}"


def test_the_names_are_those_of_the_packages() -> None:
    if lacking("joblib") or lacking("submitit_local"):
        pytest.skip(lacking("joblib") or lacking("submitit_local"))
    from joblib.externals.loky.process_executor import TerminatedWorkerError
    from submitit.core.utils import FailedJobError, UncompletedJobError

    assert death(TerminatedWorkerError(), "joblib") is not None
    assert death(UncompletedJobError(), "submitit_local") is not None
    assert death(FailedJobError(), "submitit_local") is not None


def test_other_errors_of_submitit_are_not_hidden() -> None:
    if lacking("submitit_local"):
        pytest.skip(lacking("submitit_local"))

    class Launcher:
        def launch(self, jobs: object, first: int) -> NoReturn:
            raise RuntimeError("sbatch")

    with pytest.raises(RuntimeError, match="sbatch"):
        Submitted(Launcher(), "submitit_slurm").launch([], 0)


@pytest.mark.slow
@pytest.mark.faults
def test_submitit_waits_for_the_jobs_beside_one_that_is_killed(tmp_path: Path) -> None:
    """The others of the same array come to their end, and so do those after it."""
    if lacking("submitit_local"):
        pytest.skip(lacking("submitit_local"))
    words = [
        "-m",
        "hydra/launcher=submitit_local",
        *QUICK[1:],
        "hydra.sweep.dir=s",
        "seed=0,1",
        "trainer.tolerance=0",
        "trainer.steps=100000000,20",
        "trainer.engine=eager",
    ]
    sweep = subprocess.Popen(
        [COMMAND, *words], cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 300
    killed = 0
    while sweep.poll() is None and time.monotonic() < deadline:  # two of four are endless
        for job in (0, 2):
            log, mark = tmp_path / "s" / str(job) / "reludyn.log", tmp_path / f"{job}"
            if log.exists() and "threads" in log.read_text() and not mark.exists():
                mark.touch()
                killed += kill_who_writes(log)
        time.sleep(0.1)
    out, err = sweep.communicate(timeout=60)
    assert killed == 2
    assert sweep.returncode == 1
    said = [line for line in err.splitlines() if line.startswith(("reludyn: ", "resume "))]
    line = "hydra/launcher=submitit_local: a process has ended before its job, most likely for lack"
    assert [x[: x.find(" of memory")] for x in said[:2]] == [
        f"reludyn: error: job {job}, s/{job}: {line}" for job in (0, 2)
    ]
    assert said[2:4] == [
        "reludyn: 2 of 4 jobs failed",
        "reludyn: 2 of 4 jobs are complete; to run the others:",
    ]
    assert shlex.split(said[4])[:2] == ["resume", "reludyn"]
    assert "Traceback" not in err
    assert "s/sweep.csv" in out


def kill_who_writes(log: Path) -> int:
    """Kill the process that has a file open; returns how many there were."""
    holders = [
        int(process.name)
        for process in Path("/proc").iterdir()
        if process.name.isdigit() and _holds(process, log)
    ]
    for holder in holders:
        os.kill(holder, signal.SIGKILL)
    return len(holders)


def _holds(process: Path, file: Path) -> bool:
    try:
        return any(Path(os.readlink(link)) == file for link in (process / "fd").iterdir())
    except OSError:  # it has ended, or is not ours
        return False
