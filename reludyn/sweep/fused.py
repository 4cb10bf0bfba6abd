"""Jobs as batches: those that differ only in what replicas may have of their own run together."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator, Sequence

from hydra.core.utils import JobReturn, JobStatus, configure_log, env_override
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from reludyn.combinations import OWN, own_keys
from reludyn.errors import ConfigError, show
from reludyn.experiment import leave, train_together
from reludyn.files import atomic
from reludyn.memory import replicas_that_fit
from reludyn.messages import FOR_THE_USER, explain
from reludyn.objective import make_target
from reludyn.recording.run_folder import claim
from reludyn.recording.stages import Stages
from reludyn.resume import Origin
from reludyn.settings import Config
from reludyn.signals import exit_code
from reludyn.sweep.jobs import SweepJob, with_values

log = logging.getLogger(__name__)


class Fused:
    """Runs jobs batch by batch, with Hydra's settings of the sweep."""

    def __init__(self, hydra: DictConfig, max_replicas: int | None) -> None:
        for key, value, allowed in (
            ("job.chdir", hydra.job.chdir, (False, None)),
            ("output_subdir", hydra.output_subdir, (".hydra",)),
            ("callbacks", sorted(hydra.callbacks), (["folders"],)),
        ):
            if value not in allowed:
                raise ConfigError(
                    f"hydra.{key}", value, f"must be {show(allowed[0])} with hydra/launcher=fused: "
                    "its jobs run at the same time", "Use hydra/launcher=basic",
                )  # fmt: skip
        if max_replicas is not None and max_replicas < 1:
            raise ConfigError("hydra.launcher.max_replicas", max_replicas, "must be null or >= 1")
        self.hydra, self.max_replicas, self.console = hydra, max_replicas, Console()

    def launch(self, jobs: Sequence[SweepJob]) -> list[JobReturn]:
        """What each job came to, in their order. Ctrl-C: what had been reached is written."""
        returns: dict[int, JobReturn] = {}
        batches = list(split(jobs, self.max_replicas))
        with env_override(dict(self.hydra.job.env_set)):
            for count, batch in enumerate(batches, 1):
                self._announce(f"batch {count}/{len(batches)}", batch)
                try:
                    returns |= self._run(batch)
                finally:
                    configure_log(self.hydra.hydra_logging, self.hydra.verbose)
        return [returns[job.number] for job in jobs]

    def _announce(self, what: str, batch: Sequence[SweepJob]) -> None:
        line = f"{what}: {len(batch):,} jobs, {sum(map(_replicas, batch)):,} replicas"
        self.console.print(line, highlight=False)

    def _run(self, batch: Sequence[SweepJob]) -> dict[int, JobReturn]:
        """A batch; where it cannot run as one, its halves."""
        began = time.perf_counter()
        try:
            for job in batch:
                _write_hydra(job)
            together = train_together([_config(job) for job in batch], self.console)
        except Exception as error:
            if len(batch) == 1:
                self._log_to(batch[0])
                return {batch[0].number: _failed(batch[0], error)}
            reason = explain(error, [])
            log.warning("%d jobs failed as a batch, halves of it go on: %s", len(batch), reason)
            middle = len(batch) // 2
            return self._run(batch[:middle]) | self._run(batch[middle:])
        share = (time.perf_counter() - began) / len(batch)
        returns = {}
        with Stages(self.console, "") as say:
            for place, job in enumerate(batch):
                say(f"writing the files of job {place + 1:,} of {len(batch):,}")
                self._log_to(job)
                try:
                    record = together.record(place, job.folder)
                    origin = Origin(_config(job), job.digest, job.overrides)
                    leave(record, origin, job.folder, time.perf_counter() - share)
                    returns[job.number] = _return(job, JobStatus.COMPLETED, record.reason)
                except Exception as error:
                    returns[job.number] = _failed(job, error)
        if together.reason == "interrupted":
            sys.exit(exit_code())
        return returns

    def _log_to(self, job: SweepJob) -> None:
        """What is logged from here on belongs to this job."""
        job.folder.mkdir(parents=True, exist_ok=True)
        configure_log(OmegaConf.create(dict(job.logging)), self.hydra.verbose)


def split(jobs: Sequence[SweepJob], max_replicas: int | None = None) -> Iterator[list[SweepJob]]:
    """Batches, in the order of their first jobs: no batch has more replicas than fit, or than
    max_replicas, unless it is one job."""
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
    except ConfigError:  # each job will say so
        return 1


def _replicas(job: SweepJob) -> int:
    return job.config.replicas if isinstance(job.config, Config) else 0


def _alike(job: SweepJob) -> object:
    """The same for jobs that may go as one batch."""
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


def _write_hydra(job: SweepJob) -> None:
    claim(job.folder, "hydra.sweep.dir")
    for name, text in job.files.items():
        with atomic(job.folder / ".hydra" / name) as file:
            file.write(text.encode())


def _return(job: SweepJob, status: JobStatus, value: object) -> JobReturn:
    return JobReturn(job.overrides, status=status, _return_value=value)


def _failed(job: SweepJob, error: Exception) -> JobReturn:
    trace = not isinstance(error, FOR_THE_USER)
    log.error("job %s: %s", job.number, explain(error, ["-m", *job.overrides]), exc_info=trace)
    return _return(job, JobStatus.FAILED, error)
