"""The machine: what it is, and the two ceilings of the roofline, measured in float64."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch

TRIES = 5
PACKAGES = ("torch", "numpy", "jax", "jaxlib", "hydra-core", "matplotlib")


@dataclass(frozen=True)
class Ceilings:
    """Ceilings of the machine: 1e9 operations per second and 1e9 bytes per second."""

    gflops: float  # product of two large matrices, of the faster library
    gbytes: float  # reading an array that is much larger than the caches

    def roof(self, intensity: float) -> float:
        """Return min(gflops, intensity gbytes), with the intensity in operations per byte."""
        return min(self.gflops, intensity * self.gbytes)


def measure_ceilings(size: int = 3_000, megabytes: int = 1_024) -> Ceilings:
    """Return the best of some tries: 2 size^3 operations of PyTorch's and NumPy's product, and one
    pass over an array, as its sum and as a product with a vector."""
    a, b = torch.rand(size, size, dtype=torch.float64), torch.rand(size, size, dtype=torch.float64)
    x, y = a.numpy(), b.numpy()
    product = min(_best(lambda: a @ b), _best(lambda: x @ y))
    array = torch.ones(megabytes * 2**17 // 256, 256, dtype=torch.float64)
    vector = torch.ones(256, dtype=torch.float64)
    reading = min(_best(lambda: array.sum()), _best(lambda: array @ vector))
    return Ceilings(2e-9 * size**3 / product, 8e-9 * array.numel() / reading)


def describe() -> dict[str, object]:
    """Return processor, cores, threads, memory, load and versions."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load": round(os.getloadavg()[0], 2),  # processes that run, over the last minute
        "system": platform.system(),
        "python": platform.python_version(),
        "reludyn": version("reludyn"),
        **{name: _version(name) for name in PACKAGES},
        "blas_of_numpy": np.show_config(mode="dicts")["Build Dependencies"]["blas"]["name"],
    }


def _best(work: Callable[[], object]) -> float:
    taken = []
    for _ in range(TRIES):
        begin = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begin)
    return min(taken)


def _processor() -> str:
    """Return the processor's model, which Linux keeps in a file; elsewhere Python's name for it."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
