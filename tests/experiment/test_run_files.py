"""What a run leaves behind: the files of design.md section 5, whole, true and never overwritten."""

import csv
import io
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from reludyn import __version__
from reludyn.config.parse import config_hash
from reludyn.recording.replica_rows import COLUMNS
from reludyn.system.files import write_csv, write_json
from tests.support.commands import QUICK, Command, Finished, contents, reludyn_in

# the public contract, written out here so that a change of it is seen
COLUMNS_OF_CSV = [
    "replica",
    "seed",
    "outcome",
    "loss",
    "loss_linear",
    "loss_rectification",
    "T_align",
    "T_growth",
    "T_converged",
    "rate_measured",
    "predicted_T_align",
    "predicted_T_growth",
    "predicted_T_converged",
    "predicted_outcome",
    "effective_weight_error",
    "group_sum_error",
    "saddle_c",
    "init_scale",
    "stopped_because",
    "loss_population",
    "signs",
    "predicted_signs",
    "basin_rule",
    "sign_rule",
    "predicted_saddle_c",
    "predicted_rate",
    "pair_residual",
    "pair_cosine_hidden",
    "pair_cosine_output",
    "steps",
    "last_finite_loss",
]
KEYS_OF_SUMMARY = {
    "version",
    "experiment",
    "device",
    "precision",
    "wall_seconds",
    "steps",
    "replicas",
    "stopped_because",
    "success_fraction",
    "median",
    "defined",
}
KEYS_OF_MEDIAN = {
    "T_align",
    "T_growth",
    "T_converged",
    "loss",
    "loss_linear",
    "loss_rectification",
    "rate_measured",
}
ADDED_TO_SUMMARY = {"loss_resolution"}
OUTCOMES = {"global_minimum", "non_strict_saddle", "diverged", "unconverged"}


# --- The files --------------------------------------------------------------------------------


def test_every_file_is_there(fig3: Finished) -> None:
    left = {re.sub(r"tfevents.*", "tfevents", name) for name in contents(fig3.folder)}
    assert left == {
        "DONE",
        "summary.json",
        "replicas.csv",
        "trajectory.npz",
        "checkpoints/last.pt",
        "figures/phases.png",
        "figures/phases.pdf",
        "tensorboard/events.out.tfevents",
        ".hydra/config.yaml",
        ".hydra/hydra.yaml",
        ".hydra/overrides.yaml",
    }
    assert (fig3.folder / "reludyn.log").stat().st_size > 0


def test_they_lie_below_the_name_of_the_experiment_and_the_date(fig3: Finished) -> None:
    outputs, name, date = fig3.folder.relative_to(fig3.where).parts
    assert (outputs, name) == ("outputs", "fig3")
    assert re.match(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d", date)


def test_the_files_are_named_at_the_end(fig3: Finished) -> None:
    folder = str(fig3.folder.relative_to(fig3.where))
    watch = rf"tensorboard'? --logdir {re.escape(folder)} --host 127.0.0.1\n"
    assert re.search(watch, fig3.out)
    assert f"{folder}/figures/phases.png" in fig3.out


def test_figures_and_logger_can_be_left_out(reludyn: Command) -> None:
    finished = reludyn("trainer.steps=5", "figures=false", "logger=none")
    assert {name.split("/")[0] for name in contents(finished.folder)} == {
        "DONE",
        "summary.json",
        "replicas.csv",
        "trajectory.npz",
        "checkpoints",
        ".hydra",
    }
    assert "tensorboard" not in finished.out
    assert "picture" not in finished.out


# --- replicas.csv -----------------------------------------------------------------------------


@pytest.mark.parametrize("run", ["fig3", "ensemble", "empirical"])
def test_the_columns_are_the_documented_ones(run: str, request: pytest.FixtureRequest) -> None:
    rows = request.getfixturevalue(run).rows
    assert all(list(row) == COLUMNS_OF_CSV for row in rows)
    assert list(COLUMNS) == COLUMNS_OF_CSV


def test_a_row_a_replica(reludyn: Command) -> None:
    rows = reludyn(*QUICK, "replicas=3", "seed=7").rows
    assert [row["replica"] for row in rows] == ["0", "1", "2"]
    assert [row["seed"] for row in rows] == ["7", "8", "9"]
    assert {row["outcome"] for row in rows} <= OUTCOMES


def test_what_is_not_defined_is_empty(empirical: Finished) -> None:
    undefined = {
        *("predicted_T_growth", "predicted_T_converged", "predicted_outcome", "basin_rule"),
        *("T_converged", "rate_measured"),
        *("effective_weight_error", "group_sum_error", "saddle_c"),  # they need one output
    }
    for row in empirical.rows:
        assert {name for name, cell in row.items() if not cell} >= undefined
        assert "nan" not in "".join(row.values())


def test_values_in_the_csv_are_those_of_the_last_look(ensemble: Finished) -> None:
    for name in ("loss", "loss_linear", "loss_rectification"):
        in_csv = [float(row[name]) for row in ensemble.rows]
        np.testing.assert_array_equal(in_csv, ensemble.arrays[name][-1])


def test_floats_survive_the_csv(tmp_path: Path) -> None:
    values = [0.1, 1 / 3, 5e-324, 1.7976931348623157e308, 1e-26, -0.0]
    write_csv(tmp_path / "x.csv", ["x"], [{"x": value} for value in values])
    cells = [row["x"] for row in csv.DictReader(io.StringIO((tmp_path / "x.csv").read_text()))]
    assert [float(cell) for cell in cells] == values


def test_events_are_where_the_arrays_show_them(fig3: Finished) -> None:
    arrays, (row,) = fig3.arrays, fig3.rows
    events = {
        "T_align": arrays["angle_to_target"].max((1, 2)) <= math.pi / 20,
        "T_growth": arrays["v_norm"].min((1, 2)) >= 1 / 4,
        "T_converged": arrays["loss"][:, 0] < 1e-4,
    }
    assert {name: int(row[name]) for name in events} == {
        name: int(arrays["step"][held.argmax()]) for name, held in events.items()
    }


@pytest.mark.slow
def test_events_do_not_depend_on_the_looks(reludyn: Command) -> None:
    few, many = (
        reludyn_in(reludyn, looks, f"trainer.looks={looks}", "trainer.steps=3000").rows[0]
        for looks in ("5", "1000")
    )
    same = ("T_align", "T_growth", "T_converged", "loss", "outcome", "effective_weight_error")
    assert {name: few[name] for name in same} == {name: many[name] for name in same}
    assert few["T_converged"] != ""


# --- summary.json -----------------------------------------------------------------------------


@pytest.mark.parametrize("run", ["fig3", "ensemble", "empirical"])
def test_the_keys_of_the_summary(run: str, request: pytest.FixtureRequest) -> None:
    summary = request.getfixturevalue(run).summary
    assert set(summary) == KEYS_OF_SUMMARY | ADDED_TO_SUMMARY
    assert set(summary["median"]) == KEYS_OF_MEDIAN


def test_the_summary_of_one_replica_is_its_row(fig3: Finished) -> None:
    (row,) = fig3.rows
    assert fig3.summary["median"] == {name: float(row[name]) for name in KEYS_OF_MEDIAN}


def test_the_summary_of_an_ensemble_holds_medians(reludyn: Command) -> None:
    finished = reludyn("replicas=5", "trainer.steps=200", "figures=false", "logger=none")
    for name, median in finished.summary["median"].items():
        cells = [float(row[name]) for row in finished.rows if row[name]]
        assert median == (np.median(cells) if cells else None)
    assert finished.summary["median"]["T_align"] > 0


def test_the_summary_says_what_was_run(ensemble: Finished) -> None:
    said = {name: ensemble.summary[name] for name in ("version", "experiment", "precision")}
    assert said == {"version": __version__, "experiment": "fig3", "precision": "float64"}
    assert (ensemble.summary["replicas"], ensemble.summary["steps"]) == (6, 60)
    assert ensemble.summary["device"] in ("cpu", "cuda")
    assert 0 < ensemble.summary["wall_seconds"] < 600


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    ("overrides", "why", "success"),
    [
        (["trainer.steps=400"], "converged", 1.0),
        (["trainer.steps=5"], "max_steps", 0.0),
        (["optimizer.lr=5"], "diverged", 0.0),
    ],
)
def test_the_summary_says_why_training_stopped(
    reludyn: Command, overrides: list[str], why: str, success: float
) -> None:
    summary = reludyn(*overrides, "figures=false", "logger=none").summary
    assert (summary["stopped_because"], summary["success_fraction"]) == (why, success)


def test_what_is_not_a_number_is_not_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", {"x": math.nan})
    assert list(tmp_path.iterdir()) == []


# --- DONE and the checkpoint ------------------------------------------------------------------


def test_done_holds_the_hash_of_the_config(fig3: Finished) -> None:
    config = OmegaConf.load(fig3.folder / ".hydra" / "config.yaml")
    config.name = "fig3"  # the one value that is an interpolation
    assert (fig3.folder / "DONE").read_text() == f"{config_hash(config)}\n"


def test_done_is_written_last(fig3: Finished) -> None:
    written = {path: path.stat().st_mtime_ns for path in fig3.folder.rglob("*") if path.is_file()}
    assert max(written, key=written.__getitem__) == fig3.folder / "DONE"


@pytest.mark.parametrize("run", ["fig3", "ensemble", "empirical"])
def test_the_checkpoint_lifts_to_the_final_weights(
    run: str, request: pytest.FixtureRequest
) -> None:
    finished = request.getfixturevalue(run)
    saved = torch.load(finished.folder / "checkpoints" / "last.pt", weights_only=True)
    W = saved["W"] if saved["basis"] is None else saved["W"] @ saved["basis"].mT
    kept = finished.arrays["W"].shape[1]
    np.testing.assert_allclose(W[:kept], finished.arrays["W"][-1], rtol=0, atol=1e-15)
    np.testing.assert_array_equal(saved["V"][:kept], finished.arrays["V"][-1])


def test_the_checkpoint_knows_where_it_is(ensemble: Finished) -> None:
    saved = torch.load(ensemble.folder / "checkpoints" / "last.pt", weights_only=True)
    assert saved["config_hash"] == (ensemble.folder / "DONE").read_text().strip()
    assert saved["steps"].tolist() == [60] * 6
    aligned = [-1 if row["T_align"] == "" else int(row["T_align"]) for row in ensemble.rows]
    assert saved["T_align"].tolist() == aligned


# --- Sweeps -----------------------------------------------------------------------------------


def test_every_job_of_a_sweep_is_a_whole_run_in_a_folder_of_its_own(reludyn: Command) -> None:
    """The sweep lies below its name as a run does."""
    finished = reludyn("-m", *QUICK, "seed=0,1", "name=mine")
    assert finished.code == 0
    (sweep,) = (finished.where / "outputs" / "mine").iterdir()
    assert finished.folders == [sweep / job for job in "01"]
    whole = {"DONE", "summary.json", "replicas.csv", "trajectory.npz", "checkpoints/last.pt"}
    assert all(whole <= set(contents(folder)) for folder in finished.folders)
    assert len({(folder / "DONE").read_text() for folder in finished.folders}) == 2


def test_a_job_of_a_sweep_that_fails_does_not_stop_the_others(reludyn: Command) -> None:
    finished = reludyn("-m", *QUICK, "model.width=1,-1,2")
    assert [(folder / "DONE").exists() for folder in finished.folders] == [True, False, True]
    assert finished.code == 1
    (line,) = finished.errors
    assert line.startswith("reludyn: error: job 1, outputs/fig3/")
    assert line.endswith("_sweep/1: model.width=-1: must be >= 1")


def test_a_job_of_a_sweep_that_diverges_does_not_stop_the_others(reludyn: Command) -> None:
    finished = reludyn(
        "-m", "optimizer.lr=5,0.1", "trainer.steps=50", "figures=false", "logger=none"
    )
    stopped = [
        json.loads((folder / "summary.json").read_text())["stopped_because"]
        for folder in finished.folders
    ]
    assert stopped == ["diverged", "max_steps"]


@pytest.mark.slow
def test_replica_j_of_a_batch_is_its_seed_alone(reludyn: Command) -> None:
    batch = reludyn_in(reludyn, "batch", "replicas=3", "trainer.steps=300")
    alone = reludyn_in(reludyn, "alone", "seed=2", "trainer.steps=300")
    np.testing.assert_array_equal(batch.arrays["V"][0, 2], alone.arrays["V"][0, 0])
    np.testing.assert_allclose(batch.arrays["W"][0, 2], alone.arrays["W"][0, 0], rtol=1e-12)
    assert batch.rows[2]["T_converged"] == alone.rows[0]["T_converged"] != ""
