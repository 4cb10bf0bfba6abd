"""What a run does, decided once from its config and handed down."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from reludyn.config.rules import has_theory, is_fresh, stays_in_subspace
from reludyn.config.schema import Config
from reludyn.experiment.cost import compiles, stretch
from reludyn.network.notation import PerReplica
from reludyn.optim.gradient_descent import BEGINNING
from reludyn.system.errors import ConfigError
from reludyn.training.distributed import ALONE, Ranks
from reludyn.training.schedule import look_steps

_DTYPES = {"float64": torch.float64, "float32": torch.float32}


@dataclass(frozen=True)
class Plan:
    """What a run does, decided once."""

    ranks: Ranks  # that share the samples
    device: torch.device
    dtype: torch.dtype
    looks: Sequence[int]  # the iterations at which the run is looked at
    seconds: float  # after which it ends
    subspace: bool  # whether it trains in the coordinates of the invariant subspace
    compiled: bool  # whether compiled programs make the iterations
    stretch: int  # iterations after which it is asked whether it ends
    theory: bool  # whether small-initialisation theory predicts it
    fresh: bool  # whether every step has samples of its own
    since: tuple[int, PerReplica]  # iteration and time from which on the step size is what it is


def make_plan(
    config: Config,
    ranks: Ranks = ALONE,
    since: tuple[int, PerReplica] = BEGINNING,
    spent: float = 0.0,
) -> Plan:
    """Return the plan of a config whose sizes are known.

    Args:
        config: checked settings.
        ranks: the processes that share the run.
        since: iteration and time of the last change of the step size; theory knows one step size.
        spent: seconds that earlier parts of the run took.

    Raises:
        ConfigError: where there is no such device, or fewer devices than ranks.
    """
    device = ranks.device(pick_device(config.device))
    trainer, compiled = config.trainer, compiles(config, device)
    spacing: Any = trainer.spacing
    return Plan(
        ranks,
        device,
        _DTYPES[config.precision],
        looks=look_steps(trainer.steps, trainer.looks, spacing),
        seconds=(math.inf if trainer.max_seconds is None else trainer.max_seconds) - spent,
        subspace=stays_in_subspace(config),
        compiled=compiled,
        stretch=stretch(config, device, compiled),
        theory=has_theory(config) and since == BEGINNING,
        fresh=is_fresh(config),
        since=since,
    )


def pick_device(name: str) -> torch.device:
    """Return the device of that name; auto is CUDA where there is one."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device", name, "there is no CUDA device here", "Use device=auto or cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
