"""Jobs of a sweep side by side: checks and preparations that Hydra's plugins lack.

Their values are in conf/hydra/launcher/. joblib and Ray share out the threads themselves.
"""

from __future__ import annotations

import os
import sys

from hydra.core.plugins import Plugins
from omegaconf import DictConfig

from reludyn.system.errors import ConfigError
from reludyn.system.machine import cores
from reludyn.system.start import shadows

EXTRAS = ("joblib", "submitit", "ray")


def refuse_alone(config: DictConfig) -> None:
    """Raise ConfigError where a setting of sweeps, such as a launcher, is given for a single run.

    Hydra would run the job here without a word.
    """
    given = _given(config)
    for key, value in given.items():
        if key == "hydra/launcher":
            raise ConfigError(key, value, "launches the jobs of a sweep", "Add -m")
        if key.startswith(("hydra/sweeper", "hydra.launcher", "hydra.sweeper")):
            raise ConfigError(key, value, "is for a sweep", "Add -m")
    if "hydra.sweep.dir" in given and "hydra.run.dir" not in given:
        remedy = "Add -m, or give hydra.run.dir"
        raise ConfigError("hydra.sweep.dir", given["hydra.sweep.dir"], "is for a sweep", remedy)


def _given(config: DictConfig) -> dict[str, str]:
    """Return the overrides of Hydra's keys on the command line."""
    texts = (str(override).lstrip("+") for override in config.hydra.overrides.hydra)
    return {key: value for key, _, value in (text.partition("=") for text in texts)}


def works_here(config: DictConfig) -> bool:
    """Return whether this process runs the jobs itself."""
    return chosen(config) in ("basic", "fused", "joblib") and not has_workers(config)


def has_workers(config: DictConfig) -> bool:
    """Return whether joblib runs the jobs in processes whose signals can be held back.

    A single process is this one.
    """
    if sys.platform == "win32" or chosen(config) != "joblib":
        return False
    from joblib import effective_n_jobs

    return bool(effective_n_jobs(config.hydra.launcher.n_jobs) > 1)


def chosen(config: DictConfig) -> str:
    """Return the name of the launcher."""
    return str(config.hydra.runtime.choices["hydra/launcher"])


def prepare(config: DictConfig) -> None:
    """Prepare a sweep: set the threads of its jobs. Raises ConfigError for a missing plugin."""
    launcher, name, given = config.hydra.launcher, chosen(config), _given(config)
    if "hydra.run.dir" in given and "hydra.sweep.dir" not in given:
        place = given["hydra.run.dir"]
        raise ConfigError("hydra.run.dir", place, "is for one run", f"Use hydra.sweep.dir={place}")
    extra = name.partition("_")[0]
    if extra in EXTRAS and launcher._target_ not in Plugins.instance().class_name_to_class:
        raise ConfigError("hydra/launcher", name, f"needs pip install 'reludyn[{extra}]'")
    for file in shadows() if extra in EXTRAS else ():
        raise ConfigError(
            "hydra/launcher",
            name,
            f"starts processes that would import ./{file} instead of the "
            "module of that name that they need",
            "Rename it, or start in another folder",
        )
    if extra == "joblib" and "OMP_NUM_THREADS" in os.environ:  # joblib passes each on by itself
        os.environ.setdefault("MKL_NUM_THREADS", os.environ["OMP_NUM_THREADS"])
    if "cpus_per_task" in launcher:  # SLURM and processes inherit it
        os.environ.setdefault("OMP_NUM_THREADS", str(launcher.cpus_per_task or cores()))
