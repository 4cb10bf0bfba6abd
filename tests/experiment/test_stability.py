"""The largest stable step size, against a slow descent of single replicas."""

from __future__ import annotations

import csv
import math
from functools import cache

import numpy as np
import pytest
from rich.console import Console

from reludyn.config.compose import configure
from reludyn.experiment.batch import train_together
from reludyn.experiment.run import execute
from reludyn.experiment.stability import COLUMNS, largest_stable
from tests.oracles import reference
from tests.support.commands import Command, refused, run_command

QUIET = Console(quiet=True)
SMALL = (
    "experiment=stability",
    "replicas=12",
    "data.dim=4",
    "trainer.steps=400",
    "init.scale_to=3",
    "init.signs=alternating",
    "optimizer.lr=0.2",
    "trainer.tolerance=1e-6",
    "logger=none",
)


@cache
def searched(*overrides: str) -> tuple[list[dict[str, object]], np.ndarray, np.ndarray]:
    """Rows of stability.csv, and the initial weights in R^d."""
    results = execute(configure(*SMALL, *overrides), QUIET)
    rows = [dict(row) for row in largest_stable(results.setup, results.trained.state)]
    assert results.setup.subspace is not None
    start = results.setup.subspace.lift(results.setup.student)
    return rows, start.W.numpy(), start.V.numpy()


def converges(W: np.ndarray, V: np.ndarray, lr: float, steps: int = 400) -> bool:
    """Whether the oracle's loss falls below 1e-6 before it explodes."""
    A = np.eye(1, W.shape[1])
    for _ in range(steps + 1):
        loss = reference.population_loss(W, V, A)
        if loss < 1e-6:
            return True
        if not loss < 1e5:
            return False
        of_W, of_V = reference.population_gradient(W, V, A)
        W, V = W - lr * of_W, V - lr * of_V
    return False


@pytest.mark.slow
def test_below_it_descent_converges_and_above_it_does_not() -> None:
    rows, W, V = searched("theory.precision=1e-2")
    found = [row for row in rows if row["stable_lr"] is not None]
    assert len(found) >= 5
    for row in found[:5]:
        j, low, high = (row[name] for name in ("replica", "stable_lr", "unstable_lr"))
        assert isinstance(j, int)
        assert isinstance(low, float)
        assert isinstance(high, float)
        assert low < high <= low * 1.01 * (1 + 1e-12)
        assert converges(W[j], V[j], low)
        assert not converges(W[j], V[j], high)
    assert {row["above"] for row in found} <= {"diverged", "unconverged"}


def test_those_that_do_not_converge_at_first_have_none() -> None:
    rows, W, V = searched("theory.precision=0.1")
    for j, row in enumerate(rows):
        assert (row["stable_lr"] is None) == (not converges(W[j], V[j], 0.2))
        if row["stable_lr"] is None:
            empty = set(COLUMNS) - {"replica", "seed"}
            assert all(row[name] is None for name in empty)


@pytest.mark.slow
def test_from_small_weights_it_is_two_over_the_sharpness() -> None:
    """All minima found from small weights are balanced: sharpness |a| = 1, so mu = 2; near it the
    loss falls as |1 - mu|^(2t), which 3,000 steps take to 1e-6 for mu < 2 - 0.003."""
    rows, *_ = searched("init.scale=1e-3", "init.scale_to=null", "trainer.steps=3000", "replicas=3")
    for row in rows:
        assert row["sharpness"] == pytest.approx(1, abs=1e-3)
        assert row["stable_lr"] == pytest.approx(2, abs=0.01)
        assert row["two_over_sharpness"] == pytest.approx(2, abs=2e-3)


def test_the_norm_of_the_target_is_a_unit() -> None:
    """W, V in sqrt|a| and mu in 1/|a|: the same search with |a| = 4."""
    rows, *_ = searched("theory.precision=0.1")
    scaled, *_ = searched(
        "theory.precision=0.1",
        "data.target_norm=4",
        "optimizer.lr=0.05",
        "init.scale=0.2",
        "init.scale_to=6",
        "trainer.tolerance=1.6e-5",
    )
    for one, other in zip(rows, scaled, strict=True):
        assert one["above"] == other["above"]
        if one["stable_lr"] is not None:
            assert isinstance(one["stable_lr"], float)
            assert other["stable_lr"] == pytest.approx(one["stable_lr"] / 4, rel=1e-2)


@pytest.mark.slow
def test_both_layers_keep_their_ratio() -> None:
    """With a slower output layer larger step sizes are stable."""
    small = ("init.scale=1e-3", "init.scale_to=null", "replicas=3")
    rows, *_ = searched(*small)
    slower, *_ = searched(*small, "optimizer.output_lr=0.1")
    for one, other in zip(rows, slower, strict=True):
        assert isinstance(one["stable_lr"], float)
        assert isinstance(other["stable_lr"], float)
        assert 1.1 * one["stable_lr"] < other["stable_lr"] < 2 * one["stable_lr"]


def test_samples_have_a_stable_step_size_too() -> None:
    results = execute(
        configure(
            *SMALL,
            "data=gaussian",
            "data.samples=60",
            "init.scale=0.1",
            "init.scale_to=null",
            "replicas=3",
            "theory.precision=0.1",
        ),
        QUIET,
    )
    rows = largest_stable(results.setup, results.trained.state)
    found = [row["stable_lr"] for row in rows if row["stable_lr"] is not None]
    assert found
    assert all(isinstance(x, float) and 0.5 < x < 3 for x in found)


@pytest.mark.slow
def test_a_job_of_a_batch_searches_as_if_alone() -> None:
    common = (*SMALL, "replicas=2", "theory.precision=0.1")
    configs = [configure(*common, *own) for own in (["seed=0"], ["seed=4", "optimizer.lr=0.1"])]
    together = train_together(configs, QUIET)
    for place, config in enumerate(configs):
        alone, results = execute(config, QUIET), together.results(place)
        rows = largest_stable(alone.setup, alone.trained.state)
        for one, other in zip(
            rows, largest_stable(results.setup, results.trained.state), strict=True
        ):
            for name, value in one.items():
                if isinstance(value, float) and name != "loss_above":  # of a chaotic orbit
                    assert other[name] == pytest.approx(value, rel=1e-10)


@pytest.mark.slow
def test_the_experiment_leaves_its_table_and_picture(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    done = run_command(
        tmp_path_factory.mktemp("stability"), *SMALL, "theory.precision=0.1", "hydra.run.dir=run"
    )
    assert done.code == 0, done.err
    with (done.where / "run" / "stability.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert list(table[0]) == list(COLUMNS)
    assert len(table) == 12
    assert all(math.isfinite(float(row["stable_lr"])) for row in table if row["stable_lr"])
    assert (done.where / "run" / "figures" / "stability.png").stat().st_size > 10_000
    assert "figures/stability.png" in done.out


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ("optimizer=adam", "theory.stability=true: needs optimizer=gd with a constant step size"),
        ("trainer.tolerance=0", "and a trainer.tolerance"),
        ("optimizer.warmup=5", "needs optimizer=gd with a constant step size"),
        ("data=stream data.fresh=true", "needs the same samples in every step"),
    ],
)
def test_what_has_no_stable_step_size_is_refused(
    reludyn: Command, overrides: str, said: str
) -> None:
    assert said in refused(reludyn(*SMALL, *overrides.split()))
