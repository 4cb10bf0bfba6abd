"""Jobs of a sweep side by side: what Hydra's plugins do not see to.

Their values are in conf/hydra/launcher/. joblib and Ray share out the threads themselves.
"""

from __future__ import annotations

import os
import sys
import warnings

from hydra.core.plugins import Plugins
from omegaconf import DictConfig

from reludyn.errors import ConfigError
from reludyn.start import shadows

EXTRAS = ("joblib", "submitit", "ray")

# Hydra checks our files against the plugins' types, which have the same names, and says that it
# will not always: the files can stand alone. Workers import this module too.
warnings.filterwarnings("ignore", r"\s*'hydra/launcher/\w+' is validated against", UserWarning)


def refuse_alone(config: DictConfig) -> None:
    """Raise ConfigError where a launcher is asked for without a sweep: Hydra would run the job
    here and not say so."""
    for override in config.hydra.overrides.hydra:
        key, _, name = str(override).partition("=")
        if key == "hydra/launcher":
            raise ConfigError(key, name, "launches the jobs of a sweep", "Add -m")


def works_here(config: DictConfig) -> bool:
    """Whether this process runs the jobs itself."""
    return _launcher(config) in ("basic", "fused", "joblib") and not has_workers(config)


def has_workers(config: DictConfig) -> bool:
    """Whether joblib runs the jobs, in processes beside each other (one alone is this process), and
    this system can hold back their signals."""
    if sys.platform == "win32" or _launcher(config) != "joblib":
        return False
    from joblib import effective_n_jobs

    return bool(effective_n_jobs(config.hydra.launcher.n_jobs) > 1)


def _launcher(config: DictConfig) -> str:
    return str(config.hydra.runtime.choices["hydra/launcher"])


def prepare(config: DictConfig) -> None:
    """Before a sweep: the threads of its jobs; raises ConfigError where a plugin is missing."""
    launcher, name = config.hydra.launcher, _launcher(config)
    extra = name.partition("_")[0]
    if extra in EXTRAS and launcher._target_ not in Plugins.instance().class_name_to_class:
        raise ConfigError("hydra/launcher", name, f"needs pip install 'reludyn[{extra}]'")
    for file in shadows() if extra in EXTRAS else ():
        raise ConfigError(
            "hydra/launcher", name, f"starts processes that would import ./{file} instead of the "
            "module of that name that they need", "Rename it, or start in another folder",
        )  # fmt: skip
    if extra == "joblib" and "OMP_NUM_THREADS" in os.environ:  # joblib takes each by itself
        os.environ.setdefault("MKL_NUM_THREADS", os.environ["OMP_NUM_THREADS"])
    if "cpus_per_task" in launcher:  # SLURM and processes inherit it
        os.environ.setdefault("OMP_NUM_THREADS", str(launcher.cpus_per_task or cores()))


def cores() -> int:
    """That this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
