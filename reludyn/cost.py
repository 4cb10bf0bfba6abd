"""What a run costs, from its sizes alone, and whether compiling pays."""

from __future__ import annotations

import torch

from reludyn.activation import RELU
from reludyn.combinations import RESIDENT, no_program
from reludyn.settings import Config
from reludyn.training.programs import form_of

WORTH = 5  # times the time to compile: from there on a run is compiled


def compiles(config: Config, device: torch.device) -> bool:
    """Whether steps are compiled: as asked for, or where all of them would take five times as long
    as compiling does. This depends on the sizes alone, so that a run always takes the same way."""
    wanted = config.trainer.engine
    if wanted != "auto":
        return bool(wanted == "compiled")
    if no_program(config):
        return False
    return bool(config.trainer.steps * step_seconds(config, device) > WORTH * _to_compile(config))


def step_seconds(config: Config, device: torch.device) -> float:
    """An eager step of all replicas takes about so long, measured on two cores of a CPU.

    Population: 60 us and, for each replica, 150 ns + 15 ns k^2 + 0.2 ns k^2 (m + r). Samples:
    100 us and 4 n d k operations for each replica, 25 a nanosecond. Other devices: 1 ms.
    """
    data, k, R = config.data, int(config.model.width), config.replicas
    if device.type != "cpu":
        return 1e-3
    if data.name in RESIDENT:
        return float(100e-6 + R * 4 * data.samples * data.dim * k / 25e9)
    r = data.outputs
    m = min(data.dim, k + r)
    return float(60e-6 + R * (150e-9 + k**2 * (15e-9 + 0.2e-9 * (m + r))))


def _to_compile(config: Config) -> float:
    if config.data.name in RESIDENT:
        return 10.0
    k, r = config.model.width, config.data.outputs
    return form_of(k, min(config.data.dim, k + r), r, config.replicas, RELU).seconds
