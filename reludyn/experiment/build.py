"""Assembly: the parts of a run, made from its settings and put together.

Several jobs may go as one batch: their replicas stand one behind the other, and what differs from
job to job (seeds, scale and signs of the weights, step size, norm of the target, tolerance) each
replica has of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reludyn.config.schema import (
    AdamOptimizer,
    Config,
    FlowOptimizer,
    GivenData,
    MomentumOptimizer,
    Optimizer,
)
from reludyn.dynamics.phases import PhaseRule
from reludyn.experiment.cost import check_time
from reludyn.experiment.memory import check_memory, hessian_size
from reludyn.experiment.objective import Objective, Target, make_objective, make_target
from reludyn.experiment.plan import Plan, make_plan
from reludyn.experiment.resume import ResumePoint
from reludyn.network.initialization import draw_students
from reludyn.network.notation import PerReplica
from reludyn.network.student import ReLUStudent, stacked
from reludyn.network.subspace import InvariantSubspace
from reludyn.network.teacher import LinearTeacher
from reludyn.numerics.sizes import DENSE
from reludyn.optim import StepSizes, UpdateRule
from reludyn.optim.adam import Adam
from reludyn.optim.gradient_descent import BEGINNING, GradientDescent
from reludyn.optim.momentum import Momentum
from reludyn.optim.schedule import Schedule
from reludyn.recording.look import Share, shares_of
from reludyn.risk import EmpiricalRisk, Risk
from reludyn.system.errors import ConfigError
from reludyn.system.machine import keep_freed_memory
from reludyn.training.compiled_engine import CompiledEngine
from reludyn.training.distributed import ALONE, Ranks
from reludyn.training.engine import Engine

EXACT, ON_SAMPLES = 1e-10, 1e-5  # relative errors of gradient flow, where none is given


@dataclass(frozen=True)
class Job:
    """One of the jobs of a batch."""

    config: Config  # with the sizes that a file decided
    seeds: range
    teacher: LinearTeacher
    share: Share


@dataclass(frozen=True)
class Setup:
    """The parts of a run, on the device and in the precision of the run."""

    jobs: Sequence[Job]
    student: ReLUStudent  # initial weights of all replicas, in the coordinates of the run
    subspace: InvariantSubspace | None  # None: the coordinates of the run are those of R^d
    A: Tensor  # the teacher, in the coordinates of the run: (r, m), or (R, r, m) where jobs differ
    objective: Objective
    engine: Engine
    plan: Plan

    @property
    def config(self) -> Config:
        """Config of the first job: what is not its own is the same for all."""
        return self.jobs[0].config

    @property
    def teacher(self) -> LinearTeacher:
        return self.jobs[0].teacher

    @property
    def seeds(self) -> Sequence[int]:
        """Seeds of all replicas."""
        return [seed for job in self.jobs for seed in job.seeds]

    def of(self, job: Job) -> Setup:
        """The parts of one job, as if it had been alone."""
        if len(self.jobs) == 1:
            return self
        replicas = job.share.replicas
        A = self.A if self.A.ndim == 2 else self.A[replicas.start]
        subspace = None if self.subspace is None else self.subspace.of(replicas, job.teacher)
        student = self.student.map(lambda layer: layer[replicas])
        alone = replace(job, share=shares_of([len(job.seeds)], job.config.trainer.keep_weights)[0])
        objective, engine = self.objective.of(replicas, job.teacher), self.engine
        if engine.can_part:
            engine = engine.select(torch.arange(replicas.start, replicas.stop, device=A.device))
        return Setup([alone], student, subspace, A, objective, engine, self.plan)


def build(*configs: Config, ranks: Ranks = ALONE, start: ResumePoint | None = None) -> Setup:
    """Return the parts that configs name, of one batch.

    Several configs may differ in the keys of `reludyn.config.rules.own_keys` alone. Raises
    ConfigError where the parts cannot be made, or are not those of the run to resume.
    """
    config = replace(configs[0], replicas=sum(config.replicas for config in configs))
    check_memory(config, place=ranks.place)
    keep_freed_memory()
    _check_hessian(config)
    config, target = make_target(config)
    if isinstance(config.data, GivenData):  # whose sizes are known now
        check_memory(config, place=ranks.place)
    since, spent = (BEGINNING, 0.0) if start is None else (start.since, start.spent)
    plan = make_plan(config, ranks, since, spent)
    check_time(config, plan.device, ranks.place.size)
    jobs = _jobs(configs, config, target)
    drawn = stacked(
        [
            draw_students(j.seeds, config.model.width, j.teacher, **asdict(j.config.init))
            for j in jobs
        ]
    )
    subspace = InvariantSubspace.spanned(target.teacher, drawn) if plan.subspace else None
    if subspace is not None:
        drawn = subspace.reduce(drawn)
    student = drawn.to(plan.device, plan.dtype)
    A = _target(jobs, subspace).to(plan.device, plan.dtype)
    seeds = [seed for job in jobs for seed in job.seeds]
    objective = make_objective(config, plan, target, A, seeds)
    for job in jobs:
        alone = objective.of(job.share.replicas, job.teacher)
        _check_tolerance(job.config.trainer.tolerance, alone)
    engine = _engine(
        config, plan, jobs, objective, PhaseRule(target.teacher, A, objective.zero_loss)
    )
    setup = Setup(jobs, student, subspace, A, objective, engine, plan)
    if start is not None:
        _check_fits(start, setup)
    return setup


def _engine(
    config: Config, plan: Plan, jobs: Sequence[Job], objective: Objective, rule: PhaseRule
) -> Engine:
    """Return what makes the iterations."""
    A = rule.A
    if A.ndim == 3:
        rule = PhaseRule.joined([PhaseRule(j.teacher, A) for j in jobs for _ in j.seeds], A)
    on_samples = isinstance(objective.risk, EmpiricalRisk)
    kind = CompiledEngine if plan.compiled and not on_samples else Engine
    return kind(
        objective.risk,
        make_update_rule(
            config, objective.risk, per_replica(jobs, "optimizer.lr", A.device), plan.since
        ),
        rule,
        per_replica(jobs, "trainer.tolerance", A.device),
        config.trainer.gradient_tolerance,
        objective.batches,
        graphs=A.device.type == "cuda",
    )


def _check_hessian(config: Config) -> None:
    """Refuse a Hessian that is too large to be held as a matrix."""
    theory = config.theory
    if theory.stationary or theory.plane == "eigenvectors":
        size = hessian_size(config)
        key, value = ("stationary", True) if theory.stationary else ("plane", theory.plane)
        if size > DENSE:
            allowed = f"needs a Hessian of at most {DENSE:,} rows; this model has {size:,} weights"
            raise ConfigError(f"theory.{key}", value, allowed, "Reduce model.width")


def _jobs(configs: Sequence[Config], config: Config, target: Target) -> Sequence[Job]:
    """The jobs of a batch, with the sizes of the first one's data, and their targets."""
    if len(configs) == 1:
        configs = [config]
    shares = shares_of([c.replicas for c in configs], config.trainer.keep_weights)
    jobs = []
    for job, share in zip(configs, shares, strict=True):
        same = job.data == configs[0].data
        job, its_own = (replace(job, data=config.data), target) if same else make_target(job)
        seeds = range(job.seed, job.seed + job.replicas)
        jobs.append(Job(job, seeds, its_own.teacher, share))
    return jobs


def _target(jobs: Sequence[Job], subspace: InvariantSubspace | None) -> Tensor:
    """A (r, m) in the coordinates of the run, or (R, r, m) where jobs have targets of their own."""
    matrices = [job.teacher.A if subspace is None else subspace.target(job.teacher) for job in jobs]
    if all(job.teacher is jobs[0].teacher for job in jobs):
        return matrices[0]
    return torch.stack([A for A, job in zip(matrices, jobs, strict=True) for _ in job.seeds])


def per_replica(jobs: Sequence[Job], key: str, device: torch.device) -> PerReplica:
    """The value of a key for all replicas, or one a replica, float64 (R,), where jobs differ."""
    group, name = key.split(".")
    values = [float(getattr(getattr(job.config, group), name)) for job in jobs]
    if len(set(values)) == 1:
        return values[0]
    counts = torch.tensor([len(job.seeds) for job in jobs])
    return torch.tensor(values, dtype=torch.float64).repeat_interleave(counts).to(device)


def make_update_rule(
    config: Config, risk: Risk, lr: PerReplica, since: tuple[int, PerReplica] = BEGINNING
) -> UpdateRule:
    """The update rule of config.optimizer, for the layers that config.model trains."""
    settings, model = config.optimizer, config.model
    schedule = Schedule()
    if isinstance(settings, Optimizer):
        schedule = Schedule(settings.schedule, settings.warmup, config.trainer.steps)
    sizes = StepSizes(lr, settings.output_lr, model.train_hidden, model.train_output, schedule)
    if isinstance(settings, FlowOptimizer):
        from reludyn.optim.gradient_flow import GradientFlow  # imports scipy

        rtol = settings.rtol or (ON_SAMPLES if isinstance(risk, EmpiricalRisk) else EXACT)
        return GradientFlow(lambda x: risk.evaluate(x).gradient, sizes, rtol, settings.method)
    if isinstance(settings, AdamOptimizer):
        return Adam(sizes, settings.beta1, settings.beta2, settings.eps)
    if isinstance(settings, MomentumOptimizer) and settings.momentum > 0:
        return Momentum(sizes, settings.momentum, settings.name == "nesterov")
    return GradientDescent(sizes, since)


def _check_tolerance(tolerance: float, objective: Objective) -> None:
    """Refuse a tolerance that rounding would never let happen, or that proves nothing."""
    resolution, activation = objective.risk.resolution, objective.risk.activation
    if 0 < tolerance < resolution:
        raise ConfigError(
            "trainer.tolerance",
            tolerance,
            f"must be 0 or at least {resolution:.1e}, below which rounding rules the loss",
            "Use a larger tolerance, or 0 to go on until trainer.steps",
        )
    even = activation.even
    stuck = objective.zero_loss * (even**2 / activation.square if even else 1)
    if tolerance >= stuck:
        raise ConfigError(
            "trainer.tolerance",
            tolerance,
            f"must be below {stuck:.3g}, the loss of a student that is stuck",
            "With a small data.target_norm use a smaller tolerance",
        )


def _check_fits(start: ResumePoint, setup: Setup) -> None:
    """Raise ConfigError where the state is not one of this run: of other sizes, in coordinates of
    other weights, or one that began with another loss."""
    there, subspace, engine = start.checkpoint, setup.subspace, setup.engine
    same = _alike(vars(there.state), vars(engine.start(setup.student)))
    same = same and _alike(there.basis, None if subspace is None else subspace.basis)
    if same and there.basis is not None and subspace is not None:
        same = torch.equal(there.basis, subspace.basis)
    first = start.seen["trajectory"]["columns"]["loss"][:1]
    if same and (same := first.shape == (1, len(setup.seeds))):
        loss, rtol = setup.objective.risk.loss(setup.student).total, 1e-9
        if setup.student.W.itemsize < 8:
            rtol = 1e-4
        same = np.allclose(first[0], loss.cpu().numpy(), rtol=rtol, atol=0)
    if not same:
        raise ConfigError(
            "resume",
            start.folder or ...,
            "its first weights, or their loss, are not those of "
            "this config: versions of programs differ",
            "Start the run anew",
        )


def _alike(a: Any, b: Any) -> bool:
    """Whether nested values have the same form: the same names, shapes and types."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return (a.shape, a.dtype) == (b.shape, b.dtype)
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(_alike(a[name], b[name]) for name in a)
    if isinstance(a, (tuple, list)) and isinstance(b, (tuple, list)):
        return len(a) == len(b) and all(map(_alike, a, b))
    return type(a) is type(b) or {type(a), type(b)} == {int, float}
