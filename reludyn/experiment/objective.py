"""The objective: what is learned from what, made from the settings of the data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from reludyn.config.schema import (
    Config,
    DigitsData,
    FileData,
    GaussianData,
    GivenData,
    PopulationData,
    SGDOptimizer,
    StreamData,
)
from reludyn.data.covariance import Covariance, covariance_from_file, power_law
from reludyn.data.digits import read_digits, sample_covariance
from reludyn.data.files import Read, read_samples
from reludyn.data.laws import InputLaw
from reludyn.data.layouts import Held, Layout, Resident
from reludyn.data.samples import BLOCK, Samples, Source, Streamed
from reludyn.experiment.memory import TEST_SAMPLES
from reludyn.experiment.plan import Plan
from reludyn.network.activation import LeakyReLU
from reludyn.network.teacher import (
    LinearTeacher,
    axis_teacher,
    least_squares_teacher,
    random_teacher,
)
from reludyn.risk import (
    AnisotropicRisk,
    Batches,
    EmpiricalRisk,
    FreshSamples,
    MiniBatches,
    PopulationRisk,
    Risk,
)
from reludyn.risk.sharded import ShardedRisk
from reludyn.risk.tiles import NARROW
from reludyn.system.arrays import read_matrix
from reludyn.system.errors import ConfigError
from reludyn.training.distributed import Ranks

SMALLEST, LARGEST = 1e-100, 1e100  # as data.target_norm
TEST_SEED = 0  # the fresh samples of loss_test are the same for all replicas


@dataclass(frozen=True)
class Target:
    """What is learned; where a file holds the samples, they come with it."""

    teacher: LinearTeacher
    samples: Resident | None = None  # float64, CPU
    read: Read | None = None  # what the file was found to hold


@dataclass(frozen=True)
class Objective:
    """What is minimised, and what is looked at beside it."""

    risk: Risk
    population: PopulationRisk | None  # closed form, if there is one, of the law of the inputs
    zero_loss: float  # the risk of the zero student: the unit of losses
    batches: Batches | None = None  # what a step follows instead of the whole risk
    test: Risk | None = None  # of fresh samples without label noise, where it is looked at
    read: Read | None = None  # what was read from a file of samples

    @property
    def beside(self) -> PopulationRisk | None:
        """The population risk, where it is not what is minimised."""
        return None if self.population is self.risk else self.population

    def of(self, replicas: slice, teacher: LinearTeacher) -> Objective:
        """Return the objective of some replicas of a batch, which all learn this target."""
        if not isinstance(self.risk, PopulationRisk):
            return replace(self, risk=self.risk.select(torch.arange(replicas.start, replicas.stop)))
        risk = self.risk.of(replicas.start)
        population = risk if self.population is self.risk else self.population
        zero_loss = self.zero_loss if risk is self.risk else teacher.zero_loss
        return replace(self, risk=risk, population=population, zero_loss=zero_loss)


def make_target(config: Config) -> tuple[Config, Target]:
    """The target of config.data, and the config with the sizes that a file decided.

    A random target depends on data.seed alone, so that all replicas and all seeds learn the same A.
    That of samples without A is the solution of least squares of minimal norm.
    """
    data = config.data
    if isinstance(data, GivenData):
        target = _given(data)
        assert target.samples is not None
        r, d = target.teacher.A.shape
        data = replace(data, dim=d, outputs=r, samples=target.samples.n)
        return replace(config, data=data), target
    if data.target == "axis":
        return config, Target(axis_teacher(data.outputs, data.dim, data.target_norm))
    if data.target == "random":
        seed = data.seed or 0
        return config, Target(random_teacher(data.outputs, data.dim, data.target_norm, seed))
    shape = (data.outputs, data.dim)
    A = torch.from_numpy(read_matrix(data.target_path, "data.target_path", "A", shape))
    teacher = LinearTeacher(data.target_norm * A)
    _check_target(teacher, "data.target_path", data.target_path)
    return config, Target(teacher)


def make_objective(
    config: Config, plan: Plan, target: Target, A: Tensor, seeds: Sequence[int]
) -> Objective:
    """Risk and batches that config.data and config.optimizer ask for, on the device and in the
    precision of A, which is the target in the coordinates of the run."""
    data, activation = config.data, LeakyReLU(config.model.negative_slope)
    if target.samples is not None:
        zero_loss = float(target.samples.Y.square().sum(-1).mean()) / 2
        _check_size(math.sqrt(2 * zero_loss), *_source(data), "the labels Y")
        layout = _layout(config, plan, own=config.replicas == 1)
        n = target.samples.n
        samples = target.samples.part(plan.ranks.rows(n, 1)).to(A)
        of_file = _mini_batches(config, samples, seeds, activation)
        gaussian = None
        if isinstance(data, DigitsData):  # what Gaussian inputs of the same covariance would do
            colour = sample_covariance(target.samples.X[0].numpy()).on(A)
            gaussian = AnisotropicRisk(A, colour, activation)
        held = samples if layout == "rows" else samples.laid(layout)
        of_sample = _on_samples(config, plan, held, n, activation)
        return Objective(of_sample, gaussian, zero_loss, of_file, read=target.read)
    covariance = make_covariance(data)
    population, zero_loss = PopulationRisk(A, activation), target.teacher.zero_loss
    if covariance is not None:
        population = AnisotropicRisk(A, covariance.on(A), activation)
        zero_loss = LinearTeacher(covariance.on(target.teacher.A)(target.teacher.A)).zero_loss
    if not isinstance(data, GaussianData):
        return Objective(population, population, zero_loss)

    law = InputLaw(data.law, data.freedom, covariance)
    closed = population if data.law == "gaussian" else None  # no other closed form
    test = None
    if config.trainer.observables == "full" or (closed is None and plan.fresh):
        unseen = Source(target.teacher, law, [TEST_SEED], purpose="test").draw(TEST_SAMPLES)
        test = EmpiricalRisk(unseen.to(A), activation)
    source = Source(target.teacher, law, seeds if data.seed is None else [data.seed], data.noise)
    risk, batches = _drawn(config, plan, source, closed or test, A, seeds, activation)
    return Objective(risk, closed, zero_loss, batches, test)


def make_covariance(data: PopulationData) -> Covariance | None:
    """The covariance of the inputs; None is the identity."""
    if data.covariance == "identity":
        return None
    if data.covariance == "power_law":
        return power_law(data.dim, data.covariance_exponent)
    assert data.covariance_path is not None
    return covariance_from_file(data.covariance_path, data.dim)


def _drawn(
    config: Config,
    plan: Plan,
    source: Source,
    unseen: Risk | None,
    A: Tensor,
    seeds: Sequence[int],
    activation: LeakyReLU,
) -> tuple[Risk, Batches | None]:
    """The risk of samples of a source; of new ones in every step, what stands for their limit."""
    data = config.data
    assert data.samples is not None
    own = plan.ranks.rows(data.samples, BLOCK)
    if not isinstance(data, StreamData):
        layout = _layout(config, plan, own=len(source.seeds) == config.replicas)
        samples = source.draw(len(own), layout, own.start).to(A)
        batches = _mini_batches(config, samples, seeds, activation)
        return _on_samples(config, plan, samples, data.samples, activation), batches
    streamed = Streamed(source, len(own), A.device, A.dtype, first=own.start)
    if not plan.fresh:
        return _of_share(plan.ranks, streamed, data.samples, activation), None
    assert unseen is not None
    period = 1 if data.law == "gaussian" else max(1, TEST_SAMPLES // data.samples)
    return unseen, FreshSamples(streamed, activation, period)


def _on_samples(
    config: Config, plan: Plan, samples: Held, n: int, activation: LeakyReLU
) -> EmpiricalRisk:
    several = config.replicas > 1
    return _of_share(plan.ranks, samples, n, activation, plan.compiled, several)


def _of_share(
    ranks: Ranks,
    samples: Samples,
    n: int,
    activation: LeakyReLU,
    compiled: bool = False,
    several: bool = False,
) -> EmpiricalRisk:
    """The risk of n rows, of which these samples are the share of this rank, or all."""
    if not ranks.several:
        return EmpiricalRisk(samples, activation, compiled, several)
    compiled &= samples.n > 0
    return ShardedRisk(samples, n, ranks.total, activation, compiled, several)


def _layout(config: Config, plan: Plan, own: bool) -> Layout:
    """How samples in memory are best laid, with one a replica (`own`) or one for several."""
    if isinstance(config.optimizer, SGDOptimizer):
        return "rows"
    narrow = own and config.model.width <= NARROW
    return "tiles" if narrow and plan.compiled else "columns"


def _mini_batches(
    config: Config, samples: Held, seeds: Sequence[int], activation: LeakyReLU
) -> MiniBatches | None:
    optimizer = config.optimizer
    if not isinstance(optimizer, SGDOptimizer):
        return None
    assert isinstance(samples, Resident)
    if optimizer.batch > samples.n:
        allowed = f"must be at most {samples.n}, the number of samples"
        raise ConfigError("optimizer.batch", optimizer.batch, allowed)
    return MiniBatches(samples, optimizer.batch, seeds, activation)


def _given(data: GivenData) -> Target:
    """The samples of a file, or the digits; the target that comes with them or fits them."""
    matrix, read = None, None
    if isinstance(data, FileData):
        inputs, labels, matrix, read = read_samples(
            data.path, data.columns_x, data.columns_y, data.outputs
        )
        read = replace(read, rows=min(read.rows, data.samples or read.rows))
    else:
        assert isinstance(data, DigitsData)
        inputs, labels = read_digits(data.target, data.blur, data.whiten, data.samples)
    (n, d), where = inputs.shape, _source(data)[1]
    if data.dim not in (None, d):
        raise ConfigError("data.dim", data.dim, f"must be null or {d}, as in {where}")
    if data.outputs is not None and labels is not None and data.outputs != labels.shape[1]:
        r = labels.shape[1]
        raise ConfigError("data.outputs", data.outputs, f"must be null or {r}, as in {where}")
    if data.samples is not None and data.samples > n:
        raise ConfigError("data.samples", data.samples, f"must be at most {n}, as in {where}")
    X = torch.from_numpy(inputs)[: data.samples]
    if matrix is not None:
        teacher = LinearTeacher(torch.from_numpy(matrix))
        Y = teacher(X) if labels is None else torch.from_numpy(labels)[: data.samples]
    else:
        assert labels is not None
        Y = torch.from_numpy(labels)[: data.samples]
        teacher = least_squares_teacher(X, Y)
    _check_target(teacher, *_source(data))
    return Target(teacher, Resident(X.unsqueeze(0), Y.unsqueeze(0)), read)


def _source(data: GivenData) -> tuple[str, str]:
    """The key and the value that say where samples come from."""
    return ("data.path", data.path) if isinstance(data, FileData) else ("data", data.name)


def _check_target(teacher: LinearTeacher, key: str, path: str | None) -> None:
    if not teacher.A.any():
        raise ConfigError(key, path, "the target A must not be zero: there is nothing to learn")
    _check_size(float(teacher.A.abs().max()), key, path, "the target A")


def _check_size(size: float, key: str, path: str | None, what: str) -> None:
    """Raise ConfigError for sizes whose squares, cubes and losses would vanish or overflow."""
    if not SMALLEST <= size <= LARGEST:
        allowed = f"{what} must have a size from {SMALLEST:g} to {LARGEST:g}, not {size:.3g}"
        raise ConfigError(key, path, allowed, "Use other units")
