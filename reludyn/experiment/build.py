"""Assembly: the parts of a run, made from its settings and put together.

Several jobs may go as one batch: their replicas stand one behind the other, and what differs from
job to job (seeds, scale and signs of the weights, step size, norm of the target, tolerance) each
replica has of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor

from reludyn.config.rules import stays_in_subspace
from reludyn.config.schema import (
    AdamOptimizer,
    Config,
    FlowOptimizer,
    GivenData,
    MomentumOptimizer,
    Optimizer,
)
from reludyn.dynamics.phases import PhaseRule
from reludyn.experiment.cost import check_time, compiles, stretch
from reludyn.experiment.memory import check_memory, hessian_size
from reludyn.experiment.objective import Objective, Target, make_objective, make_target
from reludyn.network.initialization import draw_students
from reludyn.network.notation import Own
from reludyn.network.student import ReLUStudent, stacked
from reludyn.network.subspace import InvariantSubspace
from reludyn.network.teacher import LinearTeacher
from reludyn.numerics.sizes import DENSE
from reludyn.optim import StepSizes, UpdateRule
from reludyn.optim.adam import Adam
from reludyn.optim.gradient_descent import BEGINNING, GradientDescent
from reludyn.optim.momentum import Momentum
from reludyn.optim.schedule import CONSTANT, Schedule
from reludyn.recording.look import Share, shares_of
from reludyn.risk import EmpiricalRisk, Risk
from reludyn.system.errors import ConfigError
from reludyn.system.machine import keep_freed_memory
from reludyn.training.compiled_engine import CompiledEngine
from reludyn.training.distributed import ranks
from reludyn.training.engine import Engine

EXACT, ON_SAMPLES = 1e-10, 1e-5  # relative errors of gradient flow, where none is given
_DTYPES = {"float64": torch.float64, "float32": torch.float32}


@dataclass(frozen=True)
class Job:
    """One of the jobs of a batch."""

    config: Config  # with the sizes that a file decided
    seeds: range
    teacher: LinearTeacher
    share: Share


@dataclass(frozen=True)
class Experiment:
    """The parts of a run, on the device and in the precision of the run."""

    jobs: Sequence[Job]
    student: ReLUStudent  # initial weights of all replicas, in the coordinates of the run
    subspace: InvariantSubspace | None  # None: the coordinates of the run are those of R^d
    A: Tensor  # the teacher, in the coordinates of the run: (r, m), or (R, r, m) where jobs differ
    objective: Objective
    engine: Engine
    stretch: int  # iterations after which a run is asked whether it goes on

    @property
    def config(self) -> Config:
        """Of the first job: what is not its own is the same for all."""
        return self.jobs[0].config

    @property
    def teacher(self) -> LinearTeacher:
        return self.jobs[0].teacher

    @property
    def seeds(self) -> Sequence[int]:
        """Of all replicas."""
        return [seed for job in self.jobs for seed in job.seeds]

    @property
    def device(self) -> torch.device:
        return self.A.device

    def of(self, job: Job) -> Experiment:
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
            engine = engine.take(torch.arange(replicas.start, replicas.stop, device=A.device))
        return Experiment([alone], student, subspace, A, objective, engine, self.stretch)


def build(*configs: Config, since: tuple[int, Own] = BEGINNING) -> Experiment:
    """The parts that configs name, of one batch; raises ConfigError where they cannot be made.

    Several configs may differ in the keys of `reludyn.config.rules.own_keys` alone. since: the
    iteration from which on gradient descent has this step size, and its time.
    """
    config = replace(configs[0], replicas=sum(config.replicas for config in configs))
    device, dtype = ranks().device(pick_device(config.device)), _DTYPES[config.precision]
    check_memory(config, place=ranks().place)
    keep_freed_memory()
    theory = config.theory
    if theory.stationary or theory.plane == "eigenvectors":
        size = hessian_size(config)
        key, value = ("stationary", True) if theory.stationary else ("plane", theory.plane)
        if size > DENSE:
            allowed = f"needs a Hessian of at most {DENSE:,} rows; this model has {size:,} weights"
            raise ConfigError(f"theory.{key}", value, allowed, "Reduce model.width")
    config, target = make_target(config)
    if isinstance(config.data, GivenData):  # whose sizes are known now
        check_memory(config, place=ranks().place)
    check_time(config, device, ranks().place.size)
    jobs = _jobs(configs, config, target)
    drawn = stacked(
        [
            draw_students(j.seeds, config.model.width, j.teacher, **asdict(j.config.init))
            for j in jobs
        ]
    )
    subspace = None
    if stays_in_subspace(config):
        subspace = InvariantSubspace.spanned(target.teacher, drawn)
        drawn = subspace.reduce(drawn)
    student, A = drawn.to(device, dtype), _target(jobs, subspace).to(device, dtype)
    seeds = [seed for job in jobs for seed in job.seeds]
    objective = make_objective(config, target, A, seeds)
    for job in jobs:
        alone = objective.of(job.share.replicas, job.teacher)
        _check_tolerance(job.config.trainer.tolerance, alone)
    rule = PhaseRule(target.teacher, A, objective.zero_loss)
    if A.ndim == 3:
        rule = PhaseRule.joined([PhaseRule(j.teacher, A) for j in jobs for _ in j.seeds], A)
    on_samples = isinstance(objective.risk, EmpiricalRisk)
    kind = CompiledEngine if compiles(config, device) and not on_samples else Engine
    engine = kind(
        objective.risk,
        make_update_rule(config, objective.risk, own(jobs, "optimizer.lr", device), since),
        rule,
        own(jobs, "trainer.tolerance", device),
        config.trainer.gradient_tolerance,
        objective.batches,
        graphs=device.type == "cuda",
    )
    return Experiment(jobs, student, subspace, A, objective, engine, stretch(config, device))


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


def own(jobs: Sequence[Job], key: str, device: torch.device) -> Own:
    """The value of a key for all replicas, or one a replica, float64 (R,), where jobs differ."""
    group, name = key.split(".")
    values = [float(getattr(getattr(job.config, group), name)) for job in jobs]
    if len(set(values)) == 1:
        return values[0]
    counts = torch.tensor([len(job.seeds) for job in jobs])
    return torch.tensor(values, dtype=torch.float64).repeat_interleave(counts).to(device)


def pick_device(name: str) -> torch.device:
    """auto is CUDA where there is one."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device", name, "there is no CUDA device here", "Use device=auto or cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def make_update_rule(
    config: Config, risk: Risk, lr: Own, since: tuple[int, Own] = BEGINNING
) -> UpdateRule:
    """The update rule of config.optimizer, for the layers that config.model trains."""
    settings, model = config.optimizer, config.model
    plan = CONSTANT
    if isinstance(settings, Optimizer):
        plan = Schedule(settings.schedule, settings.warmup, config.trainer.steps)
    sizes = StepSizes(lr, settings.output_lr, model.train_hidden, model.train_output, plan)
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
