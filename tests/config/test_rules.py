"""Every two settings together: a run of 20 steps works, or it is refused with the reason."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from reludyn.config.parse import OPTIONS
from reludyn.data.laws import LAWS
from tests.support.commands import Finished, refused, run_command

Row = Sequence[str]
FRESH = "data=stream data.fresh=true"
LANDSCAPE = "theory.stationary=true theory.plane=random theory.grid=5"
FACTORS = [
    [f"optimizer={name}" for name in OPTIONS["optimizer"]],
    [f"init={name}" for name in OPTIONS["init"]],
    [*(f"data={name}" for name in OPTIONS["data"] if name != "digits"), FRESH],
    ["", *(f"data.law={law}" for law in LAWS if law != "gaussian")],
    ["", "data.covariance=power_law", "data.covariance=file"],
    ["", "data.target=random", "data.target=file"],
    ["", "data.noise=0.1"],
    ["", "data.seed=3"],
    ["data.outputs=1", "data.outputs=2"],
    ["model.width=2", "model.width=3"],
    ["model.negative_slope=0", "model.negative_slope=0.3", "model.negative_slope=1"],
    ["", "model.train_hidden=false", "model.train_output=false"],
    ["init.signs=random", "init.signs=alternating", "init.signs=same"],
    ["", "init.output_scale=0.2"],
    ["", "init.scale_to=0.5"],
    ["replicas=1", "replicas=3"],
    ["", "optimizer.output_lr=0.03"],
    ["", "optimizer.schedule=cosine"],
    ["", "optimizer.warmup=5"],
    ["precision=float64", "precision=float32"],
    ["", "trainer.gradient_tolerance=1e-9"],
    ["", "trainer.max_seconds=100"],
    ["", "trainer.spacing=linear trainer.looks=7"],
    ["trainer.observables=core", "trainer.observables=full"],
    ["logger=none", "logger=tensorboard"],
    ["", "theory.bounds=true"],
    ["", "theory.spectrum=true"],
    ["", LANDSCAPE],
]

# what cannot be together, and what the message then says
EXCLUDED = [
    ("data=population", "data.law=rademacher", "no such key; data has name, dim"),
    ("data=population", "data.law=student_t", "no such key"),
    ("data=population", "data.law=uniform_sphere", "no such key"),
    ("data=population", "data.noise=0.1", "no such key"),
    ("data=population", "data.seed=3", "must be null with data=population"),
    *(
        (
            "data=file",
            value,
            "no such key; data has name, dim, outputs, samples, path, columns_x, columns_y",
        )
        for factor in FACTORS[3:8]
        for value in factor[1:]
    ),
    ("data=file", "data.outputs=2", "must be null or 1, as in /"),
    ("data.outputs=2", "init.signs=alternating", "must be random when data.outputs=2"),
    ("data.outputs=2", "init.signs=same", "must be random when data.outputs=2"),
    ("data.outputs=2", "init=near_saddle", "needs data.outputs=1 and model.width=2"),
    ("model.width=3", "init=near_saddle", "needs data.outputs=1 and model.width=2"),
    ("init=explicit", "init.signs=alternating", "prescribes other signs"),
    ("init=explicit", "init.signs=same", "prescribes other signs"),
    ("init=near_saddle", "init.signs=same", "prescribes other signs"),
    ("replicas=1", "init.scale_to=0.5", "needs a batch: set replicas"),
    ("optimizer=sgd", "data=population", "needs samples in memory"),
    ("optimizer=sgd", "data=stream", "needs samples in memory"),
    ("optimizer=sgd", FRESH, "needs samples in memory"),
    ("optimizer=sgd", "trainer.gradient_tolerance=1e-9", "must be 0 where steps follow a part"),
    (FRESH, "trainer.gradient_tolerance=1e-9", "must be 0 where steps follow a part"),
    (FRESH, "optimizer=gradient_flow", "needs the gradient of one risk"),
    ("optimizer=gradient_flow", "optimizer.schedule=cosine", "no such key; optimizer has"),
    ("optimizer=gradient_flow", "optimizer.warmup=5", "no such key; optimizer has"),
    ("optimizer=gradient_flow", "precision=float32", "must be at least 1e-6 with"),
    ("optimizer.output_lr=0.03", "model.train_output=false", "the output layer does not move"),
    *(
        (value, theory, "needs Gaussian inputs")
        for theory in ("theory.spectrum=true", LANDSCAPE)
        for value in ("data=file", *FACTORS[3][1:])
    ),
    *((value, LANDSCAPE, "with data.covariance=identity") for value in FACTORS[4][1:]),
    *(
        (value, "theory.bounds=true", "the lemmas are about one output, model.width=2, ReLU")
        for value in (
            "data=file",
            *FACTORS[3][1:],
            *FACTORS[4][1:],
            "data.outputs=2",
            "model.width=3",
            *FACTORS[10][1:],
            *FACTORS[11][1:],
            *(f for f in FACTORS[0] if f != "optimizer=gd"),
            "optimizer.output_lr=0.03",
            "optimizer.schedule=cosine",
            "optimizer.warmup=5",
        )
    ),
]
PAIRS = {frozenset(pair[:2]) for pair in EXCLUDED}


def possible(row: Row) -> bool:
    """Also of a row that is not complete yet."""
    return all(frozenset(pair) not in PAIRS for pair in combinations(row, 2))


def all_pairs() -> set[tuple[int, str, int, str]]:
    """The possible pairs, as (factor, value, factor, value)."""
    return {
        (i, a, j, b)
        for i, j in combinations(range(len(FACTORS)), 2)
        for a in FACTORS[i]
        for b in FACTORS[j]
        if possible([a, b])
    }


def pairs_of(row: Row) -> set[tuple[int, str, int, str]]:
    return {(i, row[i], j, row[j]) for i, j in combinations(range(len(row)), 2)}


def _with(row: dict[int, str], k: int, value: str) -> list[list[tuple[int, str]]]:
    """The pairs of one more value with those of a row, in the order of the factors."""
    return [sorted([(k, value), item]) for item in row.items()]


def covering() -> list[list[str]]:
    """Rows in which every possible pair is met: each begins with one that is not met yet, and takes
    of every other factor the value that meets most."""
    rows, missing = [], all_pairs()
    while missing:
        i, a, j, b = min(missing)
        row = {i: a, j: b}
        for k in sorted(set(range(len(FACTORS))) - {i, j}, key=lambda k: -len(FACTORS[k])):
            fitting = [value for value in FACTORS[k] if possible([*row.values(), value])]
            gains = [len(missing & {(*p, *q) for p, q in _with(row, k, v)}) for v in fitting]
            row[k] = fitting[gains.index(max(gains))]
        rows.append([row[k] for k in range(len(FACTORS))])
        missing -= pairs_of(rows[-1])
    return rows


ROWS = covering()


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that some settings need: d = 5."""
    folder, rng = tmp_path_factory.mktemp("combinations"), np.random.default_rng(0)
    X, root = rng.standard_normal((30, 5)), rng.standard_normal((5, 5))
    np.savez(folder / "samples.npz", X=X, Y=X @ rng.standard_normal((5, 1)))
    np.save(folder / "sigma.npy", root @ root.T / 5 + np.eye(5))
    for r in (1, 2):
        np.save(folder / f"target{r}.npy", rng.standard_normal((r, 5)))
        for k in (2, 3):
            W, V = rng.normal(0, 0.3, (k, 5)), rng.normal(0, 0.3, (r, k))
            V[0, 0] = -abs(V[0, 0])  # of no pattern
            np.savez(folder / f"weights{k}{r}.npz", W=W, V=V)
    return folder


def overrides(row: Row) -> list[str]:
    """What is typed, with the sizes and files that the settings ask for."""
    r, k = 1 + ("data.outputs=2" in row), 2 + ("model.width=3" in row)
    found = ["experiment=default", "trainer.steps=20", "trainer.tolerance=1e-3", "figures=false"]
    found += [override for value in row for override in value.split()]
    samples = ["data.samples=25"] if {"data=gaussian", "data=stream"} & set(found) else []
    needed = {
        "data=file": ["data.path=samples.npz"],
        "data.covariance=file": ["data.covariance_path=sigma.npy"],
        "data.target=file": [f"data.target_path=target{r}.npy"],
        "init=explicit": [f"init.path=weights{k}{r}.npz"],
        "optimizer=sgd": ["optimizer.batch=8"],
    }
    extra = [override for value, more in needed.items() if value in found for override in more]
    return [*found, *samples, *extra, "data.dim=5", "optimizer.lr=0.02"]


def test_every_possible_pair_is_in_a_row() -> None:
    assert set().union(*(pairs_of(row) for row in ROWS)) == all_pairs()
    assert all(possible(row) for row in ROWS)
    assert len(ROWS) < 100


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=lambda row: " ".join(filter(None, row))[:80])
def test_a_possible_row_runs(where: Path, row: Row, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    finished = run_command(where, *overrides(row), f"hydra.run.dir={folder}")
    assert finished.code == 0, finished.err
    left = Finished(0, "", "", folder)
    assert (folder / "DONE").exists()
    replicas = 3 if "replicas=3" in row else 1
    assert len(left.rows) == replicas
    # a linear network near the saddle is at its minimum
    assert left.summary["steps"] > 0 or left.summary["stopped_because"] == "converged"
    for name in ("loss", "w_norm", "v_norm", "angle_to_target", "imbalance", "W", "V"):
        assert np.isfinite(left.arrays[name]).all()


@pytest.mark.quick(6)
@pytest.mark.parametrize(("one", "other", "message"), EXCLUDED)
def test_what_cannot_be_together_is_refused(
    where: Path, one: str, other: str, message: str, tmp_path: Path
) -> None:
    given = overrides([one, other])
    needs_samples = one == "optimizer=sgd" and other.startswith(("trainer", "theory"))
    if needs_samples or (one.startswith("data.law") and other.startswith("theory")):
        given += ["data=gaussian", "data.samples=25"]
    line = refused(run_command(where, *given, f"hydra.run.dir={tmp_path / 'run'}"))
    assert message in line
