"""The examples in the docstrings of the public names run, and print what they show."""

from __future__ import annotations

import doctest
import shutil
from pathlib import Path

import numpy as np
import pytest

import reludyn as package
from reludyn import figures
from tests.support.commands import run_command

RUNS = {  # what the examples find in outputs/; the last is the latest
    "sweep": [
        "-m",
        "model.width=1,2",
        "data=gaussian",
        "data.samples=9",
        "data.dim=3",
        "replicas=2",
        "trainer.steps=5",
    ],
    "run": [
        "replicas=3",
        "data.dim=3",
        "init.scale=0.1",
        "init.scale_to=0.2",
        "optimizer.lr=0.4",
        "trainer.steps=200",
        "trainer.tolerance=1e-4",
        "trainer.looks=20",
        "theory.margins=true",
        "theory.plane=targets",
        "theory.grid=5",
        "theory.spectrum=true",
        "theory.stability=true",
        "theory.precision=0.5",
        "theory.stationary=true",
    ],
}
SMALL = ["figures=false", "logger=none", "trainer.engine=eager"]
NAMES = {name: getattr(package, name) for name in package._WHERE}
PLOTS = {f"figures.{name}": getattr(figures, name) for name in figures.__all__}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a complete sweep and run, and one that looks like a run on digits."""
    where = tmp_path_factory.mktemp("examples")
    for name, words in RUNS.items():
        kind = "sweep" if name == "sweep" else "run"
        done = run_command(where, *words, f"hydra.{kind}.dir=outputs/{name}", *SMALL)
        assert done.code == 0, done.err
    digits = where / "outputs" / "digits"  # without scikit-learn, which takes long to import
    shutil.copytree(where / "outputs" / "sweep" / "0", digits)
    images = np.zeros((3, 64))
    np.savez(digits / "reconstructions.npz", inputs=images, targets=images, outputs=images)
    return where


@pytest.mark.parametrize("name", [*NAMES, *PLOTS])
@pytest.mark.filterwarnings("ignore:Animation was deleted")
def test_an_example_prints_what_it_shows(
    name: str, outputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(outputs)
    found = doctest.DocTestFinder().find((NAMES | PLOTS)[name], name, module=False, globs={})
    examples = [test for test in found if test.examples]
    assert examples, f"{name} has no example"
    for test in examples:
        report: list[str] = []
        doctest.DocTestRunner().run(test, out=report.append)
        assert not report, "".join(report)
