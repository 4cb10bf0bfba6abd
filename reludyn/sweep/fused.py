"""Batches of jobs: jobs that differ only in keys that replicas may have of their own run together.

A batch is saved as a run is, in a file below the sweep's folder that is named by its jobs and is
removed once all of them are complete. So the same sweep, also one that has grown, resumes each
batch that was begun, and makes batches of the other jobs. A job that runs alone is saved in its own
folder.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from hydra.core.utils import JobReturn, JobStatus, configure_log, env_override
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from reludyn.config.explain import FOR_THE_USER, explain
from reludyn.config.parse import digest_of
from reludyn.config.rules import OWN, own_keys
from reludyn.config.schema import Config
from reludyn.experiment.batch import Together, train_together
from reludyn.experiment.memory import replicas_that_fit
from reludyn.experiment.objective import make_target
from reludyn.experiment.resume import (
    Provenance,
    begin_batch,
    load_batch,
    refused_batch,
    resumes_alone,
)
from reludyn.experiment.run import Place, run
from reludyn.experiment.write import write_files
from reludyn.recording.console.stages import Stages
from reludyn.runs.folder import clear
from reludyn.sweep.jobs import BATCHES, SweepJob, with_values
from reludyn.system.commands import relative
from reludyn.system.errors import ConfigError, show
from reludyn.system.files import atomic
from reludyn.system.signals import exit_code

log = logging.getLogger(__name__)


class Fused:
    """Runner of jobs in batches, with Hydra's settings of the sweep."""

    def __init__(self, hydra: DictConfig, max_replicas: int | None) -> None:
        for key, value, allowed in (
            ("job.chdir", hydra.job.chdir, (False, None)),
            ("output_subdir", hydra.output_subdir, (".hydra",)),
            ("callbacks", sorted(hydra.callbacks), (["folders"],)),
        ):
            if value not in allowed:
                raise ConfigError(
                    f"hydra.{key}",
                    value,
                    f"must be {show(allowed[0])} with hydra/launcher=fused: "
                    "its jobs run at the same time",
                    "Use hydra/launcher=basic",
                )
        if max_replicas is not None and max_replicas < 1:
            raise ConfigError("hydra.launcher.max_replicas", max_replicas, "must be null or >= 1")
        self.hydra, self.max_replicas, self.console = hydra, max_replicas, Console()
        self.folder = Path(str(hydra.sweep.dir)).absolute()

    def launch(
        self, jobs: Sequence[SweepJob], complete: Sequence[SweepJob] = ()
    ) -> list[JobReturn]:
        """Return the result of each job, in their order.

        A batch that was begun may have other jobs, which are complete. After Ctrl-C, what had been
        reached is saved, and written. Raises ConfigError where a batch that was begun cannot
        resume.
        """
        returns: dict[int, JobReturn] = {}
        self.complete = {job.number for job in complete}
        begun = self._begun(jobs, complete)
        batches = self._batches(jobs, begun)
        with env_override(dict(self.hydra.job.env_set)):
            for count, batch in enumerate(batches, 1):
                self._announce(f"batch {count}/{len(batches)}", batch)
                try:
                    returns |= self._run(batch)
                finally:
                    configure_log(self.hydra.hydra_logging, self.hydra.verbose)
        for batch in begun:
            self._forget(batch)
        return [returns[job.number] for job in jobs]

    def _announce(self, what: str, batch: Sequence[SweepJob]) -> None:
        line = f"{what}: {len(batch):,} jobs, {sum(map(_replicas, batch)):,} replicas"
        self.console.print(line, highlight=False)

    def _begun(
        self, jobs: Sequence[SweepJob], complete: Sequence[SweepJob]
    ) -> list[list[SweepJob]]:
        """Return the batches that were begun, the largest first, so before their halves."""
        known = {self._what(job): job for job in [*jobs, *complete]}
        batches = []
        for file in sorted(self.folder.glob(f"{BATCHES}/*.pt")):
            names = self._jobs_in(file)
            batch = [known[name] for name in names if name in known]
            if len(batch) == len(names):
                batches.append(batch)
            elif here := self._others(batch):
                missing = f"{len(names) - len(batch):,} jobs that are not of this command"
                said = f"{relative(file)} is of a batch with {missing}"
                print(f"{said}: it stays, and {len(here):,} jobs begin anew")
        return sorted(batches, key=len, reverse=True)

    def _batches(
        self, jobs: Sequence[SweepJob], begun: Sequence[list[SweepJob]]
    ) -> list[list[SweepJob]]:
        """Return what runs as it was begun, batches and jobs alone, and the others as batches."""
        waiting = {job.number: job for job in jobs}
        batches = []
        alone = [[job] for job in jobs if resumes_alone(job.folder)]
        for batch in [*begun, *alone]:
            here = [job.number for job in batch if job.number in waiting]
            if here:
                batches.append(batch)
            for number in here:
                del waiting[number]
        batches += split([*waiting.values()], self.max_replicas)
        return sorted(batches, key=lambda batch: batch[0].number)

    def _run(self, batch: Sequence[SweepJob]) -> dict[int, JobReturn]:
        """Run a batch; where it cannot run as one, its halves."""
        file = self._file(batch)
        if not file.exists():
            batch = self._others(batch)
            file = self._file(batch)
        if len(batch) < 2:
            return {job.number: self._alone(job) for job in batch}
        start, resumes = None, file.exists()
        try:
            for job in self._others(batch):
                _write_hydra(job)
            first = _config(batch[0])
            if resumes:
                start = begin_batch(file, first)
                step = start.checkpoint.state.step
                self.console.print(f"the batch resumes at step {step:,}", highlight=False)
            provenance = Provenance(first, file.stem, jobs=[self._what(job) for job in batch])
            configs = [_config(job) for job in batch]
            together = train_together(configs, self.console, file, provenance, start)
        except Exception as error:
            if resumes and isinstance(error, ConfigError):
                raise refused_batch(file, error) from error
            if isinstance(error, OSError) and file.exists():
                raise  # the disk is full, or the like: nothing is wrong with the batch
            reason = explain(error, [])
            log.warning("%d jobs failed as a batch, its halves run next: %s", len(batch), reason)
            middle = len(batch) // 2
            returns = self._run(batch[:middle]) | self._run(batch[middle:])
            self._forget(batch)
            return returns
        returns = self._write(batch, together)
        self._forget(batch)
        if together.trained.reason == "interrupted":
            sys.exit(exit_code())
        return returns

    def _write(self, batch: Sequence[SweepJob], together: Together) -> dict[int, JobReturn]:
        """Write the files of those jobs of a batch that are not complete."""
        share, returns = together.looks.seconds / len(batch), {}
        with Stages(self.console, "") as say:
            for place, job in enumerate(batch):
                if job.number in self.complete:
                    continue
                say(f"writing the files of job {place + 1:,} of {len(batch):,}")
                self._log_to(job)
                try:
                    clear(job.folder)  # files that were written when the batch was interrupted
                    _write_hydra(job)
                    results = together.results(place, job.folder)
                    provenance = Provenance(_config(job), job.digest, job.overrides)
                    write_files(results, provenance, job.folder, time.perf_counter() - share)
                    returns[job.number] = _return(job, JobStatus.COMPLETED, results.reason)
                except Exception as error:
                    returns[job.number] = _failed(job, error)
        return returns

    def _alone(self, job: SweepJob) -> JobReturn:
        """Run a job as if there were no others, from its own checkpoint on if there is one."""
        try:
            if not resumes_alone(job.folder):
                clear(job.folder)
            _write_hydra(job)
            self._log_to(job)
            config = replace(_config(job), resume="auto")
            provenance = Provenance(config, job.digest, job.overrides)
            reason = run(Place(job.folder, provenance, alone=False))
        except Exception as error:
            self._log_to(job)
            return _failed(job, error)
        if reason == "interrupted":
            sys.exit(exit_code())
        return _return(job, JobStatus.COMPLETED, reason)

    def _forget(self, batch: Sequence[SweepJob]) -> None:
        """Remove the checkpoint of a batch whose jobs are all complete."""
        file = self._file(batch)
        if all((job.folder / "DONE").exists() for job in batch):
            file.unlink(missing_ok=True)
            with suppress(OSError):  # it holds other batches, or never existed
                file.parent.rmdir()

    def _others(self, batch: Sequence[SweepJob]) -> Sequence[SweepJob]:
        """Return the jobs that are not complete."""
        return [job for job in batch if job.number not in self.complete]

    def _what(self, job: SweepJob) -> str:
        """Return a text that tells a job of this sweep from any other."""
        return f"{os.path.relpath(job.folder, self.folder)} {job.digest}"

    def _file(self, batch: Sequence[SweepJob]) -> Path:
        """Return where the checkpoint of a batch is."""
        return _place(self.folder, [self._what(job) for job in batch])

    def _jobs_in(self, file: Path) -> list[str]:
        """Return the jobs of the batch that has left a checkpoint."""
        jobs: list[str] = load_batch(file).origin["jobs"]
        if file != _place(self.folder, jobs):
            raise refused_batch(file, ValueError("its name is not that of a batch"))
        return jobs

    def _log_to(self, job: SweepJob) -> None:
        """Log from here on into the file of this job."""
        job.folder.mkdir(parents=True, exist_ok=True)
        configure_log(OmegaConf.create(dict(job.logging)), self.hydra.verbose)


def split(jobs: Sequence[SweepJob], max_replicas: int | None = None) -> Iterator[list[SweepJob]]:
    """Yield batches in the order of their first jobs.

    No batch has more replicas than fit, or than max_replicas, unless it is one job.
    """
    groups: dict[object, list[SweepJob]] = {}
    for job in jobs:
        groups.setdefault(_alike(job), []).append(job)
    for group in groups.values():
        config = group[0].config
        most = _replicas_that_fit(config) if isinstance(config, Config) else 1
        most = min(most, max_replicas or most)
        batch: list[SweepJob] = []
        count = 0
        for job in group:
            count += _replicas(job)
            if batch and count > most:
                yield batch
                batch, count = [], _replicas(job)
            batch.append(job)
        yield batch


def _replicas_that_fit(config: Config) -> int:
    try:
        return replicas_that_fit(make_target(config)[0])  # with the sizes that a file has
    except ConfigError:  # each job will report it
        return 1


def _replicas(job: SweepJob) -> int:
    return job.config.replicas if isinstance(job.config, Config) else 0


def _alike(job: SweepJob) -> object:
    """Return a value that is the same for jobs that may run as one batch."""
    config = job.config
    keys = own_keys(config) if isinstance(config, Config) else frozenset()
    if not keys:
        return job.number
    assert isinstance(config, Config)
    return repr(with_values(config, {key: OWN[key] for key in keys}))


def _config(job: SweepJob) -> Config:
    if isinstance(job.config, ConfigError):
        raise job.config
    return job.config


def _place(folder: Path, jobs: Iterable[str]) -> Path:
    """Return where the checkpoint of the batch of these jobs is."""
    return folder / BATCHES / f"{digest_of(chr(10).join(jobs))}.pt"


def _write_hydra(job: SweepJob) -> None:
    for name, text in job.files.items():
        with atomic(job.folder / ".hydra" / name) as file:
            file.write(text.encode())


def _return(job: SweepJob, status: JobStatus, value: object) -> JobReturn:
    return JobReturn(job.overrides, status=status, _return_value=value)


def _failed(job: SweepJob, error: Exception) -> JobReturn:
    trace = not isinstance(error, FOR_THE_USER)
    log.error("job %s: %s", job.number, explain(error, ["-m", *job.overrides]), exc_info=trace)
    return _return(job, JobStatus.FAILED, error)
