"""The package in Python: what a run in memory gives is what the command writes."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

import reludyn as package
from tests.support.commands import QUICK, Command, reludyn_in


def test_a_run_in_memory_is_that_of_the_command(reludyn: Command) -> None:
    overrides = "replicas=3", "model.width=3", "init.signs=random", "data.dim=7", *QUICK
    finished = reludyn(*overrides, "experiment=default")
    run = package.train(*overrides, "experiment=default")
    loaded = package.load_run(finished.folder)
    assert set(run.arrays) == set(finished.arrays) == set(loaded.arrays)
    for name, array in finished.arrays.items():
        np.testing.assert_array_equal(run.arrays[name], array)
    for name in finished.rows[0]:
        np.testing.assert_array_equal(run.replicas[name], loaded.replicas[name])
    same = {name: value for name, value in run.summary.items() if name != "wall_seconds"}
    assert same == {name: finished.summary[name] for name in same}
    for one, other in ((run.initial, loaded.initial), (run.final, loaded.final)):
        torch.testing.assert_close(one.W, other.W, rtol=1e-15, atol=1e-15)
        torch.testing.assert_close(one.V, other.V, rtol=0, atol=0)
    assert torch.equal(run.A, loaded.A)


def test_nothing_is_left_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    package.train("trainer.steps=3")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_predictions_against_a_measured_run() -> None:
    """The README's five lines, with more seeds."""
    run = package.train("init.scale=1e-3", "replicas=50")
    said = package.predict(run.initial, run.A, lr=0.1, tolerance=1e-4, steps=3000)
    measured = run.replicas["T_converged"]
    reached = np.isfinite(measured)
    assert reached.sum() > 30
    assert np.abs(said.T_converged.numpy() - measured)[reached].max() <= 1
    names = np.array([name or "" for name in said.outcome])
    assert (names == run.replicas["outcome"]).all()


def test_columns_have_their_types() -> None:
    run = package.train("replicas=2", "trainer.steps=2")
    assert run.replicas["T_converged"].dtype == float
    assert np.isnan(run.replicas["T_converged"]).all()
    assert run.replicas["outcome"].tolist() == ["unconverged"] * 2
    assert run.replicas["seed"].tolist() == [0.0, 1.0]


def test_arrays_are_attributes() -> None:
    run = package.train("trainer.steps=2")
    assert run.loss is run.arrays["loss"]
    with pytest.raises(AttributeError, match=r"there is no los; did you mean loss"):
        _ = run.los
    assert copy.deepcopy(run).summary == run.summary


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("init.scal=3", "init.scal=3: no such key; .* Did you mean init.scale?"),
        ("model.width=-1", "model.width=-1: must be >= 1"),
        ("data=foo", "data=foo: no such option"),
        ("model.width", "cannot read 'model.width'"),
        ("theory.plane=foo", "theory.plane=foo: must be one of none, targets"),
    ],
)
def test_errors_are_those_of_the_command(override: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        package.train(override)


def test_a_run_that_did_not_end_is_not_loaded(reludyn: Command) -> None:
    finished = reludyn_in(reludyn, "run")
    (finished.where / "DONE").unlink()
    with pytest.raises(FileNotFoundError, match="it has no DONE"):
        package.load_run(finished.where)


def test_a_single_precision_run_is_read_as_double(reludyn: Command) -> None:
    run = package.load_run(reludyn_in(reludyn, "run", "precision=float32").where)
    assert {x.dtype for x in (*run.initial, *run.final, run.A)} == {torch.float64}
    assert package.spectrum(package.PopulationRisk(run.A).hessian(run.final)).complete


def test_what_is_promised_is_there() -> None:
    for name in package.__all__:
        assert getattr(package, name) is not None
    assert set(package.__all__) <= set(dir(package))
    with pytest.raises(AttributeError, match="no attribute 'foo'"):
        package.foo  # noqa: B018
