"""Jobs as one batch: every job is what it would have been alone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from reludyn.config.compose import configure
from reludyn.config.parse import check
from reludyn.config.rules import own_keys
from reludyn.config.schema import Config
from reludyn.dynamics.phases import PhaseRule
from reludyn.experiment.batch import train_together
from reludyn.experiment.results import Results
from reludyn.experiment.run import execute
from reludyn.network.notation import PerReplica
from reludyn.network.student import stacked
from reludyn.network.subspace import InvariantSubspace
from reludyn.network.teacher import axis_teacher
from reludyn.optim import StepSizes
from reludyn.optim.gradient_descent import GradientDescent
from reludyn.risk import PopulationRisk
from reludyn.sweep.jobs import with_values
from reludyn.theory.predictions import forecast, predict
from reludyn.training.compiled_engine import CompiledEngine
from reludyn.training.engine import Engine
from tests.support.parts import drawn

QUIET = Console(quiet=True)
ROUNDINGS = 4500  # units in the last place: 1e-12 in float64
# what jobs may have of their own, in seven jobs of which some have several replicas
JOBS: list[dict[str, Any]] = [
    {"seed": 3},
    {"seed": 4, "init.scale": 1e-2, "replicas": 2},
    {"seed": 5, "optimizer.lr": 0.05},
    {"seed": 3, "data.target_norm": 2.5, "trainer.tolerance": 0.0},
    {"seed": 9, "trainer.tolerance": 1e-12},
    {"seed": 7, "init.signs": "random", "replicas": 6},
    {"seed": 2, "init.signs": "same", "optimizer.lr": 0.2, "data.target_norm": 0.3},
]
SAMPLES = ["data=gaussian", "data.samples=60", "data.dim=5", "init.scale=0.1"]
SEVERAL = ["data.outputs=2", "init.signs=random"]
SETTINGS = {
    "population": [],
    "wide": ["model.width=4", "data.dim=12"],
    "two step sizes": ["model.width=3", "data.dim=12", "optimizer.output_lr=0.07"],
    "frozen": ["model.train_output=false", "trainer.observables=full"],
    "two outputs": [*SEVERAL, "model.width=4", "data.dim=6", "init.scale=0.1"],
    "full": ["trainer.observables=full", "data.dim=8", "trainer.keep_weights=1"],
    "single": ["precision=float32", "trainer.tolerance=1e-6"],
    "stationary": ["trainer.gradient_tolerance=1e-3", "init.scale=0.1"],
    "coloured": ["data.covariance=power_law", "data.dim=6"],
    "random target": ["data.target=random", "data.seed=5", "data.dim=7"],
    "samples": SAMPLES,
    "one sample": [*SAMPLES, "data.seed=1"],
    "mini-batches": [*SAMPLES, "optimizer=sgd", "optimizer.batch=16", "optimizer.momentum=0.5"],
    "fresh": ["data=stream", "data.fresh=true", "data.samples=20", "data.dim=5"],
    "stream": ["data=stream", "data.samples=30", "data.dim=5", "init.scale=0.1"],
    "momentum": ["optimizer=momentum", "optimizer.lr=0.02", "init.scale=0.1"],
    "adam": ["optimizer=adam", "optimizer.lr=0.01", "data.dim=8", "init.scale=0.1"],
    "warmup": ["optimizer.schedule=cosine", "optimizer.warmup=5", "init.scale=0.1"],
}


@cache
def base(*common: str) -> Config:
    return configure("trainer.steps=100", "figures=false", "logger=none", *common)


def jobs(common: Sequence[str], looks: int = 30) -> list[Config]:
    """Jobs that differ as much as the setting allows."""
    config = with_values(base(*common), {"trainer.looks": looks})
    allowed = own_keys(config) | {"replicas"}
    if config.data.outputs > 1:
        allowed -= {"init.signs"}
    fitting = [{key: own[key] for key in own if key in allowed} for own in JOBS]
    return [check(with_values(config, own)) for own in fitting]


def assert_same(one: Results, other: Results, tolerance: float) -> None:
    assert list(one.arrays) == list(other.arrays)
    for name, x in one.arrays.items():
        y = other.arrays[name]
        assert (x.shape, x.dtype) == (y.shape, y.dtype), name
        if x.dtype.kind == "f":
            np.testing.assert_allclose(y, x, rtol=tolerance, atol=1e-300, err_msg=name)
        else:
            assert (x == y).all(), name
    for row, its_own in zip(one.rows, other.rows, strict=True):
        for name, value in row.items():
            if isinstance(value, float):
                assert its_own[name] == pytest.approx(value, rel=tolerance, abs=1e-300), name
            else:
                assert its_own[name] == value, name
    for name in ("steps", "stopped_because", "replicas", "device", "success_fraction"):
        assert one.summary[name] == other.summary[name], name
    resolutions = [results.summary["loss_resolution"] for results in (one, other)]
    assert resolutions[1] == pytest.approx(resolutions[0], rel=1e-12)


@pytest.mark.quick(2)
@pytest.mark.parametrize("setting", SETTINGS)
def test_a_job_of_a_batch_is_as_if_alone(setting: str) -> None:
    """All arrays, all columns, to 1e-12 in float64."""
    configs = jobs(SETTINGS[setting])
    together = train_together(configs, QUIET)
    units = ROUNDINGS * torch.finfo(together.setup.A.dtype).eps
    for place, config in enumerate(configs):
        assert_same(execute(config, QUIET), together.results(place), units)


@pytest.mark.slow
def test_the_jobs_stop_at_different_steps() -> None:
    """So the test above compares trajectories of different lengths, and several reasons."""
    together = train_together(jobs(["trainer.steps=400", "init.scale=0.1"], looks=300), QUIET)
    ends = [together.results(place) for place in range(len(JOBS))]
    assert len({results.summary["steps"] for results in ends}) > 4
    assert {results.reason for results in ends} == {"converged", "max_steps"}
    assert len({len(results.arrays["step"]) for results in ends}) > 4


def test_a_job_that_diverges_leaves_the_others_alone() -> None:
    config = base("trainer.steps=60", "init.scale=0.1")
    configs = [with_values(config, {"optimizer.lr": lr}) for lr in (0.1, 9.0, 0.2)]
    together = train_together(configs, QUIET)
    ends = [together.results(place) for place in range(3)]
    assert [results.reason for results in ends] == ["max_steps", "diverged", "max_steps"]
    for config, results in zip(configs, ends, strict=True):
        assert_same(execute(config, QUIET), results, 1e-12)


def test_checkpoints_hold_one_job(tmp_path: Path) -> None:
    """Weights, basis and the memory of the update rule, of the same size as alone."""
    from reludyn.experiment.resume import Provenance
    from reludyn.experiment.write import write_files

    configs = jobs(SETTINGS["momentum"])
    together, saved = train_together(configs, QUIET), []
    for name, results in (("alone", execute(configs[1], QUIET)), ("one", together.results(1))):
        write_files(results, Provenance(configs[1], "digest"), tmp_path / name, 0.0)
        file = tmp_path / name / "checkpoints" / "last.pt"
        saved.append((torch.load(file, weights_only=True), file.stat().st_size))
    (alone, size), (one, its_size) = saved
    assert abs(size - its_size) < 1000
    for name in ("W", "V", "basis", "steps", "T_align"):
        torch.testing.assert_close(one[name], alone[name], rtol=1e-12, atol=0.0)
    for a, b in zip(one["memory"], alone["memory"], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-15)


def test_what_cannot_share_a_batch_says_so() -> None:
    own = {name: own_keys(base(*SETTINGS[name])) for name in SETTINGS}
    everything = {"seed", "init.scale", "init.signs", "trainer.tolerance"}
    assert own["population"] == everything | {"optimizer.lr", "data.target_norm"}
    assert own["samples"] == everything | {"optimizer.lr"}
    assert own["adam"] == own["two step sizes"] == everything | {"data.target_norm"}
    for alone in ("theory.bounds=true", "theory.spectrum=true", "trainer.max_seconds=9"):
        assert own_keys(base(alone)) == set()
    assert own_keys(base("optimizer=gradient_flow")) == set()


# --- Both engines, theory ---------------------------------------------------------------------

LR, NORMS, TOLERANCES = (0.05, 0.1, 0.3), (1.0, 0.4, 3.0), (1e-8, 0.0, 1e-4)


def of_each(values: Sequence[float], replicas: int) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64).repeat_interleave(replicas)


@pytest.mark.quick(2)
@pytest.mark.parametrize(("k", "r", "d"), [(2, 1, 30), (9, 1, 12), (5, 2, 8), (3, 3, 3)])
@pytest.mark.parametrize("program", [False, True])
def test_replicas_of_their_own_are_those_of_three_engines(
    k: int, r: int, d: int, program: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Step size, target and tolerance; the programs run one operation after the other."""
    from reludyn.training import compiled_engine as module

    monkeypatch.setattr(module, "compiled", lambda form: form.program)
    kind = CompiledEngine if program else Engine
    teachers = [axis_teacher(r, d, norm) for norm in NORMS]
    students = [drawn("theorem", range(4), k, d, r, 0.1, teacher=t) for t in teachers]
    subspace = InvariantSubspace.spanned(teachers[0], stacked(students))
    A = torch.stack([subspace.target(t) for t in teachers for _ in range(4)])
    rules = [PhaseRule(t, A) for t in teachers for _ in range(4)]

    def engine(A: torch.Tensor, rule: PhaseRule, lr: PerReplica, tolerance: PerReplica) -> Engine:
        return kind(PopulationRisk(A), GradientDescent(StepSizes(lr)), rule, tolerance)

    of_all = (of_each(LR, 4), of_each(TOLERANCES, 4))
    together = engine(A, PhaseRule.joined(rules, A), *of_all)
    state = together.start(subspace.reduce(stacked(students)))
    for steps in (1, 40, 120, 200):
        state = together.advance(state, steps)
    for j, teacher in enumerate(teachers):
        of_job = slice(4 * j, 4 * j + 4)
        rule = PhaseRule(teacher, A[4 * j])
        alone = engine(A[4 * j], rule, LR[j], TOLERANCES[j])
        start = subspace.of(of_job, teacher).reduce(students[j])
        expected = alone.start(start)
        for steps in (1, 40, 120, 200):
            expected = alone.advance(expected, steps)
        part = state.select(torch.arange(4 * j, 4 * j + 4))
        for x, y in zip(part.student, expected.student, strict=True):
            torch.testing.assert_close(x, y, rtol=1e-11, atol=1e-12)
        torch.testing.assert_close(part.time, expected.time, rtol=1e-14, atol=0.0)
        for name in ("steps", "running", "diverged"):
            assert torch.equal(getattr(part, name), getattr(expected, name))
        assert [c.tolist() for c in part.clocks] == [c.tolist() for c in expected.clocks]


@pytest.mark.slow
def test_programs_with_numbers_of_each_replica_compile() -> None:
    """As the plain engine, also with another number of replicas."""
    teacher = axis_teacher(1, 30)
    students = drawn("theorem", range(40), 2, 30, 1, 0.1)
    subspace = InvariantSubspace.spanned(teacher, students)
    A, lr = subspace.teacher.A, torch.linspace(0.02, 0.3, 40, dtype=torch.float64)
    for count in (40, 23):
        start = subspace.reduce(students).map(lambda x, n=count: x[:n])
        ends = []
        for kind in (Engine, CompiledEngine):
            descent = GradientDescent(StepSizes(lr[:count]))
            engine = kind(PopulationRisk(A), descent, PhaseRule(teacher, A), 1e-10)
            ends.append(engine.advance(engine.start(start), 300))
        for x, y in zip(ends[0].student, ends[1].student, strict=True):
            torch.testing.assert_close(y, x, rtol=1e-10, atol=1e-12)
        assert torch.equal(ends[0].steps, ends[1].steps)


@pytest.mark.slow
@pytest.mark.parametrize(("k", "r"), [(2, 1), (4, 1), (4, 2)])
def test_theory_of_a_batch_is_theory_of_each(k: int, r: int) -> None:
    d = 20
    teachers = [axis_teacher(r, d, norm) for norm in NORMS]
    students = [drawn("theorem", range(5), k, d, r, 1e-3, teacher=t) for t in teachers]
    A = torch.stack([t.A for t in teachers for _ in range(5)])
    lr, tolerance = of_each(LR, 5), of_each(TOLERANCES, 5)
    whole = predict(stacked(students), A, lr, tolerance, 700)
    said = forecast(stacked(students), A, lr)
    curves = [said.at(torch.arange(15) * 3 + look) for look in (0, 5, 300)]
    for j, (teacher, student) in enumerate(zip(teachers, students, strict=True)):
        part = whole.of(slice(5 * j, 5 * j + 5))
        alone = predict(student, teacher.A, LR[j], TOLERANCES[j], 700)
        assert part.outcome == alone.outcome
        for name, x in vars(alone).items():
            if name != "outcome":
                y = getattr(part, name)
                torch.testing.assert_close(y, x, rtol=1e-12, atol=1e-300, equal_nan=True)
        for row in range(5):
            one = forecast(student.map(lambda x, i=row: x[i : i + 1]), teacher.A, LR[j])
            for curve, look in zip(curves, (0, 5, 300), strict=True):
                place = 5 * j + row
                expected = one.at(torch.tensor([place * 3 + look]))
                for x, y in zip(expected, curve, strict=True):
                    torch.testing.assert_close(
                        y[place], x[0], rtol=1e-12, atol=1e-300, equal_nan=True
                    )
