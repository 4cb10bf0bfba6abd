"""What TensorBoard shows of a sweep: few runs, bands over the replicas of all jobs of each."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout

from reludyn.recording.console.report import SELECTED
from reludyn.sweep import curves as module
from reludyn.sweep.curves import POINTS
from reludyn.sweep.results import RUNS, finish
from tests.support.boards import Board, Tab, curves, runs
from tests.support.commands import Command, reludyn_in
from tests.support.sweeps import BROKEN, FOUND, STUCK, Jobs, finished, write_jobs, write_trajectory

LOOKS = (0, 1, 2, 4, 8), (0, 1, 2, 3)  # the second one stopped between two looks of the first
TWO: Jobs = [
    ({"seed": "0", "init": "theorem"}, [FOUND | {"T_align": 2, "T_growth": 8}, STUCK]),
    ({"seed": "5", "init": "theorem"}, [FOUND | {"T_align": 3}]),
    ({"seed": "0", "init": "balanced"}, [BROKEN]),
]
NAMES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "loss/total": lambda a: a["loss"],
    "loss/log10": lambda a: np.log10(a["loss"]),
    "loss/linear": lambda a: a["loss_linear"],
    "loss/rectification": lambda a: a["loss_rectification"],
    "norm/smallest_w": lambda a: a["w_norm"].min(-1),
    "norm/smallest_v": lambda a: a["v_norm"].min(-1),
    "angle/largest_to_target": lambda a: a["angle_to_target"].max(-1),
    "angle/largest_between": lambda a: a["angle_between"].max((-2, -1)),
    "imbalance/largest": lambda a: np.abs(a["imbalance"]).max(-1),
}


def ended(sweep: Path, of: Jobs, looks: Sequence[Sequence[int]], **given: Any) -> str:
    """What a sweep of these jobs prints, with a trajectory for as many as there are looks."""
    said, parts = io.StringIO(), write_jobs(sweep, of)
    for part, (_, replicas), steps in zip(parts, of, looks, strict=False):
        write_trajectory(part, steps, len(replicas))
    switches: dict[str, Any] = {"picture": "none", "tensorboard": True} | given
    finish(sweep, parts, console=Console(file=said, width=200), **switches)
    return said.getvalue()


def arrays(sweep: Path, job: int) -> dict[str, Any]:
    with np.load(sweep / str(job) / "trajectory.npz") as file:
        return dict(file)


# --- Curves -----------------------------------------------------------------------------------


def test_a_band_is_over_the_replicas_of_all_jobs_of_a_combination(tmp_path: Path) -> None:
    """At the looks of the job that went on for longest; what has stopped keeps its last values."""
    ended(tmp_path, TWO, [*LOOKS, (0, 7)])
    shown = curves(tmp_path / "tensorboard" / "init=theorem")
    one, other = (arrays(tmp_path, job) for job in (0, 1))
    for tag, of in NAMES.items():
        values = np.concatenate([of(one), of(other)[[0, 1, 2, 3, 3]]], axis=1)
        for level, q in (("p10", 0.1), ("median", 0.5), ("p90", 0.9)):
            assert list(shown[f"{tag}/{level}"]) == [*LOOKS[0]]
            expected = np.quantile(values, q, axis=1)
            np.testing.assert_allclose([*shown[f"{tag}/{level}"].values()], expected, rtol=1e-6)
    assert list(curves(tmp_path / "tensorboard" / "init=balanced")["loss/total/p90"]) == [0, 7]


def test_fractions_are_over_them_too(tmp_path: Path) -> None:
    ended(tmp_path, TWO, [*LOOKS, (0, 7)])
    shown = curves(tmp_path / "tensorboard" / "init=theorem", "fraction/")
    assert shown["aligned"] == pytest.approx({0: 0, 1: 0, 2: 1 / 3, 4: 2 / 3, 8: 2 / 3})
    assert shown["grown"] == pytest.approx({0: 0, 1: 0, 2: 0, 4: 0, 8: 1 / 3})
    assert set(shown) == {"aligned", "grown"}


def test_a_long_curve_is_thinned(tmp_path: Path) -> None:
    """Its ends stay."""
    ended(tmp_path, TWO[:1], [range(1000)])
    steps = list(curves(tmp_path / "tensorboard" / "init=theorem")["loss/total/median"])
    assert (len(steps), steps[0], steps[-1]) == (POINTS, 0, 999)
    assert set(np.diff(steps)) == {5, 6}


def test_of_many_replicas_some_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of each job; of more jobs than that every second, third, ... one."""
    monkeypatch.setattr(module, "REPLICAS", 2)
    jobs: Jobs = [({"seed": str(3 * i)}, [FOUND] * 3) for i in range(RUNS + 1)]
    ended(tmp_path, jobs, [(0, 1)] * len(jobs))
    (name,) = runs(tmp_path)
    used = [arrays(tmp_path, job)["loss"][:, 0] for job in (0, 11)]
    shown = curves(tmp_path / name)["loss/total/median"]
    np.testing.assert_allclose([*shown.values()], np.median(used, axis=0), rtol=1e-6)


@pytest.mark.parametrize("damage", ["removed", "cut"])
def test_a_trajectory_that_cannot_be_read_is_left_out(tmp_path: Path, damage: str) -> None:
    """Tables and HPARAMS need none."""
    parts = write_jobs(tmp_path, TWO)
    for part, (_, replicas) in zip(parts, TWO, strict=True):
        write_trajectory(part, LOOKS[0], len(replicas))
    file = parts[1].folder / "trajectory.npz"
    file.write_bytes(file.read_bytes()[:1000])
    if damage == "removed":
        file.unlink()
    said = Console(file=io.StringIO(), width=200)
    finish(tmp_path, parts, picture="none", tensorboard=True, console=said)
    assert isinstance(said.file, io.StringIO)
    assert "no curves of 1 jobs: trajectory.npz cannot be read" in said.file.getvalue()
    shown = curves(tmp_path / "tensorboard" / "init=theorem")["loss/total/p10"]
    expected = np.quantile(arrays(tmp_path, 0)["loss"], 0.1, axis=1)
    np.testing.assert_allclose([*shown.values()], expected, rtol=1e-6)


def test_what_is_not_finite_is_left_out(tmp_path: Path) -> None:
    (part,) = write_jobs(tmp_path, TWO[2:])
    found = write_trajectory(part, (0, 1, 2), 1)
    found["loss"][1:], found["w_norm"][2] = np.inf, np.nan
    np.savez(part.folder / "trajectory.npz", **found)
    finish(tmp_path, [part], picture="none", tensorboard=True, console=Console(quiet=True))
    (name,) = runs(tmp_path)
    shown = curves(tmp_path / name)
    assert list(shown["loss/total/median"]) == list(shown["loss/log10/p10"]) == [0]
    assert list(shown["norm/smallest_w/p90"]) == [0, 1]


# --- Runs -------------------------------------------------------------------------------------


def grid(count: int) -> Jobs:
    """Combinations, with two seeds each."""
    return [
        ({"optimizer.lr": str(i), "seed": seed}, [FOUND if i < 3 else STUCK])
        for i in range(count)
        for seed in "07"
    ]


def test_each_of_twenty_combinations_is_a_run(tmp_path: Path) -> None:
    printed = ended(tmp_path, grid(RUNS), [(0, 1)] * 2 * RUNS)
    names = [f"optimizer.lr={i}" for i in range(RUNS)]
    assert runs(tmp_path / "tensorboard") == sorted(names)
    assert set(Tab(tmp_path / "tensorboard").groups) == set(names)
    assert "as one run" not in printed


def test_more_are_one_run(tmp_path: Path) -> None:
    """With one row, bands over all jobs, and a table of all combinations among the texts."""
    printed = ended(tmp_path, grid(RUNS + 1), [(0, 1)] * 2 * (RUNS + 1))
    (name,) = runs(tmp_path / "tensorboard")
    assert "TensorBoard shows 21 combinations as one run; with logger.jobs=true each" in printed
    board = Tab(tmp_path / "tensorboard")
    assert board.values(name) == {"optimizer.lr": "21 values", "seed": "2 values"}
    assert board.results(name)["result/success_fraction"] == pytest.approx(6 / 42)
    losses = np.concatenate([arrays(tmp_path, job)["loss"] for job in range(42)], axis=1)
    shown = curves(tmp_path / "tensorboard" / name)["loss/total/median"]
    np.testing.assert_allclose([*shown.values()], np.median(losses, 1), rtol=1e-6)
    table = board.texts(name)["about/combinations"].splitlines()
    assert table[0] == "| optimizer.lr | replicas | success [95%] | T_converged | loss |"
    assert len(table) == 2 + 21
    assert table[2].startswith("| 0 | 2 | 1.000 [0.34, 1.00] | 300 | 2.5e-05 |")
    assert "The one run stands for all combinations" in board.texts(name)["about/how_to_read"]


def test_with_events_of_the_jobs_all_combinations_are_runs(tmp_path: Path) -> None:
    printed = ended(tmp_path, grid(RUNS + 1), [(0, 1)] * 2 * (RUNS + 1), jobs=True)
    assert len(runs(tmp_path / "tensorboard")) == RUNS + 1
    assert f"more than {SELECTED} runs" in printed  # 42 jobs, and 21
    assert "press TOGGLE ALL RUNS" in printed


def test_of_few_runs_no_button_is_named(tmp_path: Path) -> None:
    assert "TOGGLE" not in ended(tmp_path, TWO, LOOKS, jobs=True)


def test_the_first_run_says_what_is_of_all(tmp_path: Path) -> None:
    ended(tmp_path, TWO, [*LOOKS, (0, 7)])
    board = Board(tmp_path / "tensorboard")
    content = board.tensor("custom_scalars", "init=theorem")
    (category,) = Layout.FromString(content).category
    tags = {*curves(tmp_path / "tensorboard" / "init=theorem")}
    for chart in category.chart:
        assert {s for series in chart.margin.series for s in (series.lower, series.upper)} <= tags
        assert all(any(re.match(p, tag) for tag in tags) for p in chart.multiline.tag)
    assert len(category.chart) == 7
    assert (
        "**A sweep** of 3 jobs, 2 combinations" in board.texts("init=theorem")["about/how_to_read"]
    )
    assert board.texts("init=balanced") == {}


def test_every_tag_has_a_meaning(tmp_path: Path) -> None:
    ended(tmp_path, TWO, [*LOOKS, (0, 7)])
    for tags in Board(tmp_path / "tensorboard").meanings().values():
        assert len(tags) > 25
        assert [tag for tag, meaning in tags.items() if not meaning] == []


def test_where_nothing_was_swept_there_are_curves(tmp_path: Path) -> None:
    ended(tmp_path, [({}, [FOUND])], LOOKS)
    assert runs(tmp_path) == ["tensorboard"]
    assert "loss/log10/median" in curves(tmp_path / "tensorboard")


# --- In earnest -------------------------------------------------------------------------------

SMALL = ("-m", "trainer.steps=5", "figures=false", "init.scale=0.01,0.5", "seed=0,1")


@pytest.mark.parametrize("launcher", ["basic", "fused"])
@pytest.mark.parametrize("jobs", ["false", "true"])
def test_jobs_have_event_files_where_they_are_asked_for(
    reludyn: Command, launcher: str, jobs: str, tmp_path: Path
) -> None:
    words = (f"hydra/launcher={launcher}", f"logger.jobs={jobs}", "hydra.sweep.dir=sweep")
    ended = reludyn(*SMALL, *words)
    assert ended.code == 0, ended.err
    rows = [f"tensorboard/init.scale={scale}" for scale in ("0.01", "0.5")]
    own = [f"{job}/tensorboard" for job in range(4)] if jobs == "true" else []
    assert runs(tmp_path / "sweep") == [*own, *rows]
    for row, first in zip(rows, (0, 2), strict=True):
        losses = [arrays(tmp_path / "sweep", job)["loss"] for job in (first, first + 1)]
        shown = curves(tmp_path / "sweep" / row)["loss/total/median"]
        expected = np.median(np.concatenate(losses, axis=1), axis=1)
        np.testing.assert_allclose([*shown.values()], expected, rtol=1e-6)
    assert "--logdir sweep --host" in ended.out


@pytest.mark.parametrize("others", [SELECTED - 1, SELECTED])
def test_a_run_names_the_button_where_outputs_has_more(
    reludyn: Command, others: int, tmp_path: Path
) -> None:
    """Runs, a run with a name of its own, and rows of sweeps count."""
    places = ["outputs/mine/tensorboard", "outputs/a/sweep/tensorboard/init.scale=1"]
    places += [f"outputs/a/{i}/tensorboard" for i in range(others - 2)]
    for place in places:
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "events.out.tfevents.0").touch()
    run = reludyn_in(reludyn, "outputs/a/new", "logger=tensorboard")
    named = "--logdir outputs --host 127.0.0.1\n" in run.out and "TOGGLE ALL RUNS" in run.out
    assert named is (others == SELECTED)
    assert "--logdir outputs/a/new --host" in run.out
    assert "TOGGLE" not in reludyn_in(reludyn, "elsewhere", "logger=tensorboard").out


def test_without_a_logger_there_is_nothing(tmp_path: Path) -> None:
    finished(tmp_path, TWO)
    assert runs(tmp_path) == []
