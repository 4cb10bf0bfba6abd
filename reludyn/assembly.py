"""Assembly: the parts of a run, made from its settings and put together."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from reludyn.combinations import stays_in_subspace
from reludyn.cost import compiles
from reludyn.errors import ConfigError
from reludyn.initialization import draw_students
from reludyn.memory import DENSE, check_memory, hessian_size, keep_freed_memory
from reludyn.objective import Objective, make_objective, make_target
from reludyn.optim import StepSizes, UpdateRule
from reludyn.optim.gradient_descent import GradientDescent
from reludyn.optim.torch_descent import Make, TorchDescent, schedule
from reludyn.phases import PhaseRule
from reludyn.risk import EmpiricalRisk, Risk
from reludyn.settings import AdamOptimizer, Config, FlowOptimizer, MomentumOptimizer, Optimizer
from reludyn.student import InvariantSubspace, ReLUStudent
from reludyn.teacher import LinearTeacher
from reludyn.training.compiled import CompiledEngine
from reludyn.training.distributed import ranks
from reludyn.training.engine import Engine

EXACT, ON_SAMPLES = 1e-10, 1e-5  # relative errors of gradient flow, where none is given
_DTYPES = {"float64": torch.float64, "float32": torch.float32}


@dataclass(frozen=True)
class Experiment:
    """The parts of a run, on the device and in the precision of the run."""

    config: Config  # with the sizes that a file decided
    seeds: range
    teacher: LinearTeacher
    student: ReLUStudent  # initial weights, in the coordinates of the run
    subspace: InvariantSubspace | None  # None: the coordinates of the run are those of R^d
    A: Tensor  # the teacher, in the coordinates of the run
    objective: Objective
    engine: Engine

    @property
    def device(self) -> torch.device:
        return self.A.device


def build(config: Config) -> Experiment:
    """The parts that the config names; raises ConfigError where they cannot be made."""
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
    seeds = range(config.seed, config.seed + config.replicas)
    drawn = draw_students(config.init, seeds, config.model.width, target.teacher)
    subspace = None
    if stays_in_subspace(config):
        subspace = InvariantSubspace.spanned(target.teacher, drawn)
        drawn = subspace.reduce(drawn)
    student = drawn.to(device, dtype)
    A = (target.teacher if subspace is None else subspace.teacher).A.to(device, dtype)
    objective = make_objective(config, target, A, seeds)
    _check_tolerance(config.trainer.tolerance, objective)
    on_samples = isinstance(objective.risk, EmpiricalRisk)
    kind = CompiledEngine if compiles(config, device) and not on_samples else Engine
    engine = kind(
        objective.risk,
        make_update_rule(config, objective.risk, student),
        PhaseRule(target.teacher, A, objective.zero_loss),
        config.trainer.tolerance,
        config.trainer.gradient_tolerance,
        objective.batches,
        graphs=device.type == "cuda",
    )
    return Experiment(config, seeds, target.teacher, student, subspace, A, objective, engine)


def pick_device(name: str) -> torch.device:
    """auto is CUDA where there is one."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device", name, "there is no CUDA device here", "Use device=auto or cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def make_update_rule(config: Config, risk: Risk, student: ReLUStudent) -> UpdateRule:
    """The update rule of config.optimizer, for the layers that config.model trains."""
    settings, model = config.optimizer, config.model
    sizes = StepSizes(settings.lr, settings.output_lr, model.train_hidden, model.train_output)
    if isinstance(settings, FlowOptimizer):
        from reludyn.optim.gradient_flow import GradientFlow  # imports scipy

        rtol = settings.rtol or (ON_SAMPLES if isinstance(risk, EmpiricalRisk) else EXACT)
        return GradientFlow(risk, sizes, rtol, settings.method)
    plan = schedule(settings.schedule, settings.warmup, config.trainer.steps)
    if settings.name == "gd" and plan is None:
        return GradientDescent(sizes)
    return TorchDescent(student, sizes, _torch_optimizer(settings), plan)


def _torch_optimizer(settings: Optimizer) -> Make:
    if isinstance(settings, AdamOptimizer):
        betas = (settings.beta1, settings.beta2)
        return partial(torch.optim.Adam, betas=betas, eps=settings.eps)
    if isinstance(settings, MomentumOptimizer):
        nesterov = settings.name == "nesterov" and settings.momentum > 0
        return partial(torch.optim.SGD, momentum=settings.momentum, nesterov=nesterov)
    return torch.optim.SGD


def _check_tolerance(tolerance: float, objective: Objective) -> None:
    """Refuse a tolerance that rounding would never let happen, or that proves nothing."""
    resolution, activation = objective.risk.resolution, objective.risk.activation
    if 0 < tolerance < resolution:
        raise ConfigError(
            "trainer.tolerance", tolerance,
            f"must be 0 or at least {resolution:.1e}, below which rounding rules the loss",
            "Use a larger tolerance, or 0 to go on until trainer.steps",
        )  # fmt: skip
    even = activation.even
    stuck = objective.zero_loss * (even**2 / activation.square if even else 1)
    if tolerance >= stuck:
        raise ConfigError(
            "trainer.tolerance", tolerance,
            f"must be below {stuck:.3g}, the loss of a student that is stuck",
            "With a small data.target_norm use a smaller tolerance",
        )  # fmt: skip
