"""Checks of what a composed config may name: a stranger's config file must not run code.

Hydra makes callbacks, launchers, sweepers and log handlers of whatever a config names. Every config
comes from Hydra's loader before anything is made of it: that of a run, of a sweep, of each of its
jobs, in the processes of a launcher too. `Loader` checks it there. A callback would come too late:
it is itself made of the config.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from dataclasses import astuple
from functools import partial
from importlib.util import find_spec
from pathlib import Path, PurePath
from typing import Any, ClassVar
from unittest.mock import patch

from hydra._internal.callbacks import Callbacks
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository, IConfigRepository
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.default_element import ResultDefault
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from reludyn.config.overrides import overrides_of
from reludyn.config.parse import OUTPUTS
from reludyn.config.rules import check_name
from reludyn.config.schema import PATHS
from reludyn.config.yaml_files import Copies, Files
from reludyn.system.errors import ConfigError

# exact names: `reludyn.` as a prefix would let in reludyn.cli.os.system
TARGETS = (
    "reludyn.cli.Folders",
    "hydra_plugins.reludyn_fused_launcher.fused_launcher.FusedLauncher",
    "hydra_plugins.reludyn_fused_launcher.sweeper.Sweeper",
    "hydra_plugins.reludyn_local_launcher.launcher.FewAtOnce",
    "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher",
    "hydra_plugins.hydra_submitit_launcher.submitit_launcher.LocalLauncher",
    "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher",
    "hydra_plugins.hydra_ray_launcher.ray_launcher.RayLauncher",
    "hydra._internal.core_plugins.basic_launcher.BasicLauncher",
    "hydra._internal.core_plugins.basic_sweeper.BasicSweeper",
)
OPTIMIZER = re.compile(r"torch\.optim\.[A-Z]\w*", re.ASCII)
LOGGING = (
    "logging.StreamHandler",
    "logging.FileHandler",
    "logging.NullHandler",
    "logging.Formatter",
    "logging.handlers.RotatingFileHandler",
    "logging.handlers.TimedRotatingFileHandler",
    "reludyn.recording.console.log_handler.Spoken",
)
STREAMS = ("ext://sys.stdout", "ext://sys.stderr")
LOG_FILE = re.compile(r"\$\{hydra\.runtime\.output_dir\}/([\w.-]|\$\{hydra\.job\.(name|num)\})+")
LOGS = ("hydra.job_logging", "hydra.hydra_logging")
MADE = ("hydra.callbacks", "hydra.launcher", "hydra.sweeper", *LOGS)  # Hydra makes objects of them
# interpolations that their texts may have: keys whose values are words
REFERENCES = re.compile(
    r"\$\{hydra\.(runtime\.output_dir|runtime\.cwd|job\.name|job\.num|run\.dir|sweep\.dir)\}"
)
# keys of launchers on which neither a shell, nor another machine, nor a path depends
LAUNCHER = re.compile(
    r"_target_|max_replicas|"
    r"n_jobs|backend|prefer|require|verbose|timeout|pre_dispatch|batch_size|max_nbytes|mmap_mode|"
    r"timeout_min|cpus_per_(task|gpu)|gpus_per_(node|task)|tasks_per_node|nodes|name|"
    r"mem_(gb|per_gpu|per_cpu)|stderr_to_stdout|partition|qos|comment|constraint|exclude|gres|"
    r"account|signal_delay_s|max_num_timeout|array_parallelism|"
    r"ray\.init\.(num_cpus|num_gpus|object_store_memory|include_dashboard)|"
    r"ray\.remote\.(num_cpus|num_gpus|memory)"
)
EXPERIMENT = "experiment"  # the group
HARMLESS = {"ray.init.address": "auto", "submitit_folder": "${hydra.sweep.dir}/.submitit/%j"}


@contextmanager
def guarded(arguments: Sequence[str]) -> Iterator[None]:
    """Run a block in which Hydra's configs come from a `Loader` that knows the command line.

    Every error comes through: Hydra prints some itself, and turns those of its callbacks into
    warnings. Nor does Hydra compose the whole config once more for the sake of hydra.mode. Raises
    ConfigError for a mode that does not exist, or that contradicts the options.
    """
    typed = given(arguments)
    mode = _mode(typed.get("hydra.mode"), arguments)

    def get_mode(hydra: Any, config_name: str | None, overrides: list[str]) -> RunMode | None:
        return mode or hydra.config_loader.mode_of_experiment(config_name, overrides)

    replaced = {  # Hydra makes these itself: it has no hook for them
        "hydra.ConfigLoaderImpl": partial(Loader, typed=typed),
        "hydra.Callbacks": Guards,
        "hydra.Hydra.get_mode": get_mode,
        "utils.run_and_report": lambda work: work(),
    }
    with ExitStack() as patches:
        for name, own in replaced.items():
            patches.enter_context(patch(f"hydra._internal.{name}", own))
        yield


def _mode(name: str | None, arguments: Sequence[str]) -> RunMode | None:
    """Return the mode that is typed as a key, for which there is usually an option."""
    if name is None:
        return None
    if name not in RunMode.__members__:
        raise ConfigError("hydra.mode", name, f"must be one of {', '.join(RunMode.__members__)}")
    against = {"RUN": {"-m", "--multirun"}, "MULTIRUN": {"-r", "--run"}}[name] & {*arguments}
    if against:
        raise ConfigError("hydra.mode", name, f"contradicts {against.pop()}", "Leave one of them")
    return RunMode[name]


def _mode_in(repo: IConfigRepository, paths: Sequence[str | None]) -> RunMode | None:
    """Return the mode that the file of an experiment has; any other file must have none."""
    for path in paths:
        if path is not None and path.startswith(f"{EXPERIMENT}/"):
            loaded = repo.load_config(path)
            name = None if loaded is None else OmegaConf.select(loaded.config, "hydra.mode")
            return RunMode.__members__.get(str(name))
    return None


class Guards(Callbacks):
    """Callbacks of Hydra whose errors end the command."""

    def _notify(self, function_name: str, reverse: bool = False, **kwargs: Any) -> None:
        for callback in self.callbacks[:: -1 if reverse else 1]:
            getattr(callback, function_name)(**kwargs)


class Loader(ConfigLoaderImpl):
    """Loader of Hydra whose files and configs are checked; raises ConfigError."""

    composed: ClassVar[dict[tuple[object, ...], DictConfig]] = {}

    def __init__(self, config_search_path: ConfigSearchPath, typed: Mapping[str, str]) -> None:
        _check_packages([str(element.path) for element in config_search_path.get_path()])
        super().__init__(config_search_path)
        self.repository, self.typed = Files(config_search_path), typed

    def load_configuration(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        composed = super().load_configuration(
            config_name, overrides, run_mode, from_shell, validate_sweep_overrides
        )
        check_allowed(composed, self.typed)
        _make_absolute(composed)
        return composed

    def _compose_config_from_defaults_list(
        self, defaults: list[ResultDefault], repo: IConfigRepository
    ) -> DictConfig:
        """Compose files, once per process: the jobs of a sweep differ in the command line."""
        assert isinstance(repo, CachingConfigRepository)
        assert isinstance(repo.delegate, Files)
        stamps = [repo.delegate.stamp(str(default.config_path)) for default in defaults]
        if None in stamps:
            return self._compose(defaults, repo)
        key = (*map(astuple, defaults), *stamps)
        if key not in self.composed:
            self.composed[key] = self._compose(defaults, repo)
        return deepcopy(self.composed[key])

    def _compose(self, defaults: list[ResultDefault], repo: IConfigRepository) -> DictConfig:
        with patch(f"{ConfigLoaderImpl.__module__}.deprecation_warning"):
            composed = super()._compose_config_from_defaults_list(defaults, Copies(repo))
        mode = OmegaConf.select(composed, "hydra.mode")
        if mode != _mode_in(repo, [default.config_path for default in defaults]):
            allowed = "is for the command line, or for the file of an experiment"
            raise ConfigError("hydra.mode", mode.name, allowed, "Add -m to the command for a sweep")
        return composed

    def mode_of_experiment(self, config_name: str | None, overrides: list[str]) -> RunMode | None:
        """Return the mode that the file of the chosen experiment has, if any."""
        parsed, repo = self._parse_overrides_and_create_caching_repo(config_name, overrides)
        chosen = [o.value() for o in parsed if o.key_or_group == EXPERIMENT and not o.is_delete()]
        return _mode_in(repo, [f"{EXPERIMENT}/{name}" for name in chosen[-1:]])

    def _process_config_searchpath(
        self,
        config_name: str | None,
        parsed_overrides: list[Override],
        repo: CachingConfigRepository,
    ) -> None:
        """Check the search path before Hydra imports the packages that it names."""
        if config_name is not None and (loaded := repo.load_config(config_name)) is not None:
            _check_packages(OmegaConf.select(loaded.config, "hydra.searchpath"))
        for override in parsed_overrides:
            if override.key_or_group == "hydra.searchpath":
                _check_packages(override.value())
        super()._process_config_searchpath(config_name, parsed_overrides, repo)


def _make_absolute(composed: DictConfig) -> None:
    """Make the names of files absolute: a run may be resumed from another folder.

    An interpolation stays one, behind the name of this folder.
    """
    raw = dict(_walk(OmegaConf.to_container(composed)))
    for key in PATHS:
        written, path = raw.get(key), _resolved(composed, key)
        if isinstance(written, str) and isinstance(path, str) and not os.path.isabs(path):
            absolute = os.path.join(os.getcwd(), os.path.expanduser(written))
            OmegaConf.update(composed, key, absolute)


def check_allowed(composed: DictConfig, typed: Mapping[str, str]) -> None:
    """Raise ConfigError for settings that could run code, or write outside the folder of the run.

    typed: keys and values of the command line, whose words are the user's own.
    """
    raw = OmegaConf.to_container(composed)  # as written: nothing is resolved
    assert isinstance(raw, dict)
    values = dict(_walk(raw))
    for key, value in values.items():
        name = key.rpartition(".")[2]
        if name == "_target_" and not (value in TARGETS or OPTIMIZER.fullmatch(str(value))):
            allowed = "must be a launcher or sweeper that reludyn knows, or torch.optim.NAME"
            raise ConfigError(key, value, allowed, "A config cannot name other code")
        if key.startswith(tuple(f"{log}." for log in LOGS)):
            _check_log(key, name, value)
        if key in MADE or key.startswith(tuple(f"{made}." for made in MADE)):
            _check_text(key, value)
    _check_made(values)
    _check_typed(values, typed)
    _check_names(composed, values)
    if "theory" in values:  # else it is Hydra's own config, for its help, with its own folders
        _check_folders(composed, typed)


def _check_made(values: Mapping[str, Any]) -> None:
    for key in MADE:
        if not isinstance(values.get(key), dict):
            raise ConfigError(key, values.get(key), "must be a group of keys")
    for key in ("hydra.launcher", "hydra.sweeper"):
        if "_target_" not in values[key]:
            raise ConfigError(f"{key}._target_", "???", "a value is needed")
    for name, callback in values["hydra.callbacks"].items():
        if not isinstance(callback, dict) or "_target_" not in callback:
            raise ConfigError(f"hydra.callbacks.{name}", callback, "must have a _target_")
    if "folders" not in values["hydra.callbacks"] and "theory" in values:
        raise ConfigError("hydra.callbacks.folders", ..., "cannot be left out")
    for key in LOGS:
        if "root" not in values[key]:
            raise ConfigError(f"{key}.root", "???", "a value is needed")


def _check_log(key: str, name: str, value: object) -> None:
    """Check the keys and texts by which dictConfig imports, sets attributes or opens files."""
    if name in ("class", "()") and value not in LOGGING:
        raise ConfigError(key, value, f"must be one of {', '.join(LOGGING)}")
    if name == "." or key.endswith(".."):
        raise ConfigError(key, value, "no such key: attributes cannot be set")
    if isinstance(value, str) and re.match(r"\s*(ext|cfg)://", value) and value not in STREAMS:
        raise ConfigError(key, value, f"must be one of {', '.join(STREAMS)}")
    if name == "filename" and not LOG_FILE.fullmatch(str(value)):
        allowed = "must be a file in the folder of the run: ${hydra.runtime.output_dir}/NAME"
        raise ConfigError(key, value, allowed)
    if name != "filename" and "${" in str(value) and isinstance(value, str):
        raise ConfigError(key, value, "must be given as it is: interpolations are for filename")


def _check_text(key: str, value: object) -> None:
    if not isinstance(value, str):
        return
    if "${" in REFERENCES.sub("", value):  # an interpolation could bring a _target_ along
        raise ConfigError(key, value, "must be given as it is, without interpolation")
    if not value.isprintable():  # a new line would be a line of a batch script
        raise ConfigError(key, value, "must be one line of printable characters")


def _check_typed(values: Mapping[str, Any], typed: Mapping[str, str]) -> None:
    """Allow environment, shell commands, paths and machines on the command line alone."""
    copied = values.get("hydra.job.env_copy") or ()
    for key, value in values.items():
        prefix, name = next(
            (
                (p, key.removeprefix(p))
                for p in ("hydra.launcher.", "hydra.job.env_set.")
                if key.startswith(p)
            ),
            ("", ""),
        )
        if not prefix or isinstance(value, dict) or typed.get(key) == str(value):
            continue
        if prefix == "hydra.job.env_set.":
            free = name in copied
        else:
            free = value in (None, []) or HARMLESS.get(name) == value
            free = free or bool(LAUNCHER.fullmatch(name))
        inside = isinstance(values.get(key.rpartition(".")[0]), list)  # the list itself is checked
        if not free and not inside:
            allowed = "is for the command line, not for a config file"
            raise ConfigError(key, value, allowed, f"Add {key}=... to the command if you trust it")


def _check_names(composed: DictConfig, values: Mapping[str, Any]) -> None:
    """Check names that become files or folders."""
    if isinstance(name := _resolved(composed, "name"), str):
        check_name(name)
    job = _resolved(composed, "hydra.job.name")
    if not isinstance(job, str) or not _is_inside(job) or len(PurePath(job).parts) != 1:
        raise ConfigError("hydra.job.name", job, "must be a word: it names the log file")
    for key in ("hydra.output_subdir", "hydra.sweep.subdir"):
        value = values[key] if key == "hydra.sweep.subdir" else _resolved(composed, key)
        if isinstance(value, str) and not _is_inside(value):
            raise ConfigError(key, value, "must be a folder inside that of the run")
    verbose = values.get("hydra.verbose")
    words = verbose if isinstance(verbose, list) else [verbose]
    if not (isinstance(verbose, bool) or all(map(_is_logger, words))):
        allowed = "must be true, false, or names of loggers, such as reludyn.training"
        raise ConfigError("hydra.verbose", verbose, allowed)


def _is_logger(name: object) -> bool:
    """Return whether a module of that name may log, without importing any."""
    if not isinstance(name, str):
        return False
    if name == "HYDRA" or name in logging.root.manager.loggerDict:
        return True
    root, *inner = name.split(".")
    if root != "reludyn":
        return root.isidentifier() and find_spec(root) is not None
    place = Path(__file__).parents[1].joinpath(*inner)
    return place.is_dir() or place.with_suffix(".py").is_file()


def _check_folders(composed: DictConfig, typed: Mapping[str, str]) -> None:
    """Check that the folder of a run or sweep is below outputs/, or that the user typed it."""
    for key in ("hydra.run.dir", "hydra.sweep.dir"):
        folder = _resolved(composed, key)
        if folder is None or _is_below_outputs(str(folder)) or str(folder) == typed.get(key):
            continue
        meant = None
        if key in typed:
            given = deepcopy(composed)
            with read_write(given), open_dict(given):
                OmegaConf.update(given, key, typed[key])
            meant = _resolved(given, key)
        if str(meant) != str(folder):
            allowed = f"must lie below {OUTPUTS}/ where it comes from a config file"
            raise ConfigError(key, folder, allowed, f"Add {key}=... to the command if you trust it")


def _is_below_outputs(folder: str) -> bool:
    here = os.path.abspath(OUTPUTS)
    return os.path.abspath(folder).startswith(here + os.sep)


def _check_packages(places: Any) -> None:
    """Refuse packages in the search path, which Hydra would import."""
    for place in map(str, places if isinstance(places, (list, ListConfig)) else [places]):
        if place.startswith("pkg://") and not re.match(r"pkg://hydra(_plugins)?\.", place):
            raise ConfigError("hydra.searchpath", place, "must be a folder, not a package")


def _is_inside(text: str) -> bool:
    path = PurePath(text)
    return text.isprintable() and not path.is_absolute() and ".." not in path.parts


def _resolved(composed: DictConfig, key: str) -> Any:
    """Return the value of a key; None where it depends on values that are not known yet."""
    try:
        return OmegaConf.select(composed, key)
    except OmegaConfBaseException:
        return None


def given(arguments: Sequence[str]) -> dict[str, str]:
    """Return the overrides of a command line that give a value."""
    found = (o for o in overrides_of(arguments) if not o.is_delete())
    return {o.key_or_group: str(o.value()) for o in found}


def _walk(node: object, key: str = "") -> Iterator[tuple[str, object]]:
    """Yield every part of nested settings with its key, the whole before its parts."""
    if key:
        yield key, node
    if isinstance(node, (dict, list)):
        parts = node.items() if isinstance(node, dict) else enumerate(node)
        for name, part in parts:
            yield from _walk(part, f"{key}.{name}" if key else str(name))
