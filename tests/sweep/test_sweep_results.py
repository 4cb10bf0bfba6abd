"""What a sweep leaves: its tables, read back; the printed table; what a key with a column's name
becomes."""

from __future__ import annotations

import csv
import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from rich.console import Console

from reludyn.numerics.statistics import wilson
from reludyn.runs.columns import COLUMNS
from reludyn.sweep.results import Part, finish
from tests.support.commands import QUICK, Finished
from tests.support.sweeps import BROKEN, FOUND, STUCK, Cells, Jobs, finished, write_jobs


def read(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Header and rows."""
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    return header, [dict(zip(header, row, strict=True)) for row in rows]


GRID: Jobs = [
    ({"init.scale": "1e-2", "init": "theorem", "seed": "5"}, [FOUND, STUCK]),
    ({"init.scale": "1e-4", "init": "theorem", "seed": "5"}, [STUCK, BROKEN]),
    ({"init.scale": "1e-2", "init": "theorem", "seed": "9"}, [FOUND | {"T_converged": 500}]),
]


# --- sweep.csv --------------------------------------------------------------------------------


def test_there_is_a_row_a_replica(tmp_path: Path) -> None:
    finished(tmp_path, GRID)
    header, rows = read(tmp_path / "sweep.csv")
    assert header == ["job", "init.scale", "init", *COLUMNS]
    first = [[row[name] for name in header[:5]] for row in rows]
    assert first == [
        ["0", "1e-2", "theorem", "0", "5"],
        ["0", "1e-2", "theorem", "1", "6"],
        ["1", "1e-4", "theorem", "0", "5"],
        ["1", "1e-4", "theorem", "1", "6"],
        ["2", "1e-2", "theorem", "0", "9"],
    ]


def test_a_row_holds_what_its_job_wrote(tmp_path: Path) -> None:
    full: dict[str, object] = {name: f"{name}, {i / 7!r}" for i, name in enumerate(COLUMNS)}
    numbers: dict[str, object] = {"loss": "1e-28", "outcome": "global_minimum"} | dict.fromkeys(
        ("T_align", "T_growth", "T_converged", "rate_measured"), "0.1"
    )
    finished(tmp_path, [({"seed": "0"}, [full | numbers, {"outcome": "diverged"}])])
    _, rows = read(tmp_path / "sweep.csv")
    _, written = read(tmp_path / "0" / "replicas.csv")
    assert [{name: row[name] for name in COLUMNS} for row in rows] == written


def test_values_are_as_they_were_typed(tmp_path: Path) -> None:
    typed = {"data.target": "[1,2]", "name": 'a "b", c', "data.path": "ü"}
    finished(tmp_path, [(typed, [FOUND])])
    for name in ("sweep.csv", "sweep_summary.csv"):
        _, (row,) = read(tmp_path / name)
        assert {key: row[key] for key in typed} == typed


def test_columns_that_another_version_did_not_have_are_empty(tmp_path: Path) -> None:
    (part,) = write_jobs(tmp_path, [({"init": "theorem"}, [])])
    (part.folder / "replicas.csv").write_text("loss,new,outcome\n0.5,?,unconverged\n")
    finish(tmp_path, [part], picture="none", tensorboard=False, console=Console(quiet=True))
    header, (row,) = read(tmp_path / "sweep.csv")
    assert header == ["job", "init", *COLUMNS]
    assert {name: cell for name, cell in row.items() if cell} == {
        "job": "0",
        "init": "theorem",
        "loss": "0.5",
        "outcome": "unconverged",
    }


def test_a_folder_of_jobs_may_be_deep(tmp_path: Path) -> None:
    parts = write_jobs(tmp_path / "a" / "b", [({"init": "theorem"}, [FOUND])])
    finish(tmp_path, parts, picture="none", tensorboard=False, console=Console(quiet=True))
    assert read(tmp_path / "sweep.csv")[1][0]["job"] == os.path.join("a", "b", "0")


def test_a_table_is_whole_or_absent(tmp_path: Path) -> None:
    parts = write_jobs(tmp_path, GRID)
    (parts[2].folder / "replicas.csv").unlink()
    with pytest.raises(FileNotFoundError):
        finish(tmp_path, parts, picture="phases", tensorboard=True, console=Console(quiet=True))
    assert {path.name for path in tmp_path.iterdir()} == {"0", "1", "2"}


def test_without_jobs_nothing_is_written(tmp_path: Path) -> None:
    assert (
        finish(tmp_path, [], picture="phases", tensorboard=True, console=Console(quiet=True)) == []
    )
    assert not list(tmp_path.iterdir())


# --- sweep_summary.csv ------------------------------------------------------------------------

COUNTS = ["jobs", "replicas", "success", "success_low", "success_high", "stuck", "diverged"]
LEVELS = [
    f"{name}_{level}"
    for name in ("T_align", "T_growth", "T_converged", "loss", "rate_measured")
    for level in ("median", "p10", "p90")
]
DEFINED = [
    "repeated",
    *(
        f"{name}_defined"
        for name in ("T_align", "T_growth", "T_converged", "loss", "rate_measured")
    ),
]


def test_a_replica_that_is_repeated_counts_once(tmp_path: Path) -> None:
    """Seeds 1, 1 and 2, of two replicas each: three replicas, and three copies, of which the table
    has the rows and the summary and what is printed the number."""
    rows: list[Cells] = [FOUND | {"init_scale": 0.01}, STUCK | {"init_scale": 0.01}]
    three: list[Cells] = [STUCK | {"init_scale": 0.01}, FOUND | {"init_scale": 0.01}]
    jobs = [({"seed": "1"}, rows), ({"seed": "1"}, rows), ({"seed": "2"}, three)]
    printed = finished(tmp_path, jobs)
    assert len(read(tmp_path / "sweep.csv")[1]) == 6
    _, (row,) = read(tmp_path / "sweep_summary.csv")
    assert (row["jobs"], row["replicas"], row["repeated"]) == ("3", "3", "3")
    expected = wilson(2, 3)
    found = [float(row[name]) for name in ("success", "success_low", "success_high")]
    assert found == pytest.approx(expected, rel=1e-15)
    assert (row["T_converged_defined"], row["loss_defined"]) == ("2", "3")
    assert "3 (3 repeated)" in printed
    assert "3 rows repeat a seed with the same settings: each replica counts once" in printed


def test_a_seed_at_two_scales_is_two_replicas(tmp_path: Path) -> None:
    rows = [FOUND | {"init_scale": scale, "seed": 4} for scale in (0.1, 0.2)]
    printed = finished(tmp_path, [({"init": "theorem"}, rows)])
    _, (row,) = read(tmp_path / "sweep_summary.csv")
    assert (row["replicas"], row["repeated"]) == ("2", "0")
    assert "repeat" not in printed


def test_jobs_that_differ_by_their_seed_are_one_group(tmp_path: Path) -> None:
    finished(tmp_path, GRID)
    header, rows = read(tmp_path / "sweep_summary.csv")
    assert header == ["init.scale", "init", *COUNTS, *LEVELS, *DEFINED]
    assert [[row[name] for name in header[:4]] for row in rows] == [
        ["1e-2", "theorem", "2", "3"],
        ["1e-4", "theorem", "1", "2"],
    ]
    assert [float(row["success"]) for row in rows] == [2 / 3, 0]
    assert [float(row["stuck"]) for row in rows] == [1 / 3, 1 / 2]
    assert [float(row["diverged"]) for row in rows] == [0, 1 / 2]


@pytest.mark.parametrize("found", [0, 1, 7, 10])
def test_the_interval_is_where_the_score_test_ends(tmp_path: Path, found: int) -> None:
    """Wilson (1927): the p with (found/n - p)^2 = z^2 p (1 - p)/n."""
    finished(tmp_path, [({"init": "theorem"}, [FOUND] * found + [STUCK] * (10 - found))])
    _, (row,) = read(tmp_path / "sweep_summary.csv")
    z2, p = 1.959963984540054**2, found / 10
    roots = np.roots([1 + z2 / 10, -2 * p - z2 / 10, p**2]).real
    measured = [float(row[name]) for name in ("success_low", "success", "success_high")]
    np.testing.assert_allclose(measured, [roots.min(), p, roots.max()], atol=1e-12)


def test_quantiles_are_over_the_replicas_where_something_is_defined(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    times, losses = rng.integers(1, 1000, 40), rng.lognormal(size=60)
    replicas = [FOUND | {"T_converged": t, "loss": x} for t, x in zip(times, losses, strict=False)]
    replicas += [STUCK | {"loss": x} for x in losses[40:]] + [BROKEN]
    halves = replicas[::2], replicas[1::2]
    finished(tmp_path, [({"seed": str(100 * i)}, half) for i, half in enumerate(halves)])
    _, (row,) = read(tmp_path / "sweep_summary.csv")
    for name, sample in (("T_converged", times), ("loss", losses)):
        for level, q in (("median", 0.5), ("p10", 0.1), ("p90", 0.9)):
            ordered, place = np.sort(sample), q * (len(sample) - 1)
            below = math.floor(place)
            between = ordered[below] + (place - below) * (ordered[below + 1] - ordered[below])
            assert float(row[f"{name}_{level}"]) == pytest.approx(between, rel=1e-12)
    assert [row[name] for name in LEVELS if name.startswith(("T_align", "rate"))] == [""] * 6


def test_a_sweep_over_seeds_is_one_group(tmp_path: Path) -> None:
    finished(tmp_path, [({"seed": str(s)}, [FOUND]) for s in (3, 4, 5)])
    header, (row,) = read(tmp_path / "sweep_summary.csv")
    assert header == COUNTS + LEVELS + DEFINED
    assert (row["jobs"], row["replicas"]) == ("3", "3")


def test_the_number_of_replicas_can_be_swept(tmp_path: Path) -> None:
    """The summary counts replicas in a column of that name."""
    finished(tmp_path, [({"replicas": str(n)}, [FOUND] * n) for n in (1, 3)], picture="phases")
    header, rows = read(tmp_path / "sweep_summary.csv")
    assert header[:3] == ["job.replicas", "jobs", "replicas"]
    assert [row["job.replicas"] for row in rows] == [row["replicas"] for row in rows] == ["1", "3"]
    assert read(tmp_path / "sweep.csv")[0][:3] == ["job", "replicas", "replica"]


# --- Printing ---------------------------------------------------------------------------------


def test_the_table_is_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    printed = finished(tmp_path / "s", GRID, picture="phases", tensorboard=True)
    lines = [line.split() for line in printed.splitlines()]
    time = ["400", "(2", "of", "3)"]
    assert ["1e-2", "theorem", "3", "0.667", "[0.21,", "0.94]", *time, "2.5e-05"] in lines
    loss = ["0.25", "(1", "of", "2)"]
    assert ["1e-4", "theorem", "2", "0.000", "[0.00,", "0.66]", "-", *loss] in lines
    assert ["table", "s/sweep.csv"] in lines
    assert ["summary", "s/sweep_summary.csv"] in lines
    assert ["picture", "s/figures/sweep.png"] in lines
    assert lines[-1][0] == "watch"
    assert lines[-1][-4:] == ["--logdir", "s", "--host", "127.0.0.1"]


def test_a_long_table_is_cut(tmp_path: Path) -> None:
    jobs = [({"init.scale": f"{i}e-9"}, [FOUND]) for i in range(25)]
    printed = finished(tmp_path, jobs)
    assert sum("e-9 " in line for line in printed.splitlines()) == 20
    assert "and 5 groups more, in the summary" in printed


def test_a_narrow_table_keeps_its_numbers(tmp_path: Path) -> None:
    values = {f"group_{i}.key": "[red]word" for i in range(4)}
    printed = finished(tmp_path, [(values, [FOUND])], width=80)
    assert "1.000 [0.21, 1.00]" in printed
    assert printed.count("[red]") == 4


def test_nothing_but_tables_without_figures_and_logger(tmp_path: Path) -> None:
    printed = finished(tmp_path, GRID)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"0", "1", "2", "sweep.csv", "sweep_summary.csv"}
    assert "picture" not in printed
    assert "watch" not in printed


# --- In earnest -------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_results_of_a_real_sweep(reludyn: Callable[..., Finished], tmp_path: Path) -> None:
    run = reludyn(
        "-m", *QUICK, "init.scale=0.01,0.5", "seed=0,7", "replicas=3", "hydra.sweep.dir=sweep"
    )
    assert run.code == 0, run.err
    sweep, parts = tmp_path / "sweep", []
    for folder in sorted(done.parent for done in sweep.glob("*/DONE")):
        overrides = yaml.safe_load((folder / ".hydra" / "overrides.yaml").read_text())
        typed = dict(override.split("=", 1) for override in overrides)
        parts.append(Part(folder, {key: typed[key] for key in ("init.scale", "seed")}))
    written = finish(sweep, parts, picture="phases", tensorboard=True, console=Console(quiet=True))
    assert all(path.stat().st_size for path in written)
    _, rows = read(sweep / "sweep.csv")
    assert [row["seed"] for row in rows] == ["0", "1", "2", "7", "8", "9"] * 2
    _, groups = read(sweep / "sweep_summary.csv")
    assert [(g["init.scale"], g["jobs"], g["replicas"]) for g in groups] == [
        ("0.01", "2", "6"),
        ("0.5", "2", "6"),
    ]
    for part in parts:
        said = json.loads((part.folder / "summary.json").read_text())
        losses = [float(r["loss"]) for r in rows if r["job"] == part.folder.name]
        assert np.median(losses) == said["median"]["loss"]


def test_a_thousand_jobs_take_a_moment(tmp_path: Path) -> None:
    jobs = [({"init.scale": str(i), "optimizer.lr": "0.1"}, [FOUND]) for i in range(1000)]
    parts = write_jobs(tmp_path, jobs)
    began = time.process_time()
    finish(tmp_path, parts, picture="none", tensorboard=True, console=Console(quiet=True))
    assert time.process_time() - began < 3
