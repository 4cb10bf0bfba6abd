"""How much memory a run will take, and whether the machine has it."""

from __future__ import annotations

import os

from reludyn.errors import ConfigError
from reludyn.settings import Config

COPIES = 10  # temporaries of a step that live at once


def estimate(config: Config) -> int:
    """Bytes at the peak of a run, within a factor of two: weights and the basis of their subspace,
    pairs of neurons, samples."""
    data, R, k, r = config.data, config.replicas, config.model.width, config.data.outputs
    m = data.dim
    numbers = R * k * data.dim
    if data.samples is None and data.covariance == "identity":
        m = min(data.dim, k + r)
        numbers += 4 * R * data.dim * m  # making the basis
    elif data.samples is not None:
        samples = R if data.seed is None else 1
        numbers += data.samples * (samples * (data.dim + r) + 2 * R * (k + r))
    if data.covariance == "file":
        numbers += 3 * data.dim**2
    numbers += COPIES * R * (k * (m + r) + k * k)
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
