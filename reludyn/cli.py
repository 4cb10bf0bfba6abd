"""The command `reludyn`: a Hydra application whose errors are one line.

torch is imported only once a run starts, so that --help, --cfg and completion answer at once.
"""

from __future__ import annotations

import logging
import os
import sys
from contextlib import ExitStack
from dataclasses import replace
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import hydra
from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from reludyn.config.explain import FOR_THE_USER, explain, is_for_the_user, trace
from reludyn.config.help import help_text
from reludyn.config.launchers import prepare, refuse_alone
from reludyn.config.overrides import check_overrides, only_shows, options_first
from reludyn.config.parse import conf_directory, config_hash, parse, prepare_hydra, without_hydra
from reludyn.config.rules import check_shared
from reludyn.config.security import guarded
from reludyn.experiment.command_line import resumed
from reludyn.system.commands import relative
from reludyn.system.errors import BAD_INPUT, DIVERGED, ConfigError
from reludyn.system.files import atomic, lock
from reludyn.system.launch import from_torchrun, launched
from reludyn.system.signals import exit_code, heed

if TYPE_CHECKING:
    from reludyn.training.distributed import Ranks

log = logging.getLogger(__name__)
_holding = ExitStack()  # the lock of the run's folder, until the command ends


def task(composed: DictConfig, quiet: bool = False, ranks: Ranks | None = None) -> str:
    """Run one job; return why training stopped. A quiet job prints only warnings and errors."""
    job = HydraConfig.get()
    alone, folder = job.mode == RunMode.RUN, Path(job.runtime.output_dir)
    try:
        config, digest = parse(composed), config_hash(composed)
        _write_resolved(composed, job)
        check_shared(config, launched().size)
        from reludyn.experiment.resume import Provenance  # imports torch
        from reludyn.experiment.run import Place, run
        from reludyn.runs.folder import LAST, claim
        from reludyn.training.distributed import ALONE

        ranks = ranks or ALONE
        ranks.tell(OmegaConf.to_container(composed, resolve=True))
        if not alone:
            resumes = (folder / LAST).exists()  # the sweep has left it, to resume from there
            claim(folder, goes_on=resumes)
            config = replace(config, resume="auto") if resumes else config
        place = Place(folder, Provenance(config, digest, job.overrides.task), alone)
        stopped_because = run(place, quiet, ranks)
    except FOR_THE_USER as error:
        if alone:
            _fail(error, folder)
        log.error("job %s: %s", job.job.num, explain(error, ["-m", *job.overrides.task]))
        raise  # one job of a sweep: the others still run
    except KeyboardInterrupt:  # before training, or while files are written
        if not alone:
            raise  # the sweep reports how to resume
        from reludyn.recording.console import interruption  # imports rich

        print("reludyn: interrupted", *interruption.left(folder), sep="\n", file=sys.stderr)
        sys.exit(exit_code())
    if stopped_because == "interrupted":
        sys.exit(exit_code())
    if stopped_because == "diverged" and alone:
        sys.exit(DIVERGED)
    return stopped_because


def _write_resolved(composed: DictConfig, job: HydraConf) -> None:
    """Write the config once more, with values in place of interpolations.

    The values may come from an environment that is soon another one.
    """
    if job.output_subdir is not None:
        path = Path(job.runtime.output_dir, job.output_subdir, "config.yaml")
        with atomic(path) as file:
            file.write(OmegaConf.to_yaml(composed).encode())


def main() -> None:
    """Run the command, also under torchrun."""
    if only_shows(sys.argv[1:]):  # once, also where torchrun starts several
        if not from_torchrun() or launched().rank == 0:
            _command()
        return
    try:
        place = launched()
    except ConfigError as error:
        _fail(error)
    if place.size == 1:
        _command()
        return
    from reludyn.experiment.torchrun import lead_or_follow  # imports torch

    lead_or_follow(place, _command)


def _command(ranks: Ranks | None = None) -> None:
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(help_text(), end="")
        return
    if "--version" in sys.argv[1:]:
        print(", ".join(f"{name} {version(name)}" for name in ("reludyn", "torch", "hydra-core")))
        return
    try:
        sys.argv[1:] = resumed(options_first(sys.argv[1:]))
    except FOR_THE_USER as error:
        _fail(error)
    prepare_hydra()
    app = hydra.main(version_base="1.3", config_path=str(conf_directory()), config_name="config")
    logging.raiseExceptions = False  # a log on a full disk
    with _holding:
        try:
            check_overrides(sys.argv[1:])
            with guarded(sys.argv[1:]):
                app(task if ranks is None else lambda composed: task(composed, ranks=ranks))()
        except Exception as error:
            if not is_for_the_user(error):
                raise
            _fail(error)


class Folders(Callback):
    """Callback that checks a run's config and folder before Hydra creates the folder.

    Folders of a sweep are checked by `reludyn.sweep.run`.
    """

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        refuse_alone(config)
        HydraConfig.instance().set_config(config)
        own = without_hydra(config)
        parse(own)
        self._import()
        self._claim(config, OmegaConf.to_yaml(own))

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        self._refuse_ranks()
        prepare(config)

    def _refuse_ranks(self) -> None:
        if (ranks := launched().size) > 1:
            raise ConfigError(
                "hydra.mode",
                "MULTIRUN",
                f"must be RUN with {ranks} ranks: a sweep is many runs",
                "Start one torchrun for each run, or one process for the sweep",
            )

    def _import(self) -> None:
        """Import what takes seconds, in which Ctrl-C ends the command."""
        row, shown = "loading PyTorch", sys.stdout.isatty()
        if shown:
            print(row, end="\r", flush=True)
        import_module("reludyn.experiment.run")
        if shown:
            print(" " * len(row), end="\r", flush=True)
        if launched().size == 1:  # ranks have handlers of their own
            heed()

    def _claim(self, config: DictConfig, text: str) -> None:
        from reludyn.experiment.resume import goes_on_in  # imports torch
        from reludyn.runs import folder as run_folder

        key = "hydra.run.dir"
        folder, path = Path(OmegaConf.select(config, key)), OmegaConf.select(config, "resume")
        hydra = OmegaConf.select(config, "hydra.output_subdir") or ".hydra"
        run_folder.check_plain(folder, key, {*run_folder.FOLDERS, hydra})
        _holding.enter_context(lock(folder, key))
        if goes_on_in(None if path is None else str(path), folder):
            run_folder.claim(folder, goes_on=True)
        elif run_folder.claim_new(folder, key, text):
            print(f"the run in {relative(folder)} had saved nothing when it ended: it begins anew")
        log_file = f"{OmegaConf.select(config, 'hydra.job.name')}.log"
        before = run_folder.Before(folder, log_file, hydra)

        def ended(kind: type[BaseException] | None, *_: object) -> None:
            if kind in (SystemExit, KeyboardInterrupt):  # after a fault of the program all stays
                before.restore()

        _holding.push(ended)


def _fail(error: Exception, folder: Path | None = None) -> NoReturn:
    if isinstance(error, BrokenPipeError):  # the reader of our output has gone: nobody to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    if isinstance(error, OSError) and not isinstance(error, HydraException) and not error.errno:
        raise error  # not about a file
    trace(error)
    print(f"reludyn: error: {explain(error, sys.argv[1:])}", file=sys.stderr)
    print("Keys and options: reludyn --help. Stack trace: HYDRA_FULL_ERROR=1", file=sys.stderr)
    if isinstance(error, OSError) and folder is not None and (folder / "checkpoints").is_dir():
        from reludyn.recording.console import interruption  # imports rich

        print(*interruption.left(folder), sep="\n", file=sys.stderr)
    sys.exit(BAD_INPUT)
