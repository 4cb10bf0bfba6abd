"""What a run costs, from its sizes alone: whether compiling pays, how long stretches are."""

from __future__ import annotations

import math
import os

import torch

from reludyn.config.rules import RESIDENT, no_program, stays_in_subspace
from reludyn.config.schema import (
    AdamOptimizer,
    Config,
    FlowOptimizer,
    GaussianData,
    GivenData,
    MomentumOptimizer,
    SGDOptimizer,
    StreamData,
)
from reludyn.experiment.memory import largest
from reludyn.network.activation import RELU
from reludyn.system.errors import ConfigError
from reludyn.training.programs import form_of

WORTH = 5  # times the time to compile: from there on a run is compiled
MOST_HOURS = 1  # that a step may take
CORES = 2  # on which it was measured
EAGER, COMPILED = 0.05, 0.5  # seconds of eager steps that are a stretch


def compiles(config: Config, device: torch.device) -> bool:
    """Whether steps are compiled: as asked for, or where all of them would take five times as long
    as compiling does. This depends on the sizes alone, so that a run always takes the same way."""
    wanted = config.trainer.engine
    if wanted != "auto":
        return bool(wanted == "compiled")
    if no_program(config):
        return False
    return bool(config.trainer.steps * step_seconds(config, device) > WORTH * _to_compile(config))


def check_time(config: Config, device: torch.device, ranks: int = 1) -> None:
    """Raise ConfigError where a single step would take hours: such a run would not even answer to
    Ctrl-C."""
    cores = max(1.0, (os.cpu_count() or 1) / CORES)
    hours = step_seconds(config, device) / cores / ranks / 3600
    if hours > MOST_HOURS:
        raise ConfigError(
            *largest(config),
            f"a step would take about {hours:,.0f} hours on this machine; it may take {MOST_HOURS}",
            "Reduce replicas, data.samples, data.dim or model.width",
        )


def stretch(config: Config, device: torch.device, compiled: bool) -> int:
    """Return the iterations between two looks after which a run is asked whether it ends: a power
    of two, about a twentieth of a second long, compiled about half a second. It depends on the
    sizes alone, as the results do on it."""
    seconds = COMPILED if compiled or device.type != "cpu" else EAGER
    return int(2 ** max(0, math.floor(math.log2(seconds / step_seconds(config, device)))))


def step_seconds(config: Config, device: torch.device) -> float:
    """An eager step of all replicas takes about so long, measured on two cores of a CPU.

    Population: 60 us and, for each replica, 150 ns + 15 ns k^2 + 0.2 ns k^2 (m + r). Samples:
    100 us and 4 n d k operations for each replica, 25 a nanosecond; 8 ns for each number that is
    drawn. An optimizer of PyTorch: 60 us. Gradient flow: 30 evaluations. Other devices: 1 ms.
    """
    data, optimizer, k, R = config.data, config.optimizer, int(config.model.width), config.replicas
    if device.type != "cpu":
        return 1e-3
    if isinstance(data, (GivenData, GaussianData)):
        n = optimizer.batch if isinstance(optimizer, SGDOptimizer) else data.samples
        assert n is not None
        assert data.dim is not None
        seconds = 100e-6 + R * 4 * n * data.dim * k / 25e9
        if isinstance(data, StreamData):
            seconds += 8e-9 * (R if data.seed is None else 1) * n * data.dim
    else:
        m = min(data.dim, k + data.outputs) if stays_in_subspace(config) else data.dim
        seconds = 60e-6 + R * (150e-9 + k**2 * (15e-9 + 0.2e-9 * (m + data.outputs)))
        if data.covariance == "file":
            seconds += R * 2 * k * data.dim**2 / 25e9
    if isinstance(optimizer, FlowOptimizer):
        return float(30 * seconds)
    torch_optimizer = isinstance(optimizer, (MomentumOptimizer, AdamOptimizer))
    return float(seconds + 60e-6 * torch_optimizer)


def _to_compile(config: Config) -> float:
    if config.data.name in RESIDENT:
        return 10.0
    k, r = config.model.width, config.data.outputs
    return form_of(k, min(config.data.dim, k + r), r, config.replicas, RELU).seconds
