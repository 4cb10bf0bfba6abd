"""Golden trajectories: the package against files that the oracle made in 50 digits.

The files come from scripts/golden.py, in which the package takes no part.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from reludyn import train
from reludyn.runs.load import Run

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "tests" / "oracles" / "golden"
NAMES = ("fig3", "three", "two_outputs", "leaky", "frozen", "samples")
Golden = dict[str, NDArray[np.float64]]


def golden(name: str) -> Golden:
    with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as file:
        return dict(file)


def run(name: str, folder: Path, *overrides: str) -> Run:
    """What the package makes of the same weights, looked at in the same iterations."""
    file, path = golden(name), FOLDER / f"{name}.npz"
    end, (k, d), r = file["step"][-1], file["W"].shape, len(file["A"])
    source = [
        "data=population",
        f"data.dim={d}",
        f"data.outputs={r}",
        "data.target=file",
        f"data.target_path={path}",
    ]
    if "X" in file:
        samples = folder / "samples.npz"
        np.savez(samples, X=file["X"], Y=file["Y"], A=file["A"])
        source = ["data=file", f"data.path={samples}"]
    found = train(
        *source,
        "init=explicit",
        f"init.path={path}",
        "init.signs=random",
        f"model.width={k}",
        f"model.negative_slope={file['slope']}",
        f"model.train_output={bool(file['train_output'])}",
        f"optimizer.lr={file['lr']}",
        f"trainer.tolerance={file['tolerance']}",
        f"trainer.steps={end}",
        f"trainer.looks={len(file['step']) - 1}",
        "trainer.spacing=linear",
        *overrides,
    )
    np.testing.assert_array_equal(found.step, file["step"])
    return found


def deviations(file: Golden, found: Run) -> tuple[float, float, float]:
    """The largest differences at any look: of W and of V, relative to their largest entry at that
    look; of sqrt(loss), relative to that of the start."""
    layers = (found.W[:, 0], file["Ws"]), (found.V[:, 0], file["Vs"])
    W, V = (
        float(np.max(np.abs(ours - exact).max((1, 2)) / np.abs(exact).max((1, 2))))
        for ours, exact in layers
    )
    roots = np.sqrt(found.loss[:, 0]), np.sqrt(file["loss"])
    return W, V, float(np.max(np.abs(roots[0] - roots[1])) / roots[1][0])


# Measured with the oracle in float64, for all files: a relative change of the initial weights is
# magnified at most 3.3 times on the way. So 850 iterations, each rounded by 2.2e-16, give less than
# 850 x 3.3 x 2.2e-16 = 6e-13, and 3e-4 in single precision.
ROUNDED = {"float64": 6e-13, "float32": 3e-4}


@pytest.mark.parametrize(
    ("name", "engine"),
    [
        *((name, "eager") for name in NAMES),
        # each is another program; test_compiled.py compares more of them with the eager engine
        *(
            pytest.param(name, "compiled", marks=pytest.mark.slow)
            for name in ("two_outputs", "leaky", "samples")
        ),
    ],
)
def test_trajectories_and_events_are_those_of_the_files(
    name: str, engine: str, tmp_path: Path
) -> None:
    file, found = golden(name), run(name, tmp_path, f"trainer.engine={engine}")
    assert max(deviations(file, found)) < ROUNDED["float64"]
    events = [found.replicas[f"T_{phase}"][0] for phase in ("align", "growth", "converged")]
    never = [-1 if np.isnan(event) else event for event in events]
    np.testing.assert_array_equal(never, file["times"])


@pytest.mark.quick(2)
@pytest.mark.parametrize("name", NAMES)
def test_single_precision_follows_them(name: str, tmp_path: Path) -> None:
    found = run(name, tmp_path, "precision=float32", "trainer.tolerance=0", "trainer.engine=eager")
    assert 1e-9 < max(deviations(golden(name), found)) < ROUNDED["float32"]


@pytest.mark.slow
def test_the_script_makes_the_files(tmp_path: Path) -> None:
    """The same digits, from the oracle alone."""
    script = ROOT / "scripts" / "golden.py"
    code = f"import runpy, sys; sys.argv = ['golden', 'frozen', '--folder', {str(tmp_path)!r}]; "
    code += f"runpy.run_path({str(script)!r}, run_name='__main__'); "
    code += "assert not [name for name in sys.modules if name.split('.')[0] == 'reludyn']"
    subprocess.run([sys.executable, "-c", code], check=True)
    made = tmp_path / "frozen.npz"
    with np.load(made) as file:
        assert set(file.files) == set(golden("frozen"))
        for key, x in golden("frozen").items():
            np.testing.assert_array_equal(file[key], x, err_msg=key, strict=True)


def test_the_files_are_those_of_the_script() -> None:
    """And small."""
    assert {path.stem for path in FOLDER.iterdir()} == set(NAMES)
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 60_000
