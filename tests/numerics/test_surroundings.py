"""A program that calls the package: what it has set of PyTorch, NumPy, Python and Hydra neither
changes what comes out, nor is changed."""

from __future__ import annotations

import random
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir, version
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

import reludyn as package
from reludyn.network.notation import Gradient
from reludyn.theory.landscape import Plane
from tests.support.commands import QUICK

RUNS = (
    ("precision=float32", "replicas=3", "init.scale=1e-2"),
    (
        "precision=float32",
        "data=gaussian",
        "data.samples=20",
        "data.dim=5",
        "init.scale=0.1",
        "replicas=2",
    ),
    (
        "data=stream",
        "data.samples=20",
        "data.dim=5",
        "data.outputs=2",
        "init.signs=random",
        "model.width=4",
        "trainer.observables=full",
        "replicas=2",
    ),
)


def everything() -> list[bytes]:
    """What the public functions return, to the last bit."""
    said: list[Any] = []
    for overrides in RUNS:
        run = package.train(*overrides, "experiment=default", "trainer.steps=30", *QUICK[1:])
        student, A = run.final, run.A
        risk = package.PopulationRisk(A)
        found = package.predict(run.initial, A, lr=0.1, tolerance=1e-4, steps=100)
        fifth = torch.full((len(student.W),), 5, device="cpu")
        expected = package.forecast(run.initial, A, lr=0.1).at(fifth)
        points = package.identify(risk, student)
        said += [run.arrays, vars(found), expected, vars(points), risk.evaluate(student)]
        said += [package.find_stationary(risk, student, iterations=2), risk.loss(student)]
        said += [package.spectrum(risk.hessian(student)).values, package.pair_neurons(student)]
        said += [package.effective_sign(student, A)]
        first, second = (Gradient(*(x[i] for x in student)) for i in range(2))
        plane = Plane(first, second, first)
        grid = torch.linspace(0, 1, 3, dtype=torch.float64, device="cpu")
        said += [package.loss_on_plane(risk, plane, grid, grid)]
        said += [package.loss_on_line(risk, *plane[:2], grid)]
    return [*bits(said)]


def bits(said: Any) -> Iterator[bytes]:
    """The numbers and words in nested results."""
    if isinstance(said, (np.ndarray, torch.Tensor)):
        yield np.asarray(said).tobytes()
    elif isinstance(said, (dict, list, tuple)):
        for part in said.values() if isinstance(said, dict) else said:
            yield from bits(part)
    elif is_dataclass(said):
        yield from bits(vars(said))
    else:
        yield str(said).encode()


def settings() -> list[Any]:
    """What a program can see of what it has set."""
    return [
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.is_autocast_enabled("cpu"),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.get_float32_matmul_precision(),
        torch.get_rng_state().tolist(),
        np.random.get_state()[1].tolist(),  # noqa: NPY002
        random.getstate(),
        np.geterr(),
        [*warnings.filters],
        version.getbase(),
        GlobalHydra.instance().hydra,
    ]


@contextmanager
def setting(put: Callable[[Any], object], value: Any, back: Any) -> Iterator[None]:
    put(value)
    try:
        yield
    finally:
        put(back)


@contextmanager
def strict() -> Iterator[None]:
    """Warnings are errors, as in many a test suite."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


SURROUNDINGS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "default device": lambda: setting(torch.set_default_device, "meta", None),
    "device": lambda: torch.device("meta"),
    "half": lambda: setting(torch.set_default_dtype, torch.float16, torch.float32),
    "double": lambda: setting(torch.set_default_dtype, torch.float64, torch.float32),
    "inference": torch.inference_mode,
    "no gradients": torch.no_grad,
    "deterministic": lambda: setting(torch.use_deterministic_algorithms, True, False),
    "coarse products": lambda: setting(torch.set_float32_matmul_precision, "medium", "highest"),
    "NumPy raises": lambda: np.errstate(all="raise"),
    "warnings": strict,
}


@pytest.fixture(scope="module")
def undisturbed() -> list[bytes]:
    return everything()


@pytest.mark.slow
@pytest.mark.parametrize("name", SURROUNDINGS)
def test_nothing_around_changes_what_comes_out(undisturbed: list[bytes], name: str) -> None:
    """Autocast made float32 silently coarse, the device `meta` ended in a TypeError."""
    with SURROUNDINGS[name]():
        before = settings()
        came_out = everything()
        assert settings() == before
    assert came_out == undisturbed


def test_autocast_does_not_reach_a_run() -> None:
    """The quickest of them, always run: float32 was off by 2e-5."""
    plain = package.train("precision=float32", *QUICK)
    with torch.autocast("cpu", torch.bfloat16):
        cast = package.train("precision=float32", *QUICK)
        assert torch.is_autocast_enabled("cpu")
    np.testing.assert_array_equal(cast.loss, plain.loss)


def test_calls_in_threads_leave_what_was_set() -> None:
    """The default type is there once for all threads: the last call puts it back."""
    plain = package.train(*QUICK).loss
    with SURROUNDINGS["half"](), ThreadPoolExecutor(4) as pool:
        runs = [*pool.map(lambda _: package.train(*QUICK).loss, range(4))]
        assert torch.get_default_dtype() == torch.float16
    for loss in runs:
        np.testing.assert_array_equal(loss, plain)


# --- Hydra of the program's own ---------------------------------------------------------------


def test_threads_compose_each_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """They met in Hydra's global state, and were told to clear it."""
    with ThreadPoolExecutor(4) as pool:
        runs = [*pool.map(lambda seed: package.train(f"seed={seed}", *QUICK), range(4))]
    assert [run.config["seed"] for run in runs] == [0, 1, 2, 3]
    assert [run.replicas["seed"][0] for run in runs] == [0, 1, 2, 3]


def test_a_program_s_hydra_is_left_alone(tmp_path: Path) -> None:
    """Between its own `initialize_config_dir` and `compose`, with resolvers of names like ours."""
    (tmp_path / "mine.yaml").write_text("a: ${experiment:}\nb: ${now:x}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("omegaconf.basecontainer.BaseContainer._resolvers", {})
        OmegaConf.register_new_resolver("experiment", lambda: "mine")
        with initialize_config_dir(str(tmp_path), version_base="1.2"):
            OmegaConf.register_new_resolver("now", lambda _: "then", replace=True)
            base, known = version.getbase(), GlobalHydra.instance().hydra
            for _ in range(2):
                assert package.train("name=${now:%Y}", *QUICK).config["name"] == "then"
                assert package.train(*QUICK).summary["experiment"] == "fig3"
            assert (version.getbase(), GlobalHydra.instance().hydra) == (base, known)
            composed = compose("mine")
        assert (composed.a, composed.b) == ("mine", "then")
        assert not OmegaConf.has_resolver("reludyn.experiment")


PROGRAM = """
import hydra, reludyn
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

OmegaConf.register_new_resolver("experiment", lambda: "mine")

@hydra.main(version_base=None, config_path=".", config_name="mine")
def main(config):
    before = HydraConfig.get().runtime.output_dir
    runs = [reludyn.train(f"seed={config.seed + i}", "trainer.steps=3") for i in range(2)]
    assert HydraConfig.get().runtime.output_dir == before
    print(config.name, *(run.config["seed"] for run in runs), *(run.config["name"] for run in runs))

main()
"""


@pytest.mark.slow
def test_a_program_of_hydra_s_may_train(tmp_path: Path) -> None:
    """Inside the task of its `@hydra.main`, in a run and in a sweep."""
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "mine.yaml").write_text("seed: 3\nname: ${experiment:}\n")
    for words, lines in (([], ["3 4"]), (["-m", "seed=5,6"], ["5 6", "6 7"])):
        ended = subprocess.run(
            [sys.executable, "program.py", *words], cwd=tmp_path, capture_output=True, text=True
        )
        assert (ended.returncode, ended.stderr) == (0, "")
        said = [line for line in ended.stdout.splitlines() if line.startswith("mine")]
        assert said == [f"mine {line} fig3 fig3" for line in lines]
