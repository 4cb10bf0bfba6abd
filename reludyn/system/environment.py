"""The environment in which a run was made: versions, device, commits."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch

PACKAGE = Path(__file__).resolve().parents[1]
PATIENCE = 5.0  # seconds that git has for an answer


@cache
def describe(device: torch.device) -> str:
    """Return one line for the log: versions, device, threads."""
    packages = ", ".join(f"{p} {version(p)}" for p in ("torch", "numpy", "hydra-core"))
    return (
        f"Python {platform.python_version()}, {packages}; {device.type} ({_name(device)}), "
        f"{torch.get_num_threads()} threads"
    )


@cache
def environment(device: torch.device) -> dict[str, str]:
    """Return versions, device, threads, and the commits that this process found.

    The commits are those of the working directory and of this package.
    """
    packages = ("torch", "numpy", "scipy", "hydra-core", "tensorboard")
    return {
        "reludyn": f"{version('reludyn')}, {commit_of(PACKAGE, '__init__.py')}",
        "working directory": commit_of(Path.cwd()),
        "Python": platform.python_version(),
        **{package: version(package) for package in packages},
        "device": f"{device.type} ({_name(device)})",
        "threads": str(torch.get_num_threads()),
        "system": platform.platform(),
    }


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()


def commit_of(folder: Path, tracked: str | None = None) -> str:
    """Return the commit that is checked out in a folder, and whether files differ from it.

    A file that should be tracked tells a folder that belongs to the checkout from one that only
    lies within it, such as site-packages.
    """
    try:
        if tracked is not None:
            _git(folder, "ls-files", "--error-unmatch", tracked)
        commit = _git(folder, "rev-parse", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no").splitlines()
    except FileNotFoundError:
        return "git is not installed"
    except subprocess.CalledProcessError:
        return "not a git checkout"
    except (OSError, subprocess.TimeoutExpired):
        return "git did not answer"
    return f"git {commit}, " + (f"{len(changed)} changed" if changed else "no changes")


def _git(folder: Path, *arguments: str) -> str:
    here = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments],
        capture_output=True,
        text=True,
        errors="replace",
        check=True,
        timeout=PATIENCE,
        env=here | {"GIT_OPTIONAL_LOCKS": "0"},
    )
    return done.stdout.strip()
