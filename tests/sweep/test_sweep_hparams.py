"""The HPARAMS tab, as TensorBoard's own backend reads it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from rich.console import Console
from tensorboard.plugins.hparams import api_pb2 as api

from reludyn.sweep.hparams import LONGEST, run_names
from reludyn.sweep.results import finish
from tests.support.boards import Tab, runs
from tests.support.sweeps import BROKEN, FOUND, STUCK, Jobs, finished, write_jobs


def tab(sweep: Path, jobs: Jobs, below: str = "tensorboard") -> Tab:
    finished(sweep, jobs, tensorboard=True)
    return Tab(sweep / below)


GRID: Jobs = [
    ({"init.scale": "1e-2", "init": "theorem", "seed": "0"}, [FOUND, FOUND, STUCK]),
    ({"init.scale": "1e-4", "init": "theorem", "seed": "0"}, [STUCK, BROKEN]),
    ({"init.scale": "1e-2", "init": "balanced", "seed": "0"}, [FOUND | {"T_align": 20}]),
    ({"init.scale": "1e-2", "init": "theorem", "seed": "3"}, [FOUND | {"T_converged": 800}]),
]


def test_a_run_is_a_group(tmp_path: Path) -> None:
    shown = tab(tmp_path, GRID)
    assert {name: shown.values(name) for name in shown.groups} == {
        "init.scale=1e-2,init=theorem": {"init.scale": 0.01, "init": "theorem"},
        "init.scale=1e-4,init=theorem": {"init.scale": 1e-4, "init": "theorem"},
        "init.scale=1e-2,init=balanced": {"init.scale": 0.01, "init": "balanced"},
    }
    for group in shown.groups.values():
        (session,) = group.sessions
        assert session.status == api.STATUS_SUCCESS
        assert 0 < session.start_time_secs <= session.end_time_secs


def test_the_keys_have_types(tmp_path: Path) -> None:
    infos = tab(tmp_path, GRID).infos
    assert set(infos) == {"init.scale", "init"}
    scale, init = infos["init.scale"], infos["init"]
    assert (scale.type, init.type) == (api.DATA_TYPE_FLOAT64, api.DATA_TYPE_STRING)
    assert (scale.domain_interval.min_value, scale.domain_interval.max_value) == (1e-4, 1e-2)
    assert [value.string_value for value in init.domain_discrete.values] == ["theorem", "balanced"]


def test_results_are_medians_and_fractions(tmp_path: Path) -> None:
    shown = tab(tmp_path, GRID)
    assert shown.results("init.scale=1e-2,init=theorem") == pytest.approx(
        {
            "result/success_fraction": 3 / 4,
            "result/stuck_fraction": 1 / 4,
            "result/diverged_fraction": 0,
            "result/T_converged": 300,
            "result/loss": 2.5e-5,
        }
    )


def test_what_is_not_defined_is_not_there(tmp_path: Path) -> None:
    shown = tab(tmp_path, GRID)
    assert set(shown.results("init.scale=1e-4,init=theorem")) == {
        "result/success_fraction",
        "result/stuck_fraction",
        "result/diverged_fraction",
        "result/loss",
    }
    assert shown.metrics == [
        "result/success_fraction",
        "result/T_align",
        "result/T_converged",
        "result/loss",
        "result/stuck_fraction",
        "result/diverged_fraction",
    ]
    for name in shown.groups:
        assert all(map(math.isfinite, shown.results(name).values()))


def test_the_same_from_above(tmp_path: Path) -> None:
    """With a logdir that holds the jobs as well."""
    shown = tab(tmp_path, GRID, below="")
    assert {name.split("/")[0] for name in shown.groups} == {"tensorboard"}
    assert len(shown.results("tensorboard/init.scale=1e-2,init=balanced")) == 6


def test_a_key_with_numbers_and_words_has_words(tmp_path: Path) -> None:
    shown = tab(tmp_path, [({"data.samples": value}, [FOUND]) for value in ("null", "100")])
    assert shown.infos["data.samples"].type == api.DATA_TYPE_STRING
    assert [shown.values(name)["data.samples"] for name in shown.groups] == ["100", "null"]


@pytest.mark.parametrize("number", ["nan", "inf"])
def test_what_json_cannot_say_is_a_word(tmp_path: Path, number: str) -> None:
    shown = tab(tmp_path, [({"data.noise": value}, [FOUND]) for value in (number, "1")])
    assert {shown.values(name)["data.noise"] for name in shown.groups} == {number, "1"}


def test_a_loss_beyond_float32_is_left_out(tmp_path: Path) -> None:
    shown = tab(tmp_path, [({"init": "theorem"}, [BROKEN | {"loss": 1e300}])])
    assert "result/loss" not in shown.results("init=theorem")


# --- Seeds ------------------------------------------------------------------------------------


def test_a_sweep_over_seeds_shows_every_job(tmp_path: Path) -> None:
    shown = tab(tmp_path, [({"seed": str(s)}, [FOUND | {"T_converged": s}]) for s in (2, 10)])
    assert {name: shown.values(name) for name in shown.groups} == {
        "seed=2": {"seed": "2"},
        "seed=10": {"seed": "10"},
    }
    assert shown.results("seed=10")["result/T_converged"] == 10


def test_a_sweep_over_many_seeds_shows_their_group(tmp_path: Path) -> None:
    jobs = [({"seed": str(seed)}, [FOUND if seed % 2 else STUCK]) for seed in range(21)]
    shown = tab(tmp_path, jobs)
    (name,) = shown.groups
    assert shown.values(name) == {"seed": "21 values"}
    assert shown.results(name)["result/success_fraction"] == pytest.approx(10 / 21)


def test_where_nothing_was_swept_there_is_no_tab(tmp_path: Path) -> None:
    assert not tab(tmp_path, [({}, [FOUND])]).groups


# --- Folders ----------------------------------------------------------------------------------


def test_names_are_flat_short_and_each_another_one() -> None:
    values = ["a/b", "a b", "A b", "..", "x" * 300, "x" * 301, "[1, 2]", "ü", "ß", "1e-2"]
    names = list(run_names({"data.path": value, "optimizer.lr": "0.1"} for value in values))
    assert len({name.casefold() for name in names}) == len(values)
    assert names[-1] == "data.path=1e-2,optimizer.lr=0.1"
    for name in names:
        assert len(name) <= LONGEST
        assert name.isascii()
        assert not set(name) & set("/\\ []:*?\"<>|'")


def test_a_second_time_replaces_the_first(tmp_path: Path) -> None:
    parts = write_jobs(tmp_path, GRID)
    for some in (parts, parts[:1]):
        finish(tmp_path, some, picture="none", tensorboard=True, console=Console(quiet=True))
    assert len(runs(tmp_path)) == 1
    shown = Tab(tmp_path / "tensorboard")
    assert list(shown.groups) == ["init.scale=1e-2,init=theorem"]
