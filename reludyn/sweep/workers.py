"""Jobs in joblib's processes.

Each job reports in one line how it ended, and a signal lets the jobs in progress save.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from itertools import takewhile
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn
from omegaconf import DictConfig

from reludyn.system.commands import relative
from reludyn.system.signals import attend, block, delegated, heeding, interrupted

INTERRUPTED = "interrupted"
SAID = "reludyn: interrupted: waiting for the jobs in progress to save (Ctrl-C again: end them now)"


class Workers:
    """Launcher of joblib's, for jobs of which these keys are swept."""

    def __init__(self, launcher: Any, swept: Sequence[str]) -> None:
        self.launcher = launcher
        launcher.task_function = Worker(launcher.task_function, swept)

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Launch as joblib's launcher does.

        Raises KeyboardInterrupt where a job was interrupted, once none is in progress.
        """
        from joblib.externals.loky import get_reusable_executor
        from joblib.externals.loky.backend import resource_tracker as loky_tracker

        with delegated(SAID):
            for tracker in (resource_tracker, loky_tracker):
                tracker.ensure_running()  # unblocks signals that it leaves to others
            block()
            returns = self.launcher.launch(Until(job_overrides), initial_job_idx)
            if interrupted():  # the processes are idle, and take seconds to end by themselves
                get_reusable_executor(reuse=True).shutdown(kill_workers=True)
        if any(end._return_value == INTERRUPTED for end in returns):  # a worker alone got a signal
            raise KeyboardInterrupt
        ends: Sequence[JobReturn] = returns
        return ends


class Until(list[Sequence[str]]):
    """Overrides of jobs, to be sent one by one: none follows once a signal has arrived."""

    def __iter__(self) -> Iterator[Sequence[str]]:
        return takewhile(lambda _: not interrupted(), super().__iter__())


@dataclass(frozen=True)
class Worker:
    """Task in such a process.

    Other jobs run beside it: it draws nothing. It also returns where it was interrupted, since
    joblib would kill the others.
    """

    task: Callable[..., str]
    swept: Sequence[str]

    def __call__(self, composed: DictConfig) -> str:
        attend()
        if interrupted():
            return INTERRUPTED  # no further job
        import_module("reludyn.experiment.run")  # takes seconds; what is raised may be swallowed
        try:
            with heeding():
                stopped_because = self.task(composed, quiet=True)
        except KeyboardInterrupt:
            return INTERRUPTED
        except SystemExit:  # it has saved its state
            stopped_because = INTERRUPTED
        job = HydraConfig.get()
        folder = Path(job.runtime.output_dir)
        steps = json.loads((folder / "summary.json").read_text())["steps"]
        swept = [text for text in job.overrides.task if text.partition("=")[0] in self.swept]
        said = f"{stopped_because} after {steps:,} steps, {relative(folder)}"
        with suppress(OSError):  # nobody reads the output
            # one write: lines of jobs do not mix
            sys.stdout.write(f"{' '.join([f'job {job.job.num}', *swept])}: {said}\n")
            sys.stdout.flush()
        return stopped_because
