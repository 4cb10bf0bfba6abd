"""The same seed gives the same bits, in fresh processes, with one thread and with two; where two
threads add in another order than one, it gives the same to rounding. docs/limits.md says so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from reludyn.config.parse import OPTIONS

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow
FEW = ("figures=false", "logger=none", "trainer.looks=4", "init.scale=0.1", "init.signs=random")
EAGER = {
    "gd": "trainer.steps=100 trainer.engine=eager",
    "gd, another seed": "trainer.steps=100 trainer.engine=eager seed=9",
    # pairs of neurons of all replicas: above 32,768 numbers PyTorch shares out an operation
    "batch": "trainer.steps=20 trainer.engine=eager replicas=3000 model.width=4 data.dim=6",
    "momentum": "trainer.steps=60 optimizer=momentum optimizer.lr=0.05 replicas=3",
    "adam": "trainer.steps=60 optimizer=adam optimizer.lr=0.01 replicas=3",
    "flow": "trainer.steps=6 optimizer=gradient_flow optimizer.rtol=1e-6",
    "samples": "trainer.steps=30 trainer.engine=eager data=gaussian data.samples=9000 data.dim=40",
    "samples of each": "trainer.steps=30 trainer.engine=eager data=gaussian data.samples=900 "
    "data.dim=20 replicas=4 model.width=16",
    "stream": "trainer.steps=6 data=stream data.samples=9000 data.dim=20",
    "fresh": "trainer.steps=40 data=stream data.fresh=true data.samples=200 data.dim=8",
    "mini-batches": "trainer.steps=60 data=gaussian data.samples=900 data.dim=20 optimizer=sgd "
    "optimizer.batch=64 optimizer.lr=0.02 replicas=2",
    "wide": "trainer.steps=6 trainer.engine=eager model.width=200",
    "tall": "trainer.steps=6 trainer.engine=eager data=gaussian data.samples=40000 data.dim=5",
}
COMPILED = {
    "compiled": "trainer.steps=90 trainer.engine=compiled replicas=40",
    "compiled, samples": "trainer.steps=30 trainer.engine=compiled data=gaussian "
    "data.samples=40000 data.dim=5",
}
# one number from more than 32,768 (r n residuals, k^2 pairs): two threads each add a half
LOSSES = {"loss", "loss_linear", "loss_rectification"}
SPLIT = {"wide", "tall", "compiled, samples"}
Left = dict[str, tuple[dict[str, NDArray[np.float64]], bytes]]

CHILD = """
import json, sys
from pathlib import Path
import torch
from tests.support.commands import run_command
assert torch.get_num_threads() == int(sys.argv[2])
for name, words in json.load(sys.stdin).items():
    folder = Path(sys.argv[1], name)
    folder.mkdir()
    done = run_command(folder, *words)
    assert done.code == 0, done.err
"""


def left_by_a_process(kinds: dict[str, str], threads: int, folder: Path) -> Left:
    """trajectory.npz and replicas.csv of each kind, run by one fresh process."""
    environment = {n: v for n, v in os.environ.items() if n != "PYTEST_XDIST_WORKER"}
    environment |= {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "passive"}
    words = {name: [*FEW, *overrides.split()] for name, overrides in kinds.items()}
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", CHILD, folder, str(threads)],
        input=json.dumps(words),
        text=True,
        env=environment,
        cwd=ROOT,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    left = {}
    for name in kinds:
        (run,) = (path.parent for path in (folder / name).rglob("DONE"))
        with np.load(run / "trajectory.npz") as file:
            left[name] = (dict(file), (run / "replicas.csv").read_bytes())
    return left


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int, int], Left]:
    """What a group of kinds left, with so many threads, in one of two processes."""

    @cache
    def made(group: str, threads: int, process: int) -> Left:
        folder = tmp_path_factory.mktemp("runs") / "of"
        return left_by_a_process({"eager": EAGER, "compiled": COMPILED}[group], threads, folder)

    return made


def differing(one: Left, other: Left, name: str) -> set[str]:
    """Arrays of trajectory.npz whose bits differ."""
    (a, _), (b, _) = one[name], other[name]
    assert set(a) == set(b)
    return {key for key in a if a[key].tobytes() != b[key].tobytes()}


GROUPS = ["eager", "compiled"]


@pytest.mark.parametrize(
    ("group", "threads"), [("eager", 1), ("eager", 2), ("compiled", 2)]
)  # of compiled ones that with one thread has the bits of the others, as the next test sees
def test_a_seed_gives_the_same_bits_in_every_process(
    group: str, threads: int, left: Callable[[str, int, int], Left]
) -> None:
    one, other = left(group, threads, 0), left(group, threads, 1)
    for name in one:
        assert not differing(one, other, name), name
        assert one[name][1] == other[name][1], name


@pytest.mark.parametrize("group", GROUPS)
def test_two_threads_give_the_bits_of_one_but_for_large_sums(
    group: str, left: Callable[[str, int, int], Left]
) -> None:
    """The weights always; of losses there only the last digits differ."""
    one, two = left(group, 1, 0), left(group, 2, 0)
    for name in one:
        found = differing(one, two, name)
        assert found <= (LOSSES if name in SPLIT else set()), name
        for key in found:
            a, b = one[name][0][key], two[name][0][key]
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=0, err_msg=name)
        if not found:
            assert one[name][1] == two[name][1], name


def test_another_seed_gives_other_bits(left: Callable[[str, int, int], Left]) -> None:
    """The comparisons above can fail."""
    runs = left("eager", 1, 0)
    assert {"W", "V", "loss"} <= differing(runs, {"gd": runs["gd, another seed"]}, "gd")


def test_every_update_rule_is_among_them() -> None:
    kinds = " ".join([*EAGER.values(), *COMPILED.values()])
    named = {name for name in OPTIONS["optimizer"] if f"optimizer={name}" in kinds}
    assert named | {"gd", "nesterov"} == set(OPTIONS["optimizer"])
