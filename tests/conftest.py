"""Fixtures: the command, and a few finished runs that many tests read."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hypothesis import settings

os.environ.pop("HYDRA_FULL_ERROR", None)
if "PYTEST_XDIST_WORKER" in os.environ:  # one worker a core: no threads beside them
    os.environ["OMP_NUM_THREADS"] = "1"  # of processes that tests start
    torch.set_num_threads(1)

from reludyn.config.parse import conf_directory, prepare_hydra
from reludyn.config.security import guarded
from reludyn.experiment import cost
from tests.support.commands import COMMAND, Command, Composer, Finished, run_command
from tests.support.pictures import draw_fast

settings.register_profile("patient", deadline=None)  # time belongs in benchmarks
settings.load_profile("patient")
draw_fast()
os.fsync = lambda _: None  # nobody pulls the plug: a command waits for the disk six times


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of a test marked quick(n) all cases but n, spread evenly, are slow."""
    cases = defaultdict[str, list[pytest.Item]](list)
    for item in items:
        if item.get_closest_marker("quick"):
            cases[item.nodeid.partition("[")[0]].append(item)
    for test in cases.values():
        (number,) = test[0].get_closest_marker("quick").args
        kept = {i * len(test) // number for i in range(number)}
        for i in set(range(len(test))) - kept:
            test[i].add_marker("slow")


@pytest.fixture
def reludyn(tmp_path: Path) -> Command:
    """The command, in a folder of the test's own."""
    return lambda *arguments: run_command(tmp_path, *arguments)


@pytest.fixture(scope="session")
def fig3(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """`reludyn` without arguments."""
    return run_command(tmp_path_factory.mktemp("fig3"))


@pytest.fixture(scope="session")
def ensemble(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Six replicas of width three: every axis has a length of its own."""
    return run_command(
        tmp_path_factory.mktemp("ensemble"),
        "replicas=6",
        "model.width=3",
        "init.signs=random",
        "init.scale=0.1",
        "data.dim=20",
        "trainer.steps=60",
        "figures=false",
    )


@pytest.fixture(scope="session")
def empirical(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Two replicas on samples, two outputs."""
    return run_command(
        tmp_path_factory.mktemp("empirical"),
        "replicas=2",
        "data=gaussian",
        "data.samples=30",
        "data.dim=5",
        "data.outputs=2",
        "init.signs=random",
        "init.scale=0.1",
        "trainer.steps=20",
        "figures=false",
    )


@pytest.fixture(scope="module")
def composed() -> Iterator[Composer]:
    """The config that some overrides give; its name comes from Hydra's own, which is not here."""
    prepare_hydra()
    with guarded([]), initialize_config_dir(str(conf_directory()), version_base="1.3"):
        yield lambda *overrides, **options: compose("config", ["name=test", *overrides], **options)


@pytest.fixture
def endless(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process in its first iterations, of very many."""
    words = ["trainer.steps=100000000", "trainer.tolerance=0", "figures=false", "logger=none"]
    running = subprocess.Popen(
        [COMMAND, *words, "hydra.run.dir=run"],
        cwd=tmp_path,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        # a shell lets what it runs in the background ignore SIGINT
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    log, deadline = tmp_path / "run" / "reludyn.log", time.monotonic() + 60
    while not (log.exists() and "threads" in log.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(2)  # it predicts first
    yield running
    if running.poll() is None:
        os.killpg(running.pid, signal.SIGKILL)
    assert running.stdout
    running.stdout.close()


@pytest.fixture
def short_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of four iterations or so, so that there are some between two looks."""
    monkeypatch.setattr(cost, "EAGER", 4e-4)
    monkeypatch.setattr(cost, "COMPILED", 4e-4)
