"""A sweep from its overrides to its table.

Complete jobs stay, the others run, and failures are named.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import TypeAlias

from hydra.core.config_loader import ConfigLoader
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from reludyn.config.explain import explain, trace
from reludyn.config.launchers import chosen, has_workers, works_here
from reludyn.config.schema import Config
from reludyn.runs.folder import LAST, LEAVES, OF_A_SWEEP, check_plain, claim_sweep, clear, unlike
from reludyn.sweep.deaths import Died, Submitted, death
from reludyn.sweep.jobs import BATCHES, SUBDIR, SweepJob, prepare
from reludyn.sweep.results import Part, finish
from reludyn.sweep.workers import Workers
from reludyn.system.commands import command, override, relative
from reludyn.system.errors import FAILED, ConfigError
from reludyn.system.files import atomic, lock, provide_scratch
from reludyn.system.signals import heed

Launching: TypeAlias = Launcher | Workers | Submitted


def run(
    loader: ConfigLoader,
    master: DictConfig,
    launcher: Launcher,
    batches: Sequence[Sequence[Sequence[str]]],
) -> list[Sequence[JobReturn]]:
    """Launch the jobs with these overrides, batch by batch, except those that are complete.

    Then write the table of all complete jobs. Raises ConfigError, before any job's folder is
    touched, where a folder holds something else, or no job can run. Exits with code 1 where a job
    failed.
    """
    folder = Path(str(master.hydra.sweep.dir)).absolute()
    batches, jobs = _below(folder, loader, master, batches)
    claim_sweep(folder)
    wrong = [job.config for job in jobs if isinstance(job.config, ConfigError)]
    if len(wrong) == len(jobs) and len({str(error) for error in wrong}) == 1:
        raise wrong[0]
    _check_folders(jobs)
    check_plain(folder, "hydra.sweep.dir", ("tensorboard", "figures"))
    with lock(folder, "hydra.sweep.dir"):
        provide_scratch(folder)
        for job in jobs:
            _check_content(folder, job)
        with atomic(folder / OF_A_SWEEP[0]) as file:
            file.write(OmegaConf.to_yaml(master).encode())
        returns, ends, died = _run(folder, master, launcher, batches, jobs)
        _finish(folder, jobs, master.get("picture"))
    failed = [(job, ends[job.number]) for job in jobs if job.number in ends]
    failed = [(job, end) for job, end in failed if end.status != JobStatus.COMPLETED]
    for job, end in failed:
        trace(end._return_value)
        line = explain(end._return_value, ["-m", *job.overrides]).splitlines()[0]
        print(f"reludyn: error: job {job.number}, {relative(job.folder)}: {line}", file=sys.stderr)
    if failed:
        print(f"reludyn: {len(failed):,} of {len(jobs):,} jobs failed", file=sys.stderr)
    if died is not None:
        print(f"reludyn: error: {died}", file=sys.stderr)
    if died is not None or any(isinstance(end._return_value, Died) for _, end in failed):
        _say_how_to_go_on(folder, jobs)
    if failed or died is not None:
        sys.exit(FAILED)
    return returns


def _below(
    folder: Path,
    loader: ConfigLoader,
    master: DictConfig,
    batches: Sequence[Sequence[Sequence[str]]],
) -> tuple[Sequence[Sequence[Sequence[str]]], list[SweepJob]]:
    """Return the overrides and the jobs, all of them below the sweep's folder.

    The folder's name may depend on a value that is swept, like the name of the experiment.
    """
    jobs = prepare(loader, master, [texts for batch in batches for texts in batch])
    if not all(_is_below(folder, job) for job in jobs):
        here = override("hydra.sweep.dir", str(master.hydra.sweep.dir))
        batches = [[[*texts, here] for texts in batch] for batch in batches]
        jobs = prepare(loader, master, [texts for batch in batches for texts in batch])
    for job in jobs:
        if not _is_below(folder, job):
            _refuse_subdir(job, f"must lie inside the folder of the sweep; job {job.number} has")
    return batches, jobs


def _is_below(folder: Path, job: SweepJob) -> bool:
    return Path(os.path.normpath(job.folder)).is_relative_to(os.path.normpath(folder))


def _run(
    folder: Path,
    master: DictConfig,
    launcher: Launching,
    batches: Sequence[Sequence[Sequence[str]]],
    jobs: Sequence[SweepJob],
) -> tuple[list[Sequence[JobReturn]], dict[int, JobReturn], Died | None]:
    """Launch the jobs that are not complete.

    Returns what the launcher returned; the result of each job, by its number; and the death of a
    process, after which no further job could run. An interruption reports how to resume.
    """
    complete = {job.number for job in jobs if _is_complete(job)}
    fused = hasattr(launcher, "launch_prepared")
    for job in () if fused else jobs:  # fused does that itself
        if job.number not in complete and not _resumes(job):
            clear(job.folder)
    if complete:
        rest = ", the others run now" if len(complete) < len(jobs) else ""
        print(f"{len(complete):,} of {len(jobs):,} jobs are complete{rest}")
    if len(complete) < len(jobs) and works_here(master):
        import_module("reludyn.experiment.run")  # takes seconds, in which Ctrl-C ends the command
    if has_workers(master):
        launcher = Workers(launcher, _swept(jobs))
    elif chosen(master).startswith("submitit"):
        launcher = Submitted(launcher, chosen(master))
    heed()
    ends: dict[int, JobReturn] = {}
    returns: list[Sequence[JobReturn]] = []
    first = 0
    try:
        for batch in batches:
            some = [job for job in jobs[first : first + len(batch)] if job.number not in complete]
            if some or (fused and (folder / BATCHES).exists()):  # left by a sweep that was killed
                texts = [[*batch[job.number - first]] for job in some]
                if complete:
                    texts = [[*t, _subdir(job, folder)] for t, job in zip(texts, some, strict=True)]
                others = [job for job in jobs if job.number in complete]
                returns.append(_launch(launcher, some, others, texts, first))
                ends |= {job.number: end for job, end in zip(some, returns[-1], strict=True)}
            first += len(batch)
    except (KeyboardInterrupt, SystemExit):
        _say_how_to_go_on(folder, jobs)
        raise
    except Exception as error:
        if (died := death(error, chosen(master))) is None:
            raise
        for job in jobs:
            if isinstance(job.config, ConfigError):  # its failure is known without running it
                ends[job.number] = JobReturn(status=JobStatus.FAILED, _return_value=job.config)
        return returns, ends, died
    return returns, ends, None


def _resumes(job: SweepJob) -> bool:
    if not (job.folder / LAST).exists():
        return False
    from reludyn.experiment.resume import resumes_alone  # imports torch

    return resumes_alone(job.folder)


def _say_how_to_go_on(folder: Path, jobs: Sequence[SweepJob]) -> None:
    count = sum(map(_is_complete, jobs))
    said = f"reludyn: {count:,} of {len(jobs):,} jobs are complete; to run the others:"
    print(said, f"resume   {_again(folder)}", sep="\n", file=sys.stderr)


def _again(folder: Path) -> str:
    """Return the command of this sweep, in its folder."""
    key = "hydra.sweep.dir"
    words = [word for word in sys.argv[1:] if not word.startswith(f"{key}=")]
    return command("reludyn", *words, override(key, relative(folder)))


def _launch(
    launcher: Launching,
    jobs: Sequence[SweepJob],
    complete: Sequence[SweepJob],
    texts: Sequence[Sequence[str]],
    first: int,
) -> Sequence[JobReturn]:
    prepared = getattr(launcher, "launch_prepared", None)  # of hydra/launcher=fused
    if prepared is not None:
        returns: Sequence[JobReturn] = prepared(jobs, complete)
        return returns
    return launcher.launch(texts, initial_job_idx=first)


def _check_folders(jobs: Sequence[SweepJob]) -> None:
    """Refuse jobs that share a folder, or jobs whose folder is inside that of another."""
    owners: dict[Path, SweepJob] = {}
    for job in jobs:
        other = owners.setdefault(job.folder, job)
        if other is not job:
            _refuse_subdir(
                job, f"must differ for each job; jobs {other.number} and {job.number} share"
            )
    for job in jobs:
        for above in job.folder.parents:
            if above in owners:
                other = owners[above]
                _refuse_subdir(
                    job,
                    f"must not lie in one another; that of job {other.number} has job {job.number}",
                )


def _refuse_subdir(job: SweepJob, allowed: str) -> None:
    raise ConfigError(
        "hydra.sweep.subdir",
        ...,
        f"{allowed} {relative(job.folder)}",
        "Leave hydra.sweep.subdir as it is: the number of the job",
    )


def _check_content(sweep: Path, job: SweepJob) -> None:
    """Refuse a folder that holds something else than this job, complete or begun."""
    key, done = "hydra.sweep.dir", job.folder / "DONE"
    if done.is_file() and done.read_text().strip() == job.digest:
        return
    for above in _between(sweep, job.folder):
        check_plain(above, key, ())
    check_plain(job.folder, key)
    differs = unlike(job.folder, job.files["config.yaml"])
    if differs == "" and not done.is_file():
        return
    if not any((job.folder / name).exists() for name in LEAVES):
        return
    what = "files of another run"
    if differs is not None:
        what = f"a run of another config ({differs or 'of another version'})"
    raise ConfigError(
        key,
        job.folder.parent,
        f"must be new or hold this sweep; {relative(job.folder)}, the place of job {job.number}, "
        f"has {what}",
        "Choose another folder, or repeat the command of that sweep",
    )


def _between(sweep: Path, folder: Path) -> Iterator[Path]:
    """Return the folders between that of the sweep and that of a job."""
    place = Path(os.path.relpath(folder, sweep))
    return (sweep / part for part in [*place.parents][:-1])


def _is_complete(job: SweepJob) -> bool:
    return (job.folder / "DONE").is_file()  # with this config: that has been checked


def _subdir(job: SweepJob, sweep: Path) -> str:
    """Return the override that gives a job its folder where earlier jobs are not launched."""
    return override(SUBDIR, str(job.folder.relative_to(sweep)))


def _swept(jobs: Sequence[SweepJob]) -> list[str]:
    """Return the keys whose values differ."""
    values = [_values(job) for job in jobs]
    return [key for key in values[0] if len({row.get(key) for row in values}) > 1]


def _values(job: SweepJob) -> dict[str, str]:
    return {key: value for key, _, value in (text.partition("=") for text in job.overrides)}


def _finish(folder: Path, jobs: Sequence[SweepJob], picture: str | None) -> None:
    """Write the table of all jobs that are complete, and draw the pictures."""
    console = Console()
    swept, complete = _swept(jobs), [job for job in jobs if _is_complete(job)]
    values = [(job, _values(job)) for job in complete]
    parts = [Part(job.folder, {key: row[key] for key in swept}) for job, row in values]
    configs = [job.config for job in jobs if isinstance(job.config, Config)]
    loggers = [config.logger for config in configs if config.logger.name == "tensorboard"]
    figures = picture is not None and any(config.figures for config in configs)
    drawn = picture if figures and picture else "none"
    finish(
        folder,
        parts,
        picture=drawn,
        tensorboard=bool(loggers),
        console=console,
        jobs=any(logger.jobs for logger in loggers),
    )
    others = {done.parent for done in folder.rglob("DONE")} - {part.folder for part in parts}
    if others:
        print(
            f"{len(others):,} other jobs in that folder are not of this command, nor in the table"
        )
