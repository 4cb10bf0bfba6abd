"""Write tests/oracles/golden/ anew: trajectories of tests/oracles/reference.py, in 50 digits.

The package takes no part. Each file is one that `reludyn` can start from (`init.path`, `data.path`,
`data.target_path`): W (k, d), V (r, k) and A (r, d), X (n, d) and Y (n, r) of samples; then `lr`,
`slope`, `train_output`, `tolerance`, and what comes out: Ws (T, k, d), Vs (T, r, k), loss (T,) at
iterations `step` (T,), and T_align, T_growth, T_converged in `times` (3,); the last `step` is the
first whose loss is below `tolerance`.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.oracles import reference

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Case:
    """Trajectory to compute; without `A` the target is the first unit vector."""

    k: int
    d: int
    scale: float  # scale of the initial weights, normal ones; with `output` that of W alone
    steps: int  # enough to come below the tolerance
    seed: int
    A: tuple[tuple[float, ...], ...] | None = None
    tolerance: float = 1e-8
    slope: float = 0.0
    output: tuple[float, ...] | None = None  # V, which then is not trained
    samples: int = 0  # 0: the population risk
    kept: int = 20  # iterations in the file


CASES = {
    "fig3": Case(2, 100, 1e-4, 400, seed=0, tolerance=1e-4, kept=10),
    "three": Case(3, 6, 1e-3, 400, seed=1),
    "two_outputs": Case(4, 5, 1e-2, 800, seed=2, A=((1, 0.5, 0, 0, 0), (0, -0.25, 0.75, 0, 0))),
    "leaky": Case(2, 6, 1e-2, 600, seed=3, slope=0.25),
    "frozen": Case(2, 4, 1e-2, 600, seed=4, output=(1.0, -1.0)),
    "samples": Case(3, 4, 1e-1, 1000, seed=7, samples=32),
}


def arrays(case: Case) -> dict[str, np.ndarray]:
    """Return the arrays of a file."""
    rng = np.random.default_rng(case.seed)
    A = np.array(case.A or [[1.0] + [0.0] * (case.d - 1)])
    W = case.scale * rng.standard_normal((case.k, case.d)) / np.sqrt(case.d)
    signs = (-1.0) ** np.arange(case.k)
    V = case.scale * signs * np.abs(rng.standard_normal((len(A), case.k)))
    V = V if case.output is None else np.array([case.output])
    X = rng.standard_normal((case.samples, case.d))
    given = {"W": W, "V": V, "A": A} | ({"X": X, "Y": X @ A.T} if case.samples else {})
    lr, free = 0.1, case.output is None
    if case.samples:
        Ws, Vs = reference.empirical_descent_mp(W, V, X, given["Y"], lr, case.steps)
        losses = [
            reference.empirical_loss(W, V, X, given["Y"]) for W, V in zip(Ws, Vs, strict=True)
        ]
    else:
        Ws, Vs = reference.population_descent_mp(
            W, V, A, lr, case.steps, slope=case.slope, train_output=free
        )
        losses = [
            float(reference.population_loss_mp(*both, A, 40, case.slope)[0])
            for both in zip(Ws, Vs, strict=True)
        ]
    times = reference.phase_times(Ws, Vs, A, np.array(losses), case.tolerance)
    end = times[2]
    assert end is not None, "more steps are needed"
    step = end * np.arange(case.kept) // (case.kept - 1)
    return given | {
        "lr": np.array(lr),
        "slope": np.array(case.slope),
        "train_output": np.array(free),
        "tolerance": np.array(case.tolerance),
        "step": step,
        "Ws": Ws[step],
        "Vs": Vs[step],
        "loss": np.array(losses)[step],
        "times": np.array([-1 if t is None else t for t in times]),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", choices=[[], *CASES], help="all by default")
    parser.add_argument("--folder", type=Path, default=ROOT / "tests" / "oracles" / "golden")
    chosen = parser.parse_args()
    chosen.folder.mkdir(exist_ok=True)
    for name in chosen.names or CASES:
        path = chosen.folder / f"{name}.npz"
        np.savez_compressed(path, **arrays(CASES[name]))
        print(path)
