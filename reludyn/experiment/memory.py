"""How much memory a run will take, and whether the machine has it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from reludyn.config.rules import stays_in_subspace
from reludyn.config.schema import (
    Config,
    DigitsData,
    FileData,
    GaussianData,
    GivenData,
    SGDOptimizer,
)
from reludyn.numerics.sizes import BLOCK, CHUNK, DENSE, numbers_per_row
from reludyn.system.errors import ConfigError
from reludyn.system.launch import Launch
from reludyn.system.machine import physical_memory

COPIES = 10  # temporaries of a step that live at once
LOOKS = 2**30  # bytes of the looks of a batch of jobs, and of them in its checkpoint
ALONE = Launch()
TEST_SAMPLES = 10_000  # fresh samples of loss_test, the same for all replicas


def hessian_size(config: Config) -> int:
    """N, the number of weights of one replica in the coordinates of A and its neurons."""
    k, d, r = config.model.width, config.data.dim, config.data.outputs
    return int(k * (min(d, k + r) + r))


def estimate(config: Config, place: Launch = ALONE) -> int:
    """Bytes at the peak of a run on this machine, within a factor of two: weights and the basis of
    their subspace, pairs of neurons, samples that are held, a chunk of those that pass by. Of
    several ranks each holds its share of the samples, and everything else."""
    data, R, k = config.data, config.replicas, int(config.model.width)
    pairs = min(R * k * k, max(BLOCK, 64 * R * k))  # of neurons, compared at once
    if isinstance(data, GivenData):  # its sizes may not be known yet
        pixels = 64 if isinstance(data, DigitsData) else 0
        numbers = R * k * ((data.dim or pixels) + (data.outputs or pixels))
        return place.local_size * (8 * (COPIES * (pairs + numbers) + CHUNK) + _of_file(data))
    d, r = data.dim, data.outputs
    m, numbers = d, R * k * d + 4 * r * d  # A, and what its singular values are made of
    if stays_in_subspace(config):
        m = min(d, k + r)
        numbers += 4 * R * d * m  # making the basis
    if isinstance(data, GaussianData):
        assert data.samples is not None
        held = data.samples if data.name == "gaussian" else 1
        shared = held * (R if data.seed is None else 1) * (d + r) / place.size
        numbers += shared
        numbers += 3 * min(
            CHUNK, data.samples * R * numbers_per_row(k, d, r)
        )  # drawn, labelled, used
        if isinstance(config.optimizer, SGDOptimizer):
            rows = min(CHUNK, R * config.optimizer.batch * numbers_per_row(k, d, r))
            numbers += R * data.samples + 2 * rows
        if config.trainer.observables == "full":
            numbers += TEST_SAMPLES * (d + r)
    if data.covariance == "file":
        numbers += 3 * d**2
    if config.theory.spectrum:  # of all replicas that are kept; across their subspace k^2 more
        kept, size = min(R, config.trainer.keep_weights), hessian_size(config)
        across = k * k * (m + 1) if m < d else 0
        numbers += 3 * kept * ((size**2 if size <= DENSE else 0) + across)
    if config.theory.plane != "none":  # a line of it at once
        numbers += COPIES * config.theory.grid * hessian_size(config)
    numbers += COPIES * (R * k * (m + r) + pairs)
    return 8 * int(numbers) * place.local_size


def replicas_that_fit(config: Config) -> int:
    """About how many replicas like those of this config, whose sizes are known, may go as one
    batch: half of the machine's memory holds the run, and LOOKS bytes all of its looks, which are
    kept until it ends, and what is made of them while a checkpoint is written."""
    k, r, d = int(config.model.width), int(config.data.outputs), int(config.data.dim)
    m = min(d, k + r) if stays_in_subspace(config) else d
    pairs = k * k if k <= 16 else 0
    numbers = 10 + 6 * k + 2 * pairs + k * (m + r)
    looks = min(config.trainer.looks, config.trainer.steps) + 1
    most = max(1, LOOKS // (16 * numbers * looks))  # held, and being saved
    while most > 1 and estimate(replace(config, replicas=most)) > physical_memory() // 2:
        most //= 2
    return int(most)


def check_memory(config: Config, available: int | None = None, place: Launch = ALONE) -> None:
    """Raise ConfigError, with the estimate, for a run that this machine cannot hold."""
    if available is None:
        available = physical_memory()
    needed = estimate(config, place)
    if needed > available:
        raise _too_large(
            config,
            f"the run needs about {needed / 2**30:,.0f} GiB, this machine has "
            f"{available / 2**30:,.0f} GiB",
        )


@contextmanager
def explained(config: Config) -> Iterator[None]:
    """Raise ConfigError where memory that the machine should have is refused."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        said = str(error)
        if isinstance(error, MemoryError) or "allocate memory" in said or "out of memory" in said:
            needed = max(estimate(config), 2**20)
            allowed = f"there is no memory left; the run needs about {needed / 2**30:,.2g} GiB"
            raise _too_large(config, allowed) from error
        raise


def largest(config: Config) -> tuple[str, int]:
    """The key of the largest of the sizes, and its value."""
    data = config.data
    size = {
        "replicas": config.replicas,
        "data.samples": data.samples or 0,
        "data.dim": data.dim or 0,
        "model.width": config.model.width,
    }
    key = max(size, key=lambda name: size[name])
    return key, size[key]


def _of_file(data: GivenData) -> int:
    """Bytes that the samples of a file take: as it lies there, or as numbers once their sizes are
    known."""
    path = Path(data.path) if isinstance(data, FileData) else None
    size = path.stat().st_size if path is not None and path.is_file() else 0
    if data.samples and data.dim and data.outputs:
        size = max(size, 8 * data.samples * (data.dim + data.outputs))
    return 3 * size


def _too_large(config: Config, allowed: str) -> ConfigError:
    """Naming what takes most: the file of samples, or the largest of the sizes."""
    data = config.data
    if isinstance(data, FileData) and 2 * _of_file(data) > estimate(config):
        return ConfigError("data.path", data.path, allowed, "Use a smaller file")
    remedy = "Reduce replicas, data.samples, data.dim or model.width"
    remedy += "; data=stream holds no samples" if data.name == "gaussian" else ""
    return ConfigError(*largest(config), allowed, remedy)
