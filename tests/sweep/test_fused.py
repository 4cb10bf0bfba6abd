"""`hydra/launcher=fused`: every file of every job as the basic launcher leaves it."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf
from tensorboard.compat.proto.summary_pb2 import Summary

from reludyn.experiment import memory
from reludyn.sweep import fused
from reludyn.sweep.jobs import SweepJob, _scalar
from reludyn.training.engine import Engine
from tests.support.boards import events
from tests.support.commands import QUICK, Command, interrupt, run_command

FUSED = "hydra/launcher=fused"
SWEPT = (
    "seed=0,3",
    "init.scale=1e-2,0.1",
    "optimizer.lr=0.1,0.3",
    "model.width=2,3",
    "init.signs=random",
    "trainer.steps=40",
    "trainer.looks=15",
    "data.dim=9",
)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same sweep of sixteen jobs by both launchers: with TensorBoard, without pictures."""
    where = tmp_path_factory.mktemp("both")
    for name, launcher in (("basic", "hydra/launcher=basic"), ("fused", FUSED)):
        done = run_command(
            where,
            "-m",
            launcher,
            *SWEPT,
            "figures=false",
            "logger.jobs=true",
            f"hydra.sweep.dir={name}",
        )
        assert (done.code, done.err) == (0, "")
    return where / "basic", where / "fused"


def files(folder: Path) -> list[str]:
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(re.sub(r"tfevents\..*", "tfevents", str(path)) for path in found)


def same_number(one: str, other: str) -> bool:
    try:
        return float(other) == pytest.approx(float(one), rel=1e-12, abs=1e-300)
    except ValueError:
        return one == other


@pytest.mark.slow
def test_the_same_files(both: tuple[Path, Path]) -> None:
    one, other = both
    assert files(one) == files(other)
    assert len([name for name in files(one) if name.endswith("DONE")]) == 16
    assert len([name for name in files(one) if name.endswith("tfevents")]) == 16 + 8


def each(both: tuple[Path, Path], pattern: str) -> list[tuple[Path, Path]]:
    """A file of all jobs, in both sweeps."""
    one, other = both
    found = sorted(one.glob(f"*/{pattern}"))
    assert len(found) == 16
    return [(path, other / path.relative_to(one)) for path in found]


@pytest.mark.parametrize("name", [".hydra/config.yaml", ".hydra/overrides.yaml", "DONE"])
def test_the_same_texts(both: tuple[Path, Path], name: str) -> None:
    assert all(a.read_bytes() == b.read_bytes() for a, b in each(both, name))


def test_hydra_s_own_part_differs_by_launcher_and_folder(both: tuple[Path, Path]) -> None:
    for a, b in each(both, ".hydra/hydra.yaml"):
        own = re.compile(r".*(launcher|Launcher|max_replicas).*\n")
        texts = [own.sub("", path.read_text()) for path in (a, b)]
        assert texts[0] == texts[1].replace("fused", "basic")


def test_the_same_logs(both: tuple[Path, Path]) -> None:
    for a, b in each(both, "reludyn.log"):
        lines = [re.sub(r"^\[[^]]*\]", "", p.read_text(), flags=re.M) for p in (a, b)]
        assert lines[0] == lines[1]
        assert "stopped after" in lines[0]


def test_the_same_results(both: tuple[Path, Path]) -> None:
    for a, b in each(both, "replicas.csv"):
        tables = [list(csv.reader(path.open(newline=""))) for path in (a, b)]
        for row, its_own in zip(*tables, strict=True):
            assert all(same_number(x, y) for x, y in zip(row, its_own, strict=True)), (row, its_own)
    for a, b in each(both, "summary.json"):
        one, other = (json.loads(path.read_text()) for path in (a, b))
        assert list(one) == list(other)
        for name in set(one) - {"wall_seconds", "median"}:
            assert same_number(str(one[name]), str(other[name])), name
        for name, value in one["median"].items():
            assert same_number(str(value), str(other["median"][name])), name
        assert 0 < other["wall_seconds"] < 60


def test_the_same_trajectories(both: tuple[Path, Path]) -> None:
    for a, b in each(both, "trajectory.npz"):
        one, other = (np.load(path, allow_pickle=False) for path in (a, b))
        assert one.files == other.files
        for name in one.files:
            x, y = one[name], other[name]
            assert (x.shape, x.dtype) == (y.shape, y.dtype)
            if x.dtype.kind == "f":
                np.testing.assert_allclose(y, x, rtol=1e-12, atol=1e-300)
            else:
                assert (x == y).all()


def test_the_same_checkpoints(both: tuple[Path, Path]) -> None:
    for a, b in each(both, "checkpoints/last.pt"):
        one, other = (torch.load(path, weights_only=True) for path in (a, b))
        assert list(one) == list(other)
        assert one.pop("seen")  # jobs of a batch resume together or not at all
        assert other.pop("seen") == {}
        for name, x in one.items():
            if isinstance(x, torch.Tensor):
                torch.testing.assert_close(other[name], x, rtol=1e-12, atol=1e-300)
            elif name in ("previous", "evaluation"):
                for y, z in zip(x, other[name], strict=True):  # a loss carries its rounding error
                    torch.testing.assert_close(z, y, rtol=1e-12, atol=1e-13)
            else:
                assert other[name] == x


def test_the_same_events(both: tuple[Path, Path]) -> None:
    """Scalars, layout, texts; a job has no row of its own in HPARAMS."""

    def values(folder: Path) -> list[tuple[int, Summary.Value]]:
        return [(event.step, value) for event in events(folder) for value in event.summary.value]

    for a, b in each(both, "tensorboard")[:4]:
        one, other = values(a), values(b)
        assert [(step, x.tag) for step, x in one] == [(step, x.tag) for step, x in other]
        assert [x.metadata for _, x in one] == [x.metadata for _, x in other]
        assert [x.tensor.string_val for _, x in one] == [x.tensor.string_val for _, x in other]
        numbers = [[x.simple_value for _, x in some] for some in (one, other)]
        np.testing.assert_allclose(numbers[1], numbers[0], rtol=1e-6)
        assert not [x.tag for _, x in one if x.metadata.plugin_data.plugin_name == "hparams"]


def test_the_same_table(both: tuple[Path, Path]) -> None:
    for name in ("sweep.csv", "sweep_summary.csv"):
        tables = [list(csv.reader((path / name).open(newline=""))) for path in both]
        for row, its_own in zip(*tables, strict=True):
            assert all(same_number(x, y) for x, y in zip(row, its_own, strict=True)), name


@pytest.mark.slow
def test_jobs_of_one_shape_go_as_one_batch(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[int] = []
    run = fused.Fused._run

    def counted(self: fused.Fused, batch: Sequence[SweepJob]) -> object:
        batches.append(len(batch))
        return run(self, batch)

    monkeypatch.setattr(fused.Fused, "_run", counted)
    finished = reludyn("-m", FUSED, *QUICK, "seed=range(3)", "model.width=2,3", "init.signs=same")
    assert (finished.code, batches) == (0, [3, 3])
    batches.clear()
    reludyn("-m", FUSED, "hydra.launcher.max_replicas=4", *QUICK, "seed=range(9)", "replicas=2")
    assert batches == [2, 2, 2, 2, 1]
    batches.clear()
    reludyn("-m", FUSED, *QUICK, "seed=0,1", "optimizer=gradient_flow")
    assert batches == [1, 1]


def test_batches_fit_into_memory(reludyn: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "LOOKS", 6000)
    finished = reludyn("-m", FUSED, *QUICK, "seed=range(9)")
    assert finished.code == 0
    batches = re.findall(r"batch \d+/(\d+): (\d+) jobs", finished.out)
    assert len(batches) == int(batches[0][0]) > 1
    assert sum(int(count) for _, count in batches) == 9


def test_a_job_that_fails_does_not_stop_its_batch(reludyn: Command) -> None:
    """One has a value that is not allowed, one finds out only when it is built."""
    finished = reludyn(
        "-m", FUSED, *QUICK, "seed=range(2)", "init.scale=-1,0.1", "trainer.tolerance=1e-4,0.3"
    )
    complete = [(folder / "DONE").exists() for folder in finished.folders]
    assert complete == [False, False, True, False] * 2
    assert finished.code == 1
    assert [re.sub(r", outputs\S*:", ":", line) for line in finished.errors][:3] == [
        "reludyn: error: job 0: init.scale=-1.0: must be > 0",
        "reludyn: error: job 1: init.scale=-1.0: must be > 0",
        "reludyn: error: job 3: trainer.tolerance=0.3: must be below 0.25, the loss of a student "
        "that is stuck. With a small data.target_norm use a smaller tolerance",
    ]
    log = (finished.folders[3] / "reludyn.log").read_text()
    assert "job 3: trainer.tolerance=0.3: must be below 0.25" in log


def test_a_fault_of_the_program_is_named_with_its_trace(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files = fused.write_files

    def broken(record: object, digest: str, folder: Path, began: float) -> object:
        if folder.name == "1":
            raise RuntimeError("broken")
        return write_files(record, digest, folder, began)  # type: ignore[arg-type]

    monkeypatch.setattr(fused, "write_files", broken)
    finished = reludyn("-m", FUSED, *QUICK, "seed=range(3)")
    assert finished.code == 1
    assert [(folder / "DONE").exists() for folder in finished.folders] == [True, False, True]
    (line,) = finished.errors
    assert line.endswith(": broken")
    assert "Traceback" in (finished.folders[1] / "reludyn.log").read_text()


def test_ctrl_c_keeps_what_had_been_reached(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(monkeypatch, Engine, "advance", 4, KeyboardInterrupt())
    finished = reludyn("-m", FUSED, *QUICK, "seed=range(3)", "hydra.sweep.dir=s")
    assert finished.code == 130
    assert "0 of 3 jobs are complete; to run the others:" in finished.err
    for folder in finished.folders:
        assert json.loads((folder / "summary.json").read_text())["stopped_because"] == "interrupted"
        assert not (folder / "DONE").exists()
    monkeypatch.undo()
    monkeypatch.chdir(finished.where)
    again = reludyn("-m", FUSED, *QUICK, "seed=range(3)", "hydra.sweep.dir=s")
    assert again.code == 0
    assert all((folder / "DONE").exists() for folder in again.folders)


@pytest.mark.slow
def test_jobs_are_composed_as_hydra_composes_them(reludyn: Command) -> None:
    """Types, groups, interpolations, quotes: what .hydra/ has is what the basic launcher has."""
    swept = [
        "seed=7",
        "init.scale=1,1e-3",
        "init=theorem",
        "trainer.tolerance=0,1e-9",
        "name='a-b',c",
        "init.output_scale=${init.scale}",
    ]
    for name, launcher in (("one", "basic"), ("two", "fused")):
        done = reludyn(
            "-m", f"hydra/launcher={launcher}", *QUICK, *swept, f"hydra.sweep.dir={name}"
        )
        assert done.code == 0, done.err
    one, two = (sorted((done.where / name).glob("*/.hydra/config.yaml")) for name in ("one", "two"))
    assert len(one) == 8
    assert [a.read_text() for a in one] == [b.read_text() for b in two]
    digests = [[(p.parents[1] / "DONE").read_text() for p in paths] for paths in (one, two)]
    assert digests[0] == digests[1]


def test_other_folders_may_depend_on_values(reludyn: Command) -> None:
    finished = reludyn(
        "-m",
        FUSED,
        *QUICK,
        "seed=1,2",
        "optimizer.lr=0.1,0.2",
        "hydra.sweep.dir=s",
        "hydra.sweep.subdir=lr_${optimizer.lr}/${hydra.job.override_dirname}",
    )
    assert finished.code == 0, finished.err
    names = {str(folder.relative_to(finished.where / "s")) for folder in finished.folders}
    lr = "figures=False,logger=none,optimizer.lr={},seed={},trainer.steps=5"
    assert names == {f"lr_{x}/{lr.format(x, s)}" for x in ("0.1", "0.2") for s in (1, 2)}


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("hydra.job.chdir=true", "must be false with hydra/launcher=fused"),
        ("hydra.launcher.max_replicas=0", "must be null or >= 1"),
        ("hydra.output_subdir=other", "must be .hydra with hydra/launcher=fused"),
    ],
)
def test_what_a_batch_cannot_do_is_refused(reludyn: Command, override: str, said: str) -> None:
    finished = reludyn("-m", FUSED, *QUICK, "seed=0,1", override)
    assert finished.code == 2
    assert f"{override}: {said}" in finished.errors[0]


@pytest.mark.slow
def test_a_thousand_seeds_are_composed_once(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    composed = []
    original = ConfigLoaderImpl.load_sweep_config

    def counted(self: ConfigLoaderImpl, *arguments: Any) -> object:
        composed.append(arguments)
        return original(self, *arguments)

    monkeypatch.setattr(ConfigLoaderImpl, "load_sweep_config", counted)
    reludyn("-m", FUSED, *QUICK, "seed=range(30)", "optimizer.lr=0.1,0.2")
    assert len(composed) == 1


def test_long_texts_with_blanks_are_yaml(reludyn: Command) -> None:
    """Hydra folds them; so nothing may be filled in where they stand."""
    name = "a folder whose name has many blanks, " * 3 + "and goes on"
    finished = reludyn("-m", FUSED, *QUICK, "seed=0,1", f"hydra.sweep.dir='{name}'")
    assert finished.code == 0, finished.err
    for job in range(2):
        written = OmegaConf.load(finished.where / name / str(job) / ".hydra" / "hydra.yaml")
        assert written.hydra.runtime.output_dir == str(finished.where / name / str(job))
        assert (written.hydra.job.num, written.hydra.job.id) == (job, str(job))
        assert f"seed={job}" in written.hydra.overrides.task


@given(st.text("aA/=.,+-_09 :#'\"\\é", max_size=12) | st.integers() | st.floats())
def test_values_are_written_as_yaml_writes_them(value: object) -> None:
    text = OmegaConf.to_yaml(OmegaConf.create({"x": value}))
    assert f"x: {_scalar(value)}\n" == text


def test_values_that_are_equal_are_not_the_same() -> None:
    assert [_scalar(value) for value in (0.0, -0.0, 0, False)] == ["0.0", "-0.0", "0", "false"]


def test_another_sweeper_may_launch_batches(reludyn: Command) -> None:
    finished = reludyn("-m", FUSED, "hydra/sweeper=basic", *QUICK, "seed=range(3)")
    assert finished.code == 0
    assert [(folder / "DONE").exists() for folder in finished.folders] == [True] * 3


def test_a_batch_that_fails_says_so_before_its_halves_run(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> object:
        raise MemoryError("too many")

    monkeypatch.setattr(fused, "train_together", broken)
    finished = reludyn("-m", FUSED, *QUICK, "seed=range(3)")
    assert finished.code == 0
    assert "3 jobs failed as a batch, its halves run next: too many" in finished.out
