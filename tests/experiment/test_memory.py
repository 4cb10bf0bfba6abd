"""Runs that cannot fit are refused beforehand, with an estimate that is not far off."""

import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from reludyn.config.parse import conf_directory, parse, prepare_hydra
from reludyn.config.schema import Config
from reludyn.experiment.build import build
from reludyn.experiment.memory import check_memory, estimate
from reludyn.system.errors import ConfigError


def config(*overrides: str) -> Config:
    prepare_hydra()
    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        return parse(compose("config", overrides=["name=test", *overrides]))


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        (["data=gaussian", "data.samples=1000000000000"], "data.samples"),
        (["replicas=1000000000"], "replicas"),
        (["model.width=1000000", "data.dim=10000"], "model.width"),
        (["data.dim=1000000000", "replicas=1000"], "data.dim"),
        (
            [
                "data=gaussian",
                "data.samples=9",
                "data.dim=90000",
                "data.outputs=90000",
                "init.signs=random",
            ],
            "data.dim",
        ),
        (["theory.plane=random", "theory.grid=2000", "model.width=100000"], "model.width"),
        (["theory.spectrum=true", "model.width=3000", "data.dim=5000"], "data.dim"),
        (
            [
                "theory.spectrum=true",
                "model.width=350",
                "replicas=9999",
                "trainer.keep_weights=9999",
            ],
            "replicas",
        ),
        (["data=digits", "init.signs=random", "model.width=1000000", "replicas=9"], "model.width"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_estimate(overrides: list[str], key: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{key}=\d+: the run needs about [\d,]+ GiB") as error:
        check_memory(config(*overrides), available=24 * 2**30)
    assert error.value.remedy


def test_a_file_s_sizes_count_once_they_are_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez(tmp_path / "x.npz", X=np.ones((2, 3000)), Y=np.ones(2))
    overrides = ["data=file", f"data.path={tmp_path}/x.npz", "model.width=10000"]
    monkeypatch.setattr("reludyn.experiment.memory.physical_memory", lambda: 2 * 10**9)
    check_memory(config(*overrides))
    with pytest.raises(ConfigError, match=r"^model.width=10000: the run needs about"):
        build(config(*overrides))


def test_a_file_that_is_too_large_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it is read, and where what it holds is known: not the width, whatever that is."""
    np.save(tmp_path / "x.npy", np.zeros((200, 2000)))
    overrides = ["data=file", f"data.path={tmp_path}/x.npy", "data.outputs=1", "model.width=3000"]
    monkeypatch.setattr("reludyn.experiment.memory.CHUNK", 0)
    with pytest.raises(ConfigError, match=r"^data\.path=.*x\.npy: the run needs about") as error:
        check_memory(config(*overrides[:3]), available=10**6)
    assert error.value.remedy == "Use a smaller file"


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        (["model.width=1000000"], "model.width"),
        (["data=stream", "data.samples=1000000000000"], "data.samples"),
    ],
)
def test_a_run_whose_steps_take_hours_is_refused(
    monkeypatch: pytest.MonkeyPatch, overrides: list[str], key: str
) -> None:
    monkeypatch.setattr("reludyn.experiment.memory.physical_memory", lambda: 2**50)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    with pytest.raises(ConfigError, match=rf"^{key}=\d+: a step would take about \d+ hours"):
        build(config(*overrides))


def test_what_fits_is_let_through() -> None:
    check_memory(config("replicas=100000"), available=2**31)


@cache
def peak(*overrides: str) -> int:
    """Bytes that a process of two steps holds at its peak."""
    script = (
        "import sys\n"
        "from hydra import compose, initialize_config_dir\n"
        "from reludyn.config.parse import conf_directory, parse, prepare_hydra\n"
        "from reludyn.experiment.build import build\n"
        "prepare_hydra()\n"
        "with initialize_config_dir(str(conf_directory()), version_base='1.3'):\n"
        "    config = parse(compose('config', overrides=['name=x', *sys.argv[1:]]))\n"
        "parts = build(config)\n"
        "parts.engine.advance(parts.engine.start(parts.student), 2)\n"
        "(peak,) = [x for x in open('/proc/self/status') if x.startswith('VmHWM')]\n"
        "print(int(peak.split()[1]) * 1024)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, *overrides], capture_output=True, text=True, check=True
    )
    return int(run.stdout)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
@pytest.mark.parametrize(
    "overrides",
    [
        ["data=gaussian", "data.samples=200000"],
        ["data=gaussian", "data.samples=4096", "replicas=200"],
        ["data=stream", "data.samples=4096", "replicas=200"],
        [
            "data=gaussian",
            "data.samples=20000",
            "data.seed=1",
            "optimizer=sgd",
            "replicas=40",
            "optimizer.batch=20000",
        ],
        ["replicas=100000"],
        ["model.width=6000", "data.dim=50"],
        ["data.dim=200000", "replicas=100"],
    ],
)
def test_the_estimate_is_of_the_right_size(overrides: list[str]) -> None:
    """Peak resident memory of two steps, over that of a small run, in a process of its own."""
    measured = peak(*overrides) - peak()
    assert 0.5 < measured / estimate(config(*overrides)) < 2
