"""The local launcher of hydra-submitit-launcher, a few jobs at a time.

Hydra reads this file at every start, also where that plugin is not installed.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from hydra.core.utils import JobReturn

from reludyn.system.machine import cores

if find_spec("hydra_plugins.hydra_submitit_launcher"):
    from hydra_plugins.hydra_submitit_launcher.submitit_launcher import LocalLauncher

    class FewAtOnce(LocalLauncher):
        """cores / cpus_per_task processes, then the next ones: submitit itself has no limit."""

        def launch(
            self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
        ) -> Sequence[JobReturn]:
            few = max(1, cores() // (self.params["cpus_per_task"] or cores()))
            returns: list[JobReturn] = []
            for first in range(0, len(job_overrides), few):
                jobs = job_overrides[first : first + few]
                returns += super().launch(jobs, initial_job_idx + first)
            return returns
