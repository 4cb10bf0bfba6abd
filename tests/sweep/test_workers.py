"""Jobs in joblib's processes: one line each, and a signal that lets them save what they reached."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from reludyn.config.launchers import has_workers, works_here
from reludyn.sweep.workers import SAID, Until
from reludyn.system import signals
from reludyn.training.checkpoint import load_checkpoint
from tests.support.clusters import lacking
from tests.support.commands import COMMAND, Composer

pytestmark = pytest.mark.skipif(bool(lacking("joblib")), reason=lacking("joblib"))
TWO = (
    "-m",
    "hydra/launcher=joblib",
    "hydra.launcher.n_jobs=2",
    "logger=none",
    "figures=false",
    "hydra.sweep.dir=sweep",
)
ENDLESS = (
    "trainer.steps=100000000",
    "trainer.tolerance=0",
    "trainer.engine=eager",
    "trainer.checkpoint_steps=20",
)


@dataclass
class Sweep:
    """Four jobs in a session of their own, two of them at once."""

    where: Path
    process: subprocess.Popen[bytes]

    @property
    def out(self) -> str:
        return (self.where / "out").read_text()

    def wait(self, condition: Callable[[], bool], seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.out
            time.sleep(0.02)

    def begins(self) -> bool:
        """Whether jobs 0 and 1 have begun, since this command did."""
        logs = [self.where / "sweep" / job / "reludyn.log" for job in ("0", "1")]
        return all(log.exists() and "threads" in log.read_text() for log in logs)

    def trains(self) -> bool:
        """Whether they have saved a checkpoint, in this folder."""
        return all((self.where / f"sweep/{job}/checkpoints/last.pt").exists() for job in (0, 1))

    def signal(self, name: str, to: str = "all") -> None:
        send = os.killpg if to == "all" else os.kill  # as a terminal does, or `kill PID`
        send(self.process.pid, getattr(signal, name))

    def code(self) -> int:
        """How it ends, with no process left behind."""
        code = self.process.wait(60)
        self.wait(lambda: not self.living(), 10)
        return code

    def living(self) -> list[str]:
        """The states of its processes, but for those that nobody has asked how they ended."""
        listed = ["ps", "-o", "stat=", "-s", str(self.process.pid)]
        states = subprocess.run(listed, capture_output=True, text=True).stdout.split()
        return [state for state in states if not state.startswith("Z")]

    def steps(self, job: int) -> int:
        """Of its checkpoint."""
        return load_checkpoint(self.where / f"sweep/{job}/checkpoints/last.pt").state.step


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Sweep]]:
    started: list[subprocess.Popen[bytes]] = []

    def begin(**environment: str) -> Sweep:
        for log in tmp_path.glob("sweep/*/reludyn.log"):
            log.unlink()
        with (tmp_path / "out").open("w") as out:
            process = subprocess.Popen(
                [COMMAND, *TWO, *ENDLESS, "seed=0,1,2,3"],
                cwd=tmp_path,
                stdout=out,
                stderr=out,
                start_new_session=True,
                env=os.environ | environment,
                # a shell lets what it runs in the background ignore SIGINT
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )
        started.append(process)
        return Sweep(tmp_path, process)

    yield begin
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def said(sweep: Sweep) -> list[str]:
    """All lines but those of Hydra."""
    return [line for line in sweep.out.splitlines() if "[HYDRA]" not in line]


END = [
    "reludyn: 0 of 4 jobs are complete; to run the others:",
    f"resume   {shlex.join(['reludyn', *TWO[:-1], *ENDLESS, 'seed=0,1,2,3', TWO[-1]])}",
    "reludyn: interrupted",
]


@pytest.mark.faults
@pytest.mark.parametrize(
    ("name", "to", "code"),
    [
        ("SIGINT", "all", 130),
        pytest.param("SIGINT", "one", 130, marks=pytest.mark.slow),
        ("SIGTERM", "one", 143),
        pytest.param("SIGUSR1", "all", 75, marks=pytest.mark.slow),
    ],
)
def test_jobs_in_progress_save_and_go_on(
    start: Callable[..., Sweep], name: str, to: str, code: int
) -> None:
    sweep = start()
    sweep.wait(sweep.trains)
    time.sleep(1)
    sweep.signal(name, to)
    sweep.wait(lambda: SAID in sweep.out)
    assert sweep.code() == code
    lines = said(sweep)
    assert lines[-3:] == END
    reached = [sweep.steps(job) for job in (0, 1)]
    assert min(reached) > 0
    assert sorted(lines[:-3]) == [  # a worker that was told by the terminal may be the first
        *(f"job {j} seed={j}: interrupted after {reached[j]:,} steps, sweep/{j}" for j in (0, 1)),
        SAID,
    ]
    for job in (0, 1):
        summary = json.loads((sweep.where / f"sweep/{job}/summary.json").read_text())
        assert (summary["stopped_because"], summary["steps"]) == ("interrupted", reached[job])
    assert {path.name for path in (sweep.where / "sweep").iterdir()} == {"0", "1", "multirun.yaml"}
    if to == "all":
        return
    sweep = start()  # the same command
    sweep.wait(sweep.begins)
    sweep.signal(name, to)
    assert sweep.code() == code
    assert all(sweep.steps(job) >= reached[job] for job in (0, 1))


@pytest.mark.faults
def test_a_second_signal_ends_all_at_once(start: Callable[..., Sweep]) -> None:
    """Also a worker that does not answer."""
    sweep = start()
    sweep.wait(sweep.trains)
    listed = ["pgrep", "-P", str(sweep.process.pid), "-f", "popen_loky"]
    for worker in subprocess.check_output(listed, text=True).split():
        os.kill(int(worker), signal.SIGSTOP)
    sweep.signal("SIGINT")
    sweep.wait(lambda: SAID in sweep.out)
    time.sleep(1)
    assert sweep.process.poll() is None
    sweep.signal("SIGINT")
    assert sweep.code() == 130
    assert said(sweep) == [SAID, *END]


@pytest.mark.faults
def test_a_worker_that_is_killed_ends_the_sweep_in_order(start: Callable[..., Sweep]) -> None:
    """As where memory runs out: before, 75 lines of a traceback, and no word of how to go on."""
    sweep = start()
    sweep.wait(sweep.trains)
    listed = ["pgrep", "-P", str(sweep.process.pid), "-f", "popen_loky"]
    os.kill(int(subprocess.check_output(listed, text=True).split()[0]), signal.SIGKILL)
    assert sweep.code() == 1
    assert said(sweep) == [
        "reludyn: error: hydra/launcher=joblib: a process has ended before its job (SIGKILL), most "
        "likely for lack of memory. Run fewer jobs at once: hydra.launcher.n_jobs=1",
        *END[:2],
    ]


@pytest.mark.faults
@pytest.mark.parametrize("to", ["all", "one"])
def test_a_signal_while_workers_import_torch(
    start: Callable[..., Sweep], tmp_path: Path, to: str
) -> None:
    """It would be a traceback, and a library may swallow the exception."""
    (tmp_path / "path").mkdir()  # in the working folder such a file is refused
    (tmp_path / "path" / "torch.py").write_text(
        "import os, time\n"
        "open(f'{os.getpid()}.imports', 'w')\n"
        "try: time.sleep(3)\n"
        "except BaseException: print('raised', flush=True)\n"
        "raise ImportError\n"
    )
    others = os.environ.get("PYTHONPATH", "")
    sweep = start(PYTHONPATH=f"{tmp_path / 'path'}{os.pathsep}{others}")
    sweep.wait(lambda: len([*tmp_path.glob("*.imports")]) == 2)
    sweep.signal("SIGINT", to)
    sweep.wait(lambda: SAID in sweep.out)
    assert sweep.code() == 130
    assert said(sweep) == [SAID, *END]


@pytest.mark.faults
@pytest.mark.parametrize("seconds", [0.1, 0.5])
def test_a_signal_while_workers_start(start: Callable[..., Sweep], seconds: float) -> None:
    sweep = start()
    sweep.wait(lambda: "#3" in sweep.out)
    time.sleep(seconds)
    sweep.signal("SIGINT")
    assert sweep.code() == 130
    assert said(sweep) in ([SAID, *END], END)


@pytest.mark.slow
def test_a_job_is_one_line_on_the_terminal(tmp_path: Path) -> None:
    """No bar, since others would be drawn over it."""
    ours, theirs = pty.openpty()
    running = subprocess.Popen(
        [COMMAND, *TWO, "trainer.steps=400", "trainer.tolerance=0", "seed=0,1,2"],
        cwd=tmp_path,
        stdout=theirs,
        stderr=theirs,
        env=os.environ | {"COLUMNS": "80", "LINES": "40", "TERM": "xterm"},
    )
    os.close(theirs)
    out = b""
    with contextlib.suppress(OSError):  # it has ended
        while part := os.read(ours, 2**16):
            out += part
    os.close(ours)
    assert running.wait(10) == 0
    text = out.decode().replace("\r\n", "\n")
    assert not re.findall(r"\x1b\[\??\d*[A-Zlh]", text)  # the cursor stays
    jobs, _, table = text.partition("replicas")
    assert table.count("\n") > 3
    lines = [re.sub(r"\x1b\[[\d;]*m", "", line).strip() for line in jobs.splitlines()]
    assert sorted(line for line in lines if line and "[HYDRA]" not in line) == [
        f"job {job} seed={job}: max_steps after 400 steps, sweep/{job}" for job in range(3)
    ]


def test_no_job_follows_a_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    received: list[str] = []
    monkeypatch.setattr(signals, "_received", received)
    jobs = Until([["seed=0"], ["seed=1"], ["seed=2"]])
    sent = iter(jobs)
    assert next(sent) == ["seed=0"]
    received.append("SIGINT")
    assert [*sent] == []
    assert len(jobs) == 3


@pytest.mark.parametrize(
    ("words", "workers", "here"),
    [
        (["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"], True, False),
        (["hydra/launcher=joblib", "hydra.launcher.n_jobs=1"], False, True),
        (["hydra/launcher=fused"], False, True),
        ([], False, True),
    ],
)
def test_where_jobs_run(composed: Composer, words: list[str], workers: bool, here: bool) -> None:
    config = composed(*words, return_hydra_config=True)
    assert (has_workers(config), works_here(config)) == (workers, here)
