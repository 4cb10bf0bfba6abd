"""Sweeps side by side: the files of the basic launcher, whichever launches the jobs."""

from __future__ import annotations

import csv
import json
import os
import pickle
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins

from reludyn.config.launchers import prepare
from reludyn.system.errors import ConfigError, StuckError
from reludyn.system.machine import cores
from tests.support.clusters import alone, lacking, slurm
from tests.support.commands import COMMAND, QUICK, Command, Composer, refused, run_command
from tests.support.documents import LAUNCHED

# Seeds 0 to 199 by jobs of so many replicas, after one with a seed that is impossible.
SEEDS = {
    "joblib": "-1,0,50,100,150",
    "submitit_local": "-1,0,100",
    "submitit_slurm": "-1,0,100",
    "ray": "-1,0,100",
}
LAUNCHERS = list(SEEDS)
RUN = [  # clusters are longer to start
    pytest.param(name, marks=[] if name == "joblib" else pytest.mark.slow) for name in LAUNCHERS
]
SMALL = ("trainer.steps=20", "figures=false", "logger=none", "hydra.sweep.dir=sweep")


def sizes(launcher: str) -> list[str]:
    jobs = SEEDS[launcher].count(",")
    return [f"replicas={200 // jobs}", f"seed={SEEDS[launcher]}", *SMALL]


def launcher_of(command: str) -> str:
    (name,) = re.findall(r"hydra/launcher=(\w+)", command)
    return str(name)


def resized(command: str, sizes: Sequence[str]) -> list[str]:
    """A command of the documents with other seeds, replicas and steps."""
    names = {size.partition("=")[0] for size in sizes}
    words = [word for word in shlex.split(command)[1:] if word.partition("=")[0] not in names]
    return [*words, *sizes]


SWEPT = {launcher_of(command): command for command in LAUNCHED}  # the last one of each


@dataclass(frozen=True)
class Sweep:
    code: int
    err: str
    folder: Path
    script: str = ""  # what SLURM was given

    def log(self, job: int | str) -> str:
        return (self.folder / str(job) / "reludyn.log").read_text()

    @property
    def done(self) -> list[Path]:
        """The folders of its jobs that came to an end, in order."""
        return sorted(done.parent for done in self.folder.glob("*/DONE"))

    @property
    def threads(self) -> set[int]:
        """Of its jobs, as they say themselves."""
        logs = [self.log(job.name) for job in self.done]
        return {int(found) for log in logs for found in re.findall(r"(\d+) threads", log)}


def launch(launcher: str, words: list[str], where: Path, **environment: str) -> Sweep:
    """`reludyn WORDS` in the folder `where`, with the cluster that it needs."""
    if lacking(launcher):
        pytest.skip(lacking(launcher))
    command = [COMMAND, *words]
    if launcher == "ray":
        command = alone(command)
    inherited = {n: v for n, v in os.environ.items() if n != "OMP_NUM_THREADS"}
    with tempfile.TemporaryDirectory() as short:  # of a socket's path
        (where / "slurm").mkdir(parents=True)
        given = {"HOME": short, "RAY_TMPDIR": short, "USER": "tester"}
        given["PATH"] = f"{slurm(where / 'slurm')}:{Path(COMMAND).parent}:{os.environ['PATH']}"
        done = subprocess.run(
            command, cwd=where, env=inherited | given | environment, capture_output=True, text=True
        )
    script = where / "slurm" / "script.sh"
    text = script.read_text() if script.exists() else ""
    return Sweep(done.returncode, done.stderr, where / "sweep", text)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Sweep]:
    """What the pages say for a launcher, with other seeds; `basic` is the one without."""

    @cache
    def run(launcher: str) -> Sweep:
        words = resized(SWEPT[launcher], sizes(launcher))
        if launcher == "ray":
            words += ["hydra.launcher.ray.init.num_cpus=2"]
            words += ["hydra.launcher.ray.init.object_store_memory=100000000"]
        return launch(launcher, words, tmp_path_factory.mktemp(launcher) / "run")

    return run


@pytest.fixture(scope="module")
def basic(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Sweep]:
    """The same sweep as that of a launcher, by Hydra's own."""

    @cache
    def run(jobs: int) -> Sweep:
        (launcher, *_) = (name for name in LAUNCHERS if SEEDS[name].count(",") == jobs)
        where = tmp_path_factory.mktemp("basic")
        done = run_command(where, "-m", *sizes(launcher))
        return Sweep(done.code, done.err, where / "sweep")

    return lambda launcher: run(SEEDS[launcher].count(","))


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "replicas.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def assert_rows_agree(some: list[dict[str, str]], others: list[dict[str, str]]) -> None:
    """To 1e-12 in numbers, exactly in words."""
    assert len(some) == len(others) > 0
    for one, other in zip(some, others, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            try:
                expected = float(other[name])
            except ValueError:
                assert one[name] == other[name], name
            else:
                assert float(one[name]) == pytest.approx(expected, rel=1e-12, abs=0), name


def assert_summaries_agree(one: Path, other: Path) -> None:
    """In everything but the time that it took."""
    a, b = (json.loads((folder / "summary.json").read_text()) for folder in (one, other))
    assert a.pop("wall_seconds") > 0
    assert b.pop("wall_seconds") > 0
    medians = [{n: v for n, v in x.pop("median").items() if v is not None} for x in (a, b)]
    assert medians[0] == pytest.approx(medians[1], rel=1e-12, abs=0)
    assert a == b


def test_the_pages_launch_a_sweep_by_each() -> None:
    assert set(SWEPT) == set(LAUNCHERS)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", RUN)
def test_a_job_leaves_the_files_of_the_basic_launcher(
    sweep: Callable[[str], Sweep], basic: Callable[[str], Sweep], launcher: str
) -> None:
    for ours, expected in zip(sweep(launcher).done, basic(launcher).done, strict=True):
        files = {p.relative_to(expected) for p in expected.rglob("*") if p.is_file()}
        assert {p.relative_to(ours) for p in ours.rglob("*") if p.is_file()} == files
        assert_rows_agree(rows(ours), rows(expected))
        assert_summaries_agree(ours, expected)
        assert (ours / "DONE").read_bytes() == (expected / "DONE").read_bytes()
        config = ".hydra/config.yaml"
        assert (ours / config).read_bytes() == (expected / config).read_bytes()
        with np.load(ours / "trajectory.npz") as a, np.load(expected / "trajectory.npz") as b:
            assert set(a) == set(b)
            for name in a:
                if a[name].dtype.kind == "f":
                    np.testing.assert_allclose(a[name], b[name], rtol=1e-12, atol=0)
                else:
                    np.testing.assert_array_equal(a[name], b[name])


@pytest.mark.slow
@pytest.mark.parametrize("launcher", RUN)
def test_one_wrong_job_is_explained_and_the_others_go_on(
    sweep: Callable[[str], Sweep], basic: Callable[[str], Sweep], launcher: str
) -> None:
    swept = sweep(launcher)
    assert swept.code == basic(launcher).code == 1
    assert len(swept.done) == SEEDS[launcher].count(",")
    assert "[ERROR] job 0: seed=-1: must be >= 0" in swept.log(0)
    (line,) = [x for x in swept.err.splitlines() if x.startswith("reludyn: error: ")]
    assert line.startswith("reludyn: error: job 0, ")
    assert line.endswith(": seed=-1: must be >= 0")
    assert "Traceback" not in swept.err + swept.log(0)
    assert "validated against" not in swept.err  # Hydra's warning of files and types of one name


@pytest.mark.slow
@pytest.mark.parametrize("launcher", RUN)
def test_batches_of_many_jobs_are_one_large_batch(
    sweep: Callable[[str], Sweep], tmp_path: Path, launcher: str
) -> None:
    """How a million seeds are run: every job is a batch, and no seed comes twice."""
    found = [row for job in sweep(launcher).done for row in rows(job)]
    assert [int(row["seed"]) for row in found] == list(range(200))
    run_command(tmp_path, *SMALL[:3], "replicas=200", "hydra.run.dir=one")
    numbered = [{**row, "replica": str(j)} for j, row in enumerate(found)]
    assert_rows_agree(numbered, rows(tmp_path / "one"))


@cache
def torch_threads(asked: int) -> int:
    """What PyTorch makes of that number here: MKL takes no more than there are cores."""
    if asked == 1:
        return 1
    code = "import torch; print(torch.get_num_threads())"
    given = os.environ | {"OMP_NUM_THREADS": str(asked)}
    return int(subprocess.check_output([sys.executable, "-c", code], env=given, text=True))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "threads"),
    [
        ("joblib", 1),
        pytest.param("submitit_local", 1, marks=pytest.mark.slow),
        pytest.param("submitit_slurm", 4, marks=pytest.mark.slow),
        pytest.param("ray", 1, marks=pytest.mark.slow),
    ],
)
def test_the_jobs_share_the_cores(
    sweep: Callable[[str], Sweep], launcher: str, threads: int
) -> None:
    assert sweep(launcher).threads == {torch_threads(threads)}


@pytest.mark.slow
@pytest.mark.parametrize("command", [c for c in LAUNCHED if c not in SWEPT.values()])
def test_a_sweep_of_the_pages_finishes(command: str, tmp_path: Path) -> None:
    """With few steps; a number of threads that the user sets wins."""
    words = resized(command, SMALL)
    swept = launch(launcher_of(command), words, tmp_path / "run", OMP_NUM_THREADS="2")
    assert swept.code == 0, swept.err
    assert len(swept.done) == 6
    assert swept.threads == {torch_threads(2)}


@pytest.mark.parametrize(
    ("launcher", "set_by_user", "threads"),
    [
        ("submitit_slurm", None, "4"),
        ("submitit_slurm", "3", "3"),
        ("submitit_local", None, "1"),
        ("joblib", "3", "3"),
        ("joblib", None, None),
    ],
)
def test_threads_are_asked_for_by_the_environment(
    composed: Composer,
    monkeypatch: pytest.MonkeyPatch,
    launcher: str,
    set_by_user: str | None,
    threads: str | None,
) -> None:
    if lacking(launcher):
        pytest.skip(lacking(launcher))
    variables = {} if set_by_user is None else {"OMP_NUM_THREADS": set_by_user}
    monkeypatch.setattr("os.environ", variables)
    prepare(composed(f"hydra/launcher={launcher}", return_hydra_config=True))
    assert variables.get("OMP_NUM_THREADS") == threads
    assert variables.get("MKL_NUM_THREADS") == (threads if launcher == "joblib" else None)


@pytest.mark.slow
def test_slurm_is_asked_for_what_the_job_needs(sweep: Callable[[str], Sweep]) -> None:
    script = sweep("submitit_slurm").script
    asked = dict(re.findall(r"#SBATCH --([\w-]+)=(\S+)", script))
    expected = {"array": "0-2%3", "cpus-per-task": "4", "time": "240", "mem": "8GB"}
    expected |= {"nodes": "1", "ntasks-per-node": "1", "job-name": "reludyn", "partition": "cpu"}
    assert expected.items() <= asked.items()
    assert re.search(rf"^srun .*{re.escape(sys.executable)}", script, flags=re.MULTILINE)


def test_the_million_seeds_of_the_pages_are_a_million() -> None:
    commands = [command for command in LAUNCHED if "range(" in command]
    assert commands
    for command in commands:
        words = dict(w.partition("=")[::2] for w in shlex.split(command) if "=" in w)
        (override,) = OverridesParser.create().parse_overrides([f"seed={words['seed']}"])
        first = [int(seed) for seed in override.sweep_iterator()]
        seeds = np.add.outer(first, np.arange(int(words["replicas"])))
        assert np.array_equal(seeds.ravel(), np.arange(1_000_000))


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_plugin_that_is_missing_is_named(
    reludyn: Command, launcher: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its class and its types: what is left is our file."""
    plugins, types = Plugins.instance(), ConfigStore.instance().repo["hydra"]["launcher"]
    for name in list(plugins.class_name_to_class):
        if "joblib" in name or "ray" in name or "submitit" in name or "FewAtOnce" in name:
            monkeypatch.delitem(plugins.class_name_to_class, name)
    monkeypatch.delitem(types, f"{launcher}.yaml", raising=False)
    extra = launcher.partition("_")[0]
    line = refused(reludyn("-m", f"hydra/launcher={launcher}", *QUICK, "seed=0,1"))
    assert line == f"hydra/launcher={launcher}: needs pip install 'reludyn[{extra}]'"


def test_a_launcher_without_a_sweep_is_refused(reludyn: Command) -> None:
    line = refused(reludyn("hydra/launcher=joblib", *QUICK))
    assert line == "hydra/launcher=joblib: launches the jobs of a sweep. Add -m"


def test_the_values_of_a_launcher_are_shown(reludyn: Command) -> None:
    shown = reludyn("hydra/launcher=submitit_slurm", "--cfg", "hydra", "-p", "hydra.launcher")
    assert "timeout_min: 240" in shown.out


def test_few_processes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    if lacking("submitit_local"):
        pytest.skip(lacking("submitit_local"))
    from hydra_plugins.reludyn_local_launcher import launcher

    seen: list[tuple[int, int]] = []
    submitit_s = launcher.FewAtOnce.__bases__[0]
    monkeypatch.setattr(
        submitit_s, "launch", lambda self, jobs, first: seen.append((first, len(jobs))) or jobs
    )
    monkeypatch.setattr(launcher, "cores", lambda: 4)
    jobs = [[f"seed={seed}"] for seed in range(5)]
    assert launcher.FewAtOnce(cpus_per_task=2).launch(jobs, 10) == jobs
    assert seen == [(10, 2), (12, 2), (14, 1)]
    assert cores() >= 1


@pytest.mark.parametrize("kind", [ConfigError, StuckError])
def test_an_error_comes_back_from_another_process(kind: type[ConfigError]) -> None:
    error = kind("seed", ..., "must be >= 0", "Use seed=0")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == str(error)
    assert again.value is ...
