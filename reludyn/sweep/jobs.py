"""The jobs of a sweep: the config, the folder and the files of each, composed once per group.

Hydra takes a twentieth of a second to compose a config from its overrides. Jobs whose overrides
differ in the values of some keys alone (`VALUES`) have the same config but for these: it is
composed once, and the values are filled in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import get_overrides_dirname
from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from reludyn.config.parse import (
    EXPERIMENT,
    check,
    digest_of,
    hashed_text,
    resolve,
    typed,
    without_hydra,
)
from reludyn.config.rules import OWN
from reludyn.config.schema import Config
from reludyn.system.errors import ConfigError

SUBDIR = "hydra.sweep.subdir"
VALUES = (*OWN, SUBDIR)
BATCHES = ".batches"  # folder of the batches' checkpoints, in that of the sweep
PLAIN = re.compile(
    r"[A-Za-z/][\w.,+/-]*[=/][\w.,+=/-]*", re.ASCII
)  # neither a number nor a word of YAML
PLACE = "reludyn.place.{}.here"  # placeholder of a value that is filled in: unlike any other text


@dataclass(frozen=True)
class SweepJob:
    """Job before it runs."""

    number: int
    overrides: Sequence[str]  # the overrides of the job
    folder: Path
    config: Config | ConfigError  # the error where there is no config
    digest: str  # the hash of the resolved config, as in DONE
    files: Mapping[str, str]  # the files in .hydra/, by name
    logging: Mapping[str, Any]  # how the job logs


def prepare(
    loader: ConfigLoader, master: DictConfig, overrides: Sequence[Sequence[str]], first: int = 0
) -> list[SweepJob]:
    """Return the jobs with these overrides, numbered from `first` on.

    Raises what Hydra raises for overrides from which it cannot compose.
    """
    groups: dict[tuple[str, ...], _Group] = {}
    parse = cache(OverridesParser.create(config_loader=loader).parse_override)
    jobs, outer = [], HydraConfig.instance().cfg
    try:
        for number, texts in enumerate(overrides, first):
            parts = [parse(text) for text in texts]
            alike = tuple(p.key_or_group if _fills(p) else str(p.input_line) for p in parts)
            group = groups.get(alike)
            if group is None or not group.plain:
                group = groups[alike] = _Group(loader.load_sweep_config(master, list(texts)), parts)
            try:
                jobs.append(group.job(number, parts))
            except OmegaConfBaseException:  # a value of another type: Hydra's message is better
                loader.load_sweep_config(master, list(texts))
                raise
    finally:
        HydraConfig.instance().cfg = outer
    return jobs


def _fills(part: Override) -> bool:
    """Return whether an override gives a value that can be filled in."""
    own = part.key_or_group in VALUES and not (part.is_add() or part.is_force_add())
    return own and not part.is_delete() and "${" not in str(part.input_line)


class _Group:
    """Jobs whose overrides differ only in values that can be filled in."""

    def __init__(self, composed: DictConfig, parts: Sequence[Override]) -> None:
        HydraConfig.instance().set_config(composed)
        self.composed, self.keys = composed, [p.key_or_group for p in parts if _fills(p)]
        settings = OmegaConf.to_container(composed)
        assert isinstance(settings, dict)
        hydra = settings.pop("hydra")
        # other interpolations may depend on a value
        self.plain = _interpolations(settings) <= {f"${{{EXPERIMENT}:}}"}
        own = without_hydra(composed)
        resolve(own)
        resolved = OmegaConf.to_container(own)
        assert isinstance(resolved, dict)
        self.base = _attempt(lambda: typed(own))
        places = {key: PLACE.format(key) for key in self.keys if key in OWN}
        for key, place in places.items():
            _put(resolved, key, place)
        self.text = _yaml(resolved)
        self.hashed = hashed_text(OmegaConf.create(resolved))
        self.hydra = self._hydra_text(hydra, parts)

    def job(self, number: int, parts: Sequence[Override]) -> SweepJob:
        """Return the job with the values of these overrides."""
        whole, values = self.composed, {p.key_or_group: p for p in parts if _fills(p)}
        for key, part in values.items():
            OmegaConf.update(whole, key, part.value())
        task = [str(p.input_line) for p in parts if not p.is_hydra_override()]
        job = whole.hydra.job
        with read_write(whole.hydra), open_dict(whole.hydra):
            job.id, job.num = str(number), number
            named = job.config.override_dirname
            job.override_dirname = get_overrides_dirname(
                [p for p in parts if not p.is_hydra_override()],
                named.exclude_keys,
                named.item_sep,
                named.kv_sep,
            )
            whole.hydra.overrides.task = task
            folder = Path(str(whole.hydra.sweep.dir), str(whole.hydra.sweep.subdir)).absolute()
            whole.hydra.runtime.output_dir = str(folder)
        numbers = {key: OmegaConf.select(whole, key) for key in values}
        filled = {PLACE.format(key): _scalar(value) for key, value in numbers.items()}
        of_job = {
            "id": job.id,
            "num": number,
            "dirname": job.override_dirname,
            "folder": str(folder),
            **{f"override.{i}": str(p.input_line) for i, p in enumerate(parts)},
        }
        blanks = any(" " in value for value in of_job.values() if isinstance(value, str))
        if not blanks:
            filled |= {PLACE.format(name): _scalar(value) for name, value in of_job.items()}
        digest = digest_of(_filled(self.hashed, filled))
        files = {
            "config.yaml": _filled(self.text, filled),
            # YAML folds long texts with blanks, depending on their place in the line
            "hydra.yaml": self._hydra_anew(parts) if blanks else _filled(self.hydra, filled),
            "overrides.yaml": "".join(f"- {_scalar(text)}\n" for text in task) or "[]\n",
        }
        log: Any = OmegaConf.to_container(whole.hydra.job_logging, resolve=True)
        own = {key: value for key, value in numbers.items() if key in OWN}
        return SweepJob(number, task, folder, self._config(own), digest, files, log)

    def _config(self, values: Mapping[str, Any]) -> Config | ConfigError:
        if isinstance(self.base, ConfigError):
            return self.base
        base = self.base
        return _attempt(lambda: _alone(check(with_values(base, values))))

    def _hydra_anew(self, parts: Sequence[Override]) -> str:
        """Return hydra.yaml of the job whose values the config has now."""
        hydra: Any = OmegaConf.to_container(self.composed.hydra)
        of_hydra = [str(part.input_line) for part in parts if part.is_hydra_override()]
        hydra["overrides"]["hydra"] = [*self.of_master, *of_hydra]
        return _yaml({"hydra": hydra})

    def _hydra_text(self, hydra: dict[str, Any], parts: Sequence[Override]) -> str:
        """Return hydra.yaml, with placeholders for all that differs from job to job."""
        hydra["job"] |= {
            "id": PLACE.format("id"),
            "num": PLACE.format("num"),
            "override_dirname": PLACE.format("dirname"),
        }
        hydra["runtime"]["output_dir"] = PLACE.format("folder")
        lists, count = hydra["overrides"], sum(p.is_hydra_override() for p in parts)
        self.of_master = lists["hydra"][: len(lists["hydra"]) - count]
        places = [
            (p.is_hydra_override(), PLACE.format(f"override.{i}")) for i, p in enumerate(parts)
        ]
        lists["hydra"] = [*self.of_master, *(place for of_hydra, place in places if of_hydra)]
        lists["task"] = [place for of_hydra, place in places if not of_hydra]
        if SUBDIR in self.keys:
            hydra["sweep"]["subdir"] = PLACE.format(SUBDIR)
        return _yaml({"hydra": hydra})


def _attempt(make: Callable[[], Config]) -> Config | ConfigError:
    try:
        return make()
    except ConfigError as error:
        return error


def _alone(config: Config) -> Config:
    if config.resume is not None:
        raise ConfigError(
            "resume",
            config.resume,
            "must be null in a sweep, which resumes by itself",
            "Repeat the command of the sweep with its hydra.sweep.dir",
        )
    return config


def with_values(config: Config, values: Mapping[str, Any]) -> Config:
    """Return a config with other values of some keys."""
    for key, value in values.items():
        group, _, name = key.rpartition(".")
        new = replace(getattr(config, group), **{name: value}) if group else value
        config = replace(config, **{group or name: new})
    return config


def _put(settings: dict[Any, Any], key: str, value: str) -> None:
    *groups, name = key.split(".")
    for group in groups:
        settings = settings[group]
    settings[name] = value


def _interpolations(node: Any) -> set[str]:
    """Return all texts with interpolations in nested settings."""
    if isinstance(node, (dict, list)):
        parts = node.values() if isinstance(node, dict) else node
        return {text for part in parts for text in _interpolations(part)}
    return {node} if isinstance(node, str) and "${" in node else set()


def _yaml(settings: dict[Any, Any]) -> str:
    return OmegaConf.to_yaml(OmegaConf.create(settings))


def _scalar(value: Any) -> str:
    """Return a value as YAML writes it; paths and overrides without blanks as they are."""
    return _written(value, repr(value))


@lru_cache(4096, typed=True)
def _written(value: Any, _: str) -> str:
    """Return a value as YAML writes it.

    The second argument tells 1 from 1.0 and 0.0 from -0.0, which are equal.
    """
    if isinstance(value, str) and PLAIN.fullmatch(value):
        return value
    return OmegaConf.to_yaml(OmegaConf.create({"x": value}))[3:-1]


def _filled(text: str, values: Mapping[str, str]) -> str:
    for place, value in values.items():
        text = text.replace(place, value)
    return text
