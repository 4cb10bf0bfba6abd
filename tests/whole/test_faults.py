"""Kills, full disks, damaged files, clocks that jump, two runs in one folder: a run goes on or ends
with one clear message; nothing wrong is loaded, nothing claims to be complete that is not."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import resource
import select
import shlex
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from reludyn import load_run
from reludyn.figures import __main__
from reludyn.training.checkpoint import load_checkpoint
from tests.support.commands import COMMAND, Command, Finished, complaint, reludyn_in
from tests.support.resuming import FEW, SHORT, crashed, same, whole_run

pytestmark = pytest.mark.usefixtures("short_stretches")

KILLS = int(os.environ.get("RELUDYN_KILLS", "6"))  # 200 are a campaign
KILLED = (
    "figures=false",
    "trainer.engine=eager",
    "trainer.steps=600",
    "trainer.tolerance=0",
    "trainer.looks=60",
    "replicas=2",
    "trainer.checkpoint_steps=50",
    "init.scale=0.1",
)


# --- Kills ------------------------------------------------------------------------------------


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.parametrize("batch", [False, True])
def test_a_run_survives_kills_at_any_moment(tmp_path: Path, batch: bool) -> None:
    """At random times, and within the writing of checkpoints and events: it resumes from its last
    checkpoint, and leaves in the end what one that nobody killed leaves, to the last bit. So do
    the jobs of a sweep that go as one batch."""
    program = [sys.executable, str(Path(__file__).parents[1] / "support" / "killing.py")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    words = [*KILLED, "-m", "hydra/launcher=fused", "seed=0,5,9"] if batch else KILLED
    place = "hydra.sweep.dir=whole" if batch else "hydra.run.dir=whole"
    whole = subprocess.run(
        [COMMAND, *words, place],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    ended = subprocess.run(
        [*program, str(tmp_path), "5", str(KILLS), *words],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    said = (tmp_path / "output.txt").read_text()
    assert "Traceback" not in said
    assert "reludyn: error" not in said
    runs = json.loads(ended.stdout)
    kills = 0
    for number, history in enumerate(runs):
        codes = [code for _, code, *_ in history]
        kills += codes.count(-signal.SIGKILL)
        assert set(codes) <= {-signal.SIGKILL, 0}
        steps = [step for _, _, step, _ in history]
        assert steps == sorted(steps)  # nothing that was saved is lost again
        assert [done for *_, done in history] == [False] * (len(history) - 1) + [True]
        for job in ("0", "1", "2") if batch else (".",):
            folder = tmp_path / "whole" / job
            same(Finished(0, whole.stdout, "", folder), tmp_path / str(number) / job)
        assert not (tmp_path / str(number) / ".batches").exists()
    assert kills >= KILLS


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "code"),
    [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129), ("SIGUSR1", 75), ("SIGUSR2", 75)],
)
def test_a_signal_saves_what_was_reached(
    endless: subprocess.Popen[str], tmp_path: Path, name: str, code: int
) -> None:
    os.killpg(endless.pid, getattr(signal, name))
    out, _ = endless.communicate(timeout=60)
    assert endless.returncode == code
    saved = load_checkpoint(tmp_path / "run/checkpoints/last.pt").state.step
    assert json.loads((tmp_path / "run/summary.json").read_text())["steps"] == saved > 0
    assert not (tmp_path / "run/DONE").exists()
    (line,) = (line for line in out.splitlines() if line.startswith("resume "))
    assert shlex.split(line) == ["resume", "reludyn", "resume=run"]


@pytest.mark.faults
def test_a_terminal_that_is_closed_lets_a_run_save(tmp_path: Path) -> None:
    """Nothing can be printed any more by then."""
    ours, theirs = pty.openpty()
    words = ["trainer.steps=100000000", "trainer.tolerance=0", "hydra.run.dir=run"]
    running = subprocess.Popen(
        [COMMAND, *words, "figures=false", "logger=none", "trainer.checkpoint_steps=5"],
        cwd=tmp_path,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(theirs)
    file = tmp_path / "run" / "checkpoints" / "last.pt"
    while not file.exists():
        assert running.poll() is None
        if select.select([ours], [], [], 0.1)[0]:
            os.read(ours, 2**16)
    os.close(ours)
    assert running.wait(60) == 129
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert summary["stopped_because"] == "interrupted"
    assert load_checkpoint(file).state.step == summary["steps"]


@pytest.mark.faults
@pytest.mark.slow
def test_a_job_that_is_put_back_into_its_queue_goes_on(tmp_path: Path) -> None:
    """The script of docs/how-to.md, without a scheduler: `scontrol` starts it again."""
    page = (Path(__file__).parents[2] / "docs" / "how-to.md").read_text()
    script = page.partition("#SBATCH")[2].partition("```")[0].partition("\n")[2]
    command, *rest = script.splitlines()
    quick = "trainer.tolerance=0 logger=none figures=false trainer.engine=eager"
    command = command.replace("reludyn ", f"{COMMAND} {quick} ").replace("100000000", "4000")
    (tmp_path / "job.sh").write_text("\n".join([command, *rest]) + "\n")
    (tmp_path / "scontrol").write_text('#!/bin/sh\necho "$@" >> requeued\n')
    (tmp_path / "scontrol").chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "SLURM_JOB_ID": "77", "OMP_NUM_THREADS": "1"}
    folder, starts = tmp_path / "outputs" / "long", 0
    while not (folder / "DONE").exists() and starts < 20:
        starts += 1
        job = subprocess.Popen(["bash", "job.sh"], cwd=tmp_path, env=environment)
        time.sleep(0 if starts > 3 else 6)
        if starts <= 3 and job.poll() is None:
            job.send_signal(signal.SIGUSR1)
        job.wait(120)
    assert (tmp_path / "requeued").read_text().split() == ["requeue", "77"] * (starts - 1)
    assert starts > 1
    assert load_run(folder).summary["steps"] == 4000


# --- Disks ------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 400 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.faults
@pytest.mark.parametrize("left", [0, 8, 30, 60, 90, 120, 150, 180])
def test_a_full_disk_is_explained_and_the_run_goes_on_when_there_is_room(
    reludyn: Command, small_disk: Path, tmp_path: Path, left: int
) -> None:
    """Wherever it is met: in the log, in an event, a checkpoint, the trajectory, the table."""
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(1024 * (400 - left)))
    words = [*SHORT, "trainer.checkpoint_steps=12", "trainer.looks=40"]
    full = reludyn(*words, f"hydra.run.dir={small_disk}/run")
    assert "Traceback" not in full.out + full.err
    folder = small_disk / "run"
    if full.code == 0:
        assert left > 150
        return
    assert "No space left on device" in complaint(full)
    assert "Make some room" in full.errors[0]
    assert not (folder / "DONE").exists()
    assert not list(folder.rglob(".*.part"))
    ballast.unlink()
    again = ["resume=auto", f"hydra.run.dir={folder}"]
    assert ("resume   reludyn" in full.err) == (folder / "checkpoints" / "last.pt").exists()
    assert reludyn(*words, *again).code == 0
    ended = reludyn(*words, "hydra.run.dir=whole")
    same(Finished(ended.code, "", "", tmp_path / "whole"), folder)


@pytest.mark.faults
def test_a_disk_that_cannot_be_written_is_explained(
    reludyn: Command, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = small_disk / "run"
    crashed(reludyn, monkeypatch, str(folder))
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for words in ([*SHORT, f"hydra.run.dir={small_disk}/new"], [f"resume={folder}"]):
        finished = reludyn(*words)
        assert "Traceback" not in finished.out + finished.err
        assert "Read-only file system" in complaint(finished)


# --- Damaged files ----------------------------------------------------------------------------


def test_a_damaged_trajectory_is_refused(
    reludyn: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A cut or a flipped bit anywhere is noticed, or changes nothing."""
    whole_run(reludyn)
    path = tmp_path / "whole" / "trajectory.npz"
    content, before = path.read_bytes(), load_run(tmp_path / "whole").arrays
    rng, noticed, nothing = np.random.default_rng(1), 0, 0
    for place in rng.integers(0, 8 * len(content), 60).tolist():
        bits = bytearray(content)
        bits[place // 8] ^= 1 << place % 8
        for damaged in (bytes(bits), content[: place // 8]):
            path.write_bytes(damaged)
            try:
                after = load_run(tmp_path / "whole").arrays
            except ValueError as error:
                noticed += str(error).startswith(f"{path} is damaged")
            else:
                assert set(before) == set(after)
                for name, x in before.items():
                    np.testing.assert_array_equal(after[name], x)
                nothing += 1
    assert noticed == 120 - nothing > 110
    path.write_bytes(content[:-200])
    with pytest.raises(SystemExit) as ended:
        __main__.main([str(tmp_path / "whole")])
    assert str(ended.value).startswith(f"reludyn-figures: error: {path} is damaged")


# --- Two at once ------------------------------------------------------------------------------


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.parametrize("resumes", [False, True])
def test_of_two_runs_in_one_folder_one_is_refused(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, resumes: bool
) -> None:
    if resumes:
        crashed(reludyn, monkeypatch, "one", "trainer.steps=2000", "trainer.engine=eager")
    words = ["resume=one"] if resumes else [*SHORT, "trainer.steps=2000", "hydra.run.dir=one"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    alone = os.environ | {"OMP_NUM_THREADS": "1"}
    both = [subprocess.Popen([COMMAND, *words], cwd=tmp_path, env=alone, **pipes) for _ in range(2)]
    ends = [Finished(0, *run.communicate(timeout=120), tmp_path) for run in both]
    assert sorted(run.returncode for run in both) == [0, 2]
    (line,) = (line for end in ends for line in end.errors)
    assert "must be a folder in which no other process is at work" in line or "has DONE" in line
    assert (tmp_path / "one" / "DONE").exists()
    assert not (tmp_path / "one" / ".lock").exists()
    steps = load_run(tmp_path / "one").arrays["step"]
    assert (np.diff(steps) > 0).all()


def test_a_folder_that_is_held_is_left_alone(reludyn: Command, tmp_path: Path) -> None:
    import fcntl

    (tmp_path / "here").mkdir()
    with (tmp_path / "here" / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        said = complaint(reludyn_in(reludyn, "here"))
    assert said.startswith("hydra.run.dir=here: must be a folder in which no other process is at")
    assert [path.name for path in (tmp_path / "here").iterdir()] == [".lock"]
    assert reludyn_in(reludyn, "here").code == 0


# --- Clocks and memory ------------------------------------------------------------------------


def test_a_clock_that_jumps_changes_nothing(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Back by a year at every look at it, and once more between the two parts."""
    clock, now = time.time, iter(range(10**9))
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: clock() - 3e7 * next(now))
        crashed(reludyn, patch, "one")
        patch.setattr(time, "time", lambda: clock() - 6e8)
        os.utime(tmp_path / "one/checkpoints/last.pt", (0, 0))
        assert reludyn("resume=one").code == 0
    same(whole_run(reludyn), tmp_path / "one")


@pytest.mark.faults
def test_memory_that_is_refused_is_explained(tmp_path: Path) -> None:
    """The estimate fits into the machine, but another program has the rest."""
    words = ["data=gaussian", "data.samples=400000", "data.dim=1000", *FEW]
    ended = subprocess.run(
        [COMMAND, *words, "hydra.run.dir=run"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (3 * 10**9, 3 * 10**9)),
    )
    said = complaint(Finished(ended.returncode, ended.stdout, ended.stderr, tmp_path))
    assert said.startswith("data.samples=400000: there is no memory left; the run needs about 3")
    assert not (tmp_path / "run" / "DONE").exists()


# --- Divergence -------------------------------------------------------------------------------


def test_a_replica_that_diverges_is_marked_and_the_others_go_on(
    reludyn: Command, tmp_path: Path
) -> None:
    """Scales from far too large to small, a step size that only the small ones bear."""
    finished = reludyn(
        "replicas=4",
        "init=balanced",
        "init.scale=30",
        "init.scale_to=0.1",
        "optimizer.lr=0.3",
        "figures=false",
        "trainer.looks=1000",
        "trainer.steps=400",
        "init.signs=alternating",
    )
    assert finished.code == 0
    gone = [row for row in finished.rows if row["outcome"] == "diverged"]
    assert 0 < len(gone) < 4
    assert {row["outcome"] for row in finished.rows} == {"diverged", "global_minimum"}
    loss = finished.arrays["loss"]
    for row in gone:
        j, step = int(row["replica"]), int(row["steps"])
        at = int(np.searchsorted(finished.arrays["step"], step))
        before = loss[:at, j][np.isfinite(loss[:at, j])]
        assert np.isfinite(loss[: at - 1, j]).all()
        here = loss[at, j] if np.isfinite(loss[at, j]) else before[-1]
        assert float(row["last_finite_loss"]) == pytest.approx(here, rel=1e-12)
        assert here > before.max() or not np.isfinite(loss[at, j])
        assert (loss[at:, j] == loss[at, j]).all() or np.isnan(loss[at:, j]).all()  # frozen
    assert all(row["last_finite_loss"] == "" for row in finished.rows if row not in gone)


@pytest.mark.parametrize(
    ("overrides", "stable"),
    [
        ("optimizer.lr=9", "2"),
        ("optimizer.lr=9 data.target_norm=2", "1"),
        ("optimizer.lr=9 data=gaussian data.samples=300 data.dim=5", "2"),
        ("optimizer.lr=9e4 precision=float32 model.width=6 init.signs=random data.outputs=2", "1"),
    ],
)
def test_where_all_diverge_the_largest_stable_step_is_named(
    reludyn: Command, overrides: str, stable: str
) -> None:
    """Exit code 3, and the step sizes below which descent does not diverge."""
    finished = reludyn(*overrides.split(), "figures=false", "logger=none", "trainer.tolerance=0")
    assert finished.code == 3
    log = (finished.folder / "reludyn.log").read_text()
    assert "every replica diverged, the first at step " in log
    named = float(log.partition("is stable below ")[2].split()[0])
    if stable != "1":
        assert named == float(stable)
    assert 0.5 < named <= 2


@pytest.mark.quick(1)
@pytest.mark.parametrize("factor", [0.97, 1.03])
def test_descent_is_stable_below_the_named_step_only(reludyn: Command, factor: float) -> None:
    """From close to a balanced minimum; two outputs, unequal singular values."""
    arguments = ["data.outputs=2", "data.dim=4", "model.width=4", "figures=false", "logger=none"]
    arguments.append("init.signs=random")
    broken = reludyn(*arguments, "optimizer.lr=99", "hydra.run.dir=broken", "trainer.tolerance=0")
    assert broken.code == 3
    log = (broken.where / "broken/reludyn.log").read_text()
    named = float(log.partition("is stable below ")[2].split()[0])
    W = "[[1.01,0,0,0],[-1,0.02,0,0],[0,1,0,0.01],[0,-0.99,0,0]]"
    V = "[[1,-1,0.01,0],[0,0,1,-1]]"
    explicit = ["init=explicit", f"init.W={W}", f"init.V={V}", "trainer.tolerance=1e-14"]
    ended = reludyn(
        *arguments,
        *explicit,
        f"optimizer.lr={factor * named}",
        "hydra.run.dir=near",
        "trainer.steps=3000",
    )
    assert ended.errors == []
    summary = json.loads((ended.where / "near/summary.json").read_text())
    assert (summary["stopped_because"] == "converged") == (factor < 1)
