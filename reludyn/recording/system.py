"""Where and with what a run was made."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import version

import torch


@cache
def describe(device: torch.device) -> str:
    """One line for the log: versions, device, threads."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    packages = ", ".join(f"{p} {version(p)}" for p in ("torch", "numpy", "hydra-core"))
    return (
        f"Python {platform.python_version()}, {packages}; {device.type} ({name}), "
        f"{torch.get_num_threads()} threads"
    )
