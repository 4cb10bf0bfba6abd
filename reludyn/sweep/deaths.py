"""Processes that end before the jobs of a sweep that they run, for instance for lack of memory."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

from hydra.core.utils import JobReturn, JobStatus

from reludyn.system.errors import ConfigError

# errors of the packages that start the processes, by name, since they may not be installed
_ERRORS = {
    "joblib": ("BrokenProcessPool",),
    "submitit": ("UncompletedJobError",),
    "ray": ("WorkerCrashedError", "OutOfMemoryError", "NodeDiedError", "LocalRayletDiedError"),
}
_REMEDIES = {
    "joblib": "Run fewer jobs at once: hydra.launcher.n_jobs=1",
    "submitit_local": "Run fewer jobs at once, with a larger hydra.launcher.cpus_per_task",
    "submitit_slurm": "Ask for more hydra.launcher.mem_gb or hydra.launcher.timeout_min",
    "ray": "Run fewer jobs at once, with a larger hydra.launcher.ray.remote.num_cpus",
}


class Died(ConfigError):
    """Error of a process that has ended before its job."""


def death(error: BaseException, launcher: str) -> Died | None:
    """Return the error to report, if an error of this launcher means that a process has died."""
    for kind in type(error).__mro__:
        if kind.__name__ in _ERRORS.get(kind.__module__.partition(".")[0], ()):
            signals = sorted({*re.findall(r"\bSIG[A-Z]+\d*\b", str(error))})
            said = "a process has ended before its job"
            said += f" ({', '.join(signals)})" if signals else ""
            if signals and "SIGKILL" not in signals:  # the system answers lack of memory by SIGKILL
                return Died("hydra/launcher", launcher, said)
            said += ", most likely for lack of memory"
            said += " or time" if launcher == "submitit_slurm" else ""
            return Died("hydra/launcher", launcher, said, _REMEDIES.get(launcher, ""))
    return None


class Submitted:
    """Launcher of submitit's in which a process that dies costs its own job alone."""

    def __init__(self, launcher: Any, name: str) -> None:
        self.launcher, self.name = launcher, name

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Launch as submitit does, and wait for all jobs."""
        from submitit import AutoExecutor

        submit = AutoExecutor.map_array

        def map_array(*arguments: Any) -> list[_Job]:
            return [_Job(job, self.name) for job in submit(*arguments)]

        with patch.object(AutoExecutor, "map_array", map_array):
            ends: Sequence[JobReturn] = self.launcher.launch(job_overrides, initial_job_idx)
        return ends


class _Job:
    """Job of submitit's, which the launcher asks how it ended."""

    def __init__(self, job: Any, launcher: str) -> None:
        self.job, self.launcher = job, launcher

    def results(self) -> list[JobReturn]:
        try:
            ends: list[JobReturn] = self.job.results()
        except Exception as error:
            died = death(error, self.launcher)
            if died is None:
                raise
            ends = [JobReturn(status=JobStatus.FAILED, _return_value=died)]
        return ends
