"""How much memory a run will take, and whether the machine has it."""

from __future__ import annotations

import os

from reludyn.errors import ConfigError
from reludyn.settings import Config

COPIES = 4  # temporaries of the size of the largest tensors that live at once


def estimate(config: Config) -> int:
    """Bytes that a run needs at least at its peak: weights, pairs of neurons, samples."""
    data, R, k = config.data, config.replicas, config.model.width
    m = min(data.dim, k + data.outputs) if data.samples is None else data.dim
    numbers = R * k * data.dim + data.outputs * data.dim  # as drawn
    numbers += COPIES * R * (k * (m + data.outputs) + k * k)
    if data.samples is not None:
        samples = R if data.seed is None else 1
        numbers += data.samples * samples * (data.dim + data.outputs)
        numbers += data.samples * R * 2 * (k + data.outputs)
    return int(8 * numbers)


def check_memory(config: Config, available: int | None = None) -> None:
    """Raise ConfigError, with the estimate, for a run that this machine cannot hold."""
    if available is None:
        available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    needed = estimate(config)
    if needed > available:
        data, width = config.data, config.model.width
        size = {
            "replicas": config.replicas,
            "data.samples": data.samples or 0,
            "data.dim": data.dim,
            "model.width": width,
        }
        key = max(size, key=lambda name: size[name])
        raise ConfigError(
            key, size[key],
            f"the run needs about {needed / 2**30:,.0f} GiB, this machine has "
            f"{available / 2**30:,.0f} GiB",
            "Reduce replicas, data.samples, data.dim or model.width",
        )  # fmt: skip
