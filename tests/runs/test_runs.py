"""Finished runs and sweeps as objects: what they hold is what the files say."""

from __future__ import annotations

import builtins
import csv
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import reludyn as package
from reludyn.figures import __main__
from reludyn.runs.load import latest, load_run, load_sweep
from reludyn.runs.read import config_of
from reludyn.runs.table import Table
from tests.support.commands import QUICK, Command, Finished, reludyn_in
from tests.support.sweeps import FOUND, STUCK, Jobs, finished


@pytest.fixture(scope="module")
def run(fig3: Finished) -> package.Run:
    return load_run(fig3.folder)


# --- Tables -----------------------------------------------------------------------------------


def test_a_column_has_one_type() -> None:
    table = Table({"x": ["1e-3", ""], "word": ["a", "1"], "signs": ["", ""], "no": ["", ""]})
    np.testing.assert_array_equal(table["x"], [1e-3, np.nan])
    np.testing.assert_array_equal(table["no"], [np.nan, np.nan])
    assert table["word"].tolist() == ["a", "1"]
    assert table["signs"].tolist() == ["", ""]
    assert (table.rows, len(table), list(table)) == (2, 4, ["x", "word", "signs", "no"])
    assert table.cells["x"] == ["1e-3", ""]


def test_a_column_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(KeyError, match="y: the columns are x, z"):
        Table({"x": [1], "z": [2]})["y"]


def test_a_table_without_rows_is_read(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n")
    table = Table.read(tmp_path / "t.csv")
    assert (table.rows, table["b"].tolist()) == (0, [])


# --- Runs -------------------------------------------------------------------------------------


def test_a_run_tells_its_settings(run: package.Run) -> None:
    assert run.config["optimizer"]["lr"] == 0.1
    assert run.config["trainer"]["tolerance"] == 1e-4
    assert {"loss", "W", "summary", "to_pandas"} <= set(dir(run))


def test_settings_are_the_same_in_memory(fig3: Finished, run: package.Run) -> None:
    in_memory = package.train("trainer.steps=2")
    groups = ("data", "model", "init", "optimizer", "logger", "theory")
    assert {g: in_memory.config[g] for g in groups} == {g: run.config[g] for g in groups}


def test_looks_as_a_data_frame(reludyn: Command) -> None:
    run = load_run(reludyn_in(reludyn, "run", "replicas=3", "model.width=2").where)
    frame = run.to_pandas()
    assert frame.index.names == ["step", "replica"]
    assert len(frame) == 6 * 3
    for name, array in (
        ("loss", run.loss),
        ("w_norm_2", run.w_norm[..., 1]),
        ("angle_between_1_2", run.angle_between[..., 0, 1]),
    ):
        np.testing.assert_array_equal(frame[name].unstack().to_numpy(), array)
    np.testing.assert_array_equal(frame["time"].unstack()[2], run.time)
    assert not {name for name in frame if name.startswith(("W", "A", "V", "partner"))}
    assert run.replicas.to_pandas()["outcome"].tolist() == ["unconverged"] * 3


def test_without_pandas_the_remedy_is_said(
    run: package.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = builtins.__import__

    def without(name: str, *arguments: Any) -> Any:
        if name == "pandas":
            raise ImportError(name)
        return usual(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"pip install 'reludyn\[pandas\]'"):
        run.to_pandas()


def test_a_misspelt_name_is_corrected(run: package.Run) -> None:
    with pytest.raises(AttributeError, match=r"no losss; did you mean loss\?"):
        _ = run.losss
    with pytest.raises(AttributeError, match=r"no nothing_like_it; a run has .*replicas.*w_norm"):
        _ = run.nothing_like_it
    assert run.replicas._ipython_key_completions_() == [*run.replicas]


def test_runs_can_be_compared_and_kept_in_a_set(run: package.Run, fig3: Finished) -> None:
    assert {run, run} == {run}
    assert run != load_run(fig3.folder)


def test_weights_that_were_not_kept_are_missed(reludyn: Command) -> None:
    folder = reludyn_in(reludyn, "run", "trainer.keep_weights=0").where
    with pytest.raises(ValueError, match=r"has no weights: trainer\.keep_weights was 0"):
        _ = load_run(folder).initial


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("summary.json", "{"),
        ("summary.json", "[]"),
        ("summary.json", "[" * 10**5),
        ("replicas.csv", ""),
        ("replicas.csv", "a,b\n1\n"),
        ("replicas.csv", "x" * 10**6),
        ("trajectory.npz", ""),
        ("replicas.csv", "replica\n0\n1\n"),
    ],
)
def test_damaged_tables_are_refused(fig3: Finished, tmp_path: Path, name: str, text: str) -> None:
    shutil.copytree(fig3.folder, tmp_path / "run")
    (tmp_path / "run" / name).write_text(text)
    damaged = "trajectory.npz" if text == "replica\n0\n1\n" else name  # of other replicas
    with pytest.raises(ValueError, match=rf"{damaged} is damaged: "):
        load_run(tmp_path / "run")


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("step", None),
        ("loss", np.zeros((3, 1))),
        ("w_norm", np.zeros(3)),
        ("A", np.zeros(2)),
        ("W", np.zeros((0, 0, 0, 0))),
        ("time", np.zeros(3, "S1")),
        ("loss", "a lying header"),
    ],
)
def test_a_trajectory_that_is_none_ends_in_one_line(
    fig3: Finished, tmp_path: Path, name: str, array: Any
) -> None:
    """Arrays that are not there, of other shapes or types, or claimed by a header alone."""
    (tmp_path / ".hydra").mkdir()
    for part in ("replicas.csv", "summary.json", ".hydra/config.yaml", "DONE"):
        shutil.copy(fig3.folder / part, tmp_path / part)
    arrays = {**fig3.arrays, name: array}
    if array is None:
        del arrays[name]
    if isinstance(array, str):
        with zipfile.ZipFile(tmp_path / "trajectory.npz", "w") as archive:
            header = "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,)}"
            size = len(header).to_bytes(2, "little")
            archive.writestr(f"{name}.npy", b"\x93NUMPY\1\0" + size + header.encode())
    else:
        np.savez(tmp_path / "trajectory.npz", **arrays)
    with pytest.raises(SystemExit) as ended:
        __main__.main([str(tmp_path)])
    path = tmp_path / "trajectory.npz"
    assert str(ended.value).startswith(f"reludyn-figures: error: {path} is damaged: ")


def test_a_file_that_a_run_did_not_leave(run: package.Run) -> None:
    with pytest.raises(FileNotFoundError, match=r"plane\.npz: .* theory\.plane=targets leaves it"):
        run.npz("plane.npz")
    with pytest.raises(FileNotFoundError, match=r"stability\.csv: Run of 1 replica,"):
        run.table("stability.csv")
    with pytest.raises(FileNotFoundError, match="in memory"):
        package.train("trainer.steps=2").npz("plane.npz")


def test_what_an_unfinished_run_left_is_read_on_request(reludyn: Command) -> None:
    folder = reludyn_in(reludyn, "run").where
    (folder / "DONE").unlink()
    (folder / "summary.json").unlink()
    run = load_run(folder, unfinished=True)
    assert run.step[-1] == 5
    assert run.summary == {}


@pytest.mark.slow
def test_a_config_that_was_torn_is_refused(fig3: Finished, tmp_path: Path) -> None:
    whole = (fig3.folder / ".hydra" / "config.yaml").read_text()
    expected, torn = yaml.safe_load(whole), tmp_path / ".hydra" / "config.yaml"
    torn.parent.mkdir()
    refused = 0
    for size in range(len(whole)):
        torn.write_text(whole[:size])
        try:
            config = config_of(tmp_path)
        except ValueError:
            refused += 1
            continue
        keys = [*config][:-1]  # the last value may be cut
        assert [config[key] for key in keys] == [expected[key] for key in keys]
    assert refused > 0.9 * len(whole)
    torn.write_text("")
    with pytest.raises(ValueError, match=r"config\.yaml is damaged: resuming the run"):
        config_of(tmp_path)


# --- Sweeps -----------------------------------------------------------------------------------

JOBS: Jobs = [
    ({"seed": seed, "init.scale": scale}, [FOUND, STUCK if scale == "1e-2" else FOUND])
    for scale in ("1e-2", "1e-4")
    for seed in ("0", "2")
]


def test_a_sweep_is_its_tables(tmp_path: Path) -> None:
    finished(tmp_path, JOBS)
    sweep = load_sweep(tmp_path)
    assert sweep.keys == ["init.scale"]
    assert sweep.summary["init.scale"].tolist() == [1e-2, 1e-4]
    assert sweep.summary["success"].tolist() == [0.5, 1.0]
    assert sweep.replicas.rows == 8
    assert (sweep.replicas["outcome"] == "global_minimum").sum() == 6
    with (tmp_path / "sweep.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    frame = sweep.to_pandas()
    assert list(frame) == list(rows[0])
    assert frame["seed"].tolist() == [float(row["seed"]) for row in rows]


def test_the_jobs_of_a_real_sweep(reludyn: Command) -> None:
    done = reludyn("-m", *QUICK, "hydra.sweep.dir=s", "model.width=3,2", "replicas=2")
    sweep = load_sweep(done.where / "s")
    assert [job.config["model"]["width"] for job in sweep.jobs] == [3, 2]
    assert [job.load().w_norm.shape[-1] for job in sweep.jobs] == [3, 2]
    assert sweep.jobs[1].replicas["seed"].tolist() == [0, 1]
    assert repr(sweep) == f"Sweep over model.width: {done.where / 's'}"


def test_a_folder_is_what_it_is(tmp_path: Path) -> None:
    finished(tmp_path / "s", JOBS)
    with pytest.raises(FileNotFoundError, match="load_sweep reads it"):
        load_run(tmp_path / "s")
    with pytest.raises(AttributeError, match=r"a sweep has no step; .*load\(\)"):
        _ = load_sweep(tmp_path / "s").step
    for load in (load_run, load_sweep, latest):
        with pytest.raises(FileNotFoundError, match="there is no folder"):
            load(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"no sweep_summary\.csv"):
        load_sweep(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no DONE\. unfinished=True reads"):
        load_run(tmp_path)
    (tmp_path / "DONE").touch()
    with pytest.raises(FileNotFoundError, match=r"no trajectory\.npz"):
        load_run(tmp_path)


def test_a_run_is_no_sweep(fig3: Finished) -> None:
    with pytest.raises(FileNotFoundError, match="load_run reads it"):
        load_sweep(fig3.folder)


def test_the_home_folder_is_known(fig3: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(fig3.folder.parent))
    assert load_run(f"~/{fig3.folder.name}").summary == fig3.summary


def test_the_latest(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no run below it"):
        package.latest(tmp_path)
    for age, name in enumerate(("b/DONE", "c/0/DONE", "c/sweep_summary.csv", "a/DONE")):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.utime(path, (age, age))
        assert package.latest(tmp_path) == path.parent
