"""Configuration: from what Hydra composed to typed, checked settings; where conf/ is found.

Nothing heavy is imported here: `reludyn --help` stays fast.
"""

from __future__ import annotations

import difflib
import hashlib
import math
from copy import deepcopy
from dataclasses import fields, replace
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from reludyn.config.rules import RESUME, check_combinations
from reludyn.config.schema import (
    AdamOptimizer,
    Config,
    DigitsData,
    DominatedInit,
    ExplicitInit,
    FileData,
    FlowOptimizer,
    GaussianData,
    Init,
    Logger,
    MomentumOptimizer,
    NearSaddleInit,
    Optimizer,
    PopulationData,
    ReLUModel,
    SGDOptimizer,
    StreamData,
    TensorBoardLogger,
    Theory,
    Trainer,
)
from reludyn.system.errors import ConfigError

OPTIONS: dict[str, dict[str, type]] = {
    "data": {
        "population": PopulationData,
        "gaussian": GaussianData,
        "stream": StreamData,
        "file": FileData,
        "digits": DigitsData,
    },
    "model": {"relu": ReLUModel},
    "init": {
        "xavier_normal": Init,
        "he_normal": Init,
        "orthogonal": Init,
        "theorem": Init,
        "unit_output": Init,
        "balanced": Init,
        "dominated": DominatedInit,
        "explicit": ExplicitInit,
        "near_saddle": NearSaddleInit,
    },
    "optimizer": {
        "gd": Optimizer,
        "momentum": MomentumOptimizer,
        "nesterov": MomentumOptimizer,
        "adam": AdamOptimizer,
        "sgd": SGDOptimizer,
        "gradient_flow": FlowOptimizer,
    },
    "trainer": {"default": Trainer},
    "logger": {"tensorboard": TensorBoardLogger, "none": Logger},
    "theory": {"default": Theory},
}
OUTPUTS = Path("outputs")  # the default place of runs
EXPERIMENT = "reludyn.experiment"  # a resolver; its name cannot collide with the user's own


def prepare_hydra() -> None:
    """Register the types of settings and the resolver `${reludyn.experiment:}` with Hydra.

    A misspelt key or a wrong type then fails while composing. The resolver returns the name of the
    chosen experiment.
    """
    OmegaConf.register_new_resolver(EXPERIMENT, _experiment, replace=True)
    _store_types()


@cache  # Hydra keeps the types as long as the process lives
def _store_types() -> None:
    store = ConfigStore.instance()
    store.store(group="reludyn", name="root", node=Config)
    for group, options in OPTIONS.items():
        for name, schema in options.items():
            store.store(group=f"reludyn/{group}", name=name, node=schema)


def without_hydra(composed: DictConfig) -> DictConfig:
    """Return a copy without Hydra's own part.

    Its keys keep their types, so that a value that comes through an interpolation, as text, becomes
    one of that type.
    """
    own = deepcopy(composed)
    with read_write(own), open_dict(own):
        own.pop("hydra", None)
    return own


@cache
def conf_directory() -> Path:
    """Return conf/ inside the installed package, or beside the package in a checkout."""
    package = Path(__file__).resolve().parents[1]
    for directory in (package / "conf", package.parent / "conf"):
        if (directory / "config.yaml").is_file():
            return directory
    raise FileNotFoundError(f"no conf/ inside or beside {package}: reinstall reludyn")


def comment_of(group: str, option: str) -> str:
    """Return how conf/ describes an option: the comment at the beginning of its file."""
    lines = (conf_directory() / group / f"{option}.yaml").read_text().splitlines()
    comments = takewhile(lambda line: line.startswith("#"), lines)
    return " ".join(line.lstrip("# ") for line in comments if "@package" not in line)


def parse(composed: DictConfig) -> Config:
    """Return the typed and checked form of a composed config. Raises ConfigError."""
    resolve(composed)
    return check(typed(composed))


def resolve(composed: DictConfig) -> None:
    """Replace interpolations by their values; an error names the key."""
    try:
        OmegaConf.resolve(composed)
    except OmegaConfBaseException:
        _read(composed)
        raise


def typed(resolved: DictConfig) -> Config:
    """Return the typed form of a resolved config, not checked.

    Raises ConfigError for a key that is missing or unknown.
    """
    values = {f.name: _value(resolved, f.name, "") for f in fields(Config)}
    _no_extras(resolved, Config, "")
    groups = {group: _parse_group(group, values.pop(group)) for group in OPTIONS}
    top: Any = OmegaConf.to_container(_merged(Config, values, ""))
    return Config(**{name: top[name] for name in values}, **groups)


def check(config: Config) -> Config:
    """Return the config with the samples that follow from a ratio; else raise ConfigError."""
    _check_limits(config, "")
    for group in OPTIONS:
        _check_limits(getattr(config, group), f"{group}.")
    data = config.data
    if isinstance(data, GaussianData) and data.samples is None:
        config = replace(config, data=replace(data, samples=max(1, round(data.ratio * data.dim))))
    check_combinations(config)
    return config


def config_hash(composed: DictConfig) -> str:
    """Return the SHA-256 of the resolved config, independent of the order of its keys."""
    return digest_of(hashed_text(composed))


def hashed_text(composed: DictConfig) -> str:
    """Return the resolved config as it is hashed: a run that is resumed has the same hash."""
    settings = OmegaConf.to_container(composed, resolve=True)
    assert isinstance(settings, dict)
    own = {name: value for name, value in settings.items() if name not in RESUME}
    return OmegaConf.to_yaml(OmegaConf.create(own), sort_keys=True)


def digest_of(text: str) -> str:
    """Return the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def unknown_key(name: str, schema: type, prefix: str, value: object) -> ConfigError:
    """Return the error for a key that does not exist, with the nearest one that does."""
    known = [f.name for f in fields(schema)]
    close = difflib.get_close_matches(name, known, n=1)
    remedy = f"Did you mean {prefix}{close[0]}?" if close else ""
    owner = prefix.rstrip(".") or "the top level"
    return ConfigError(prefix + name, value, f"no such key; {owner} has {', '.join(known)}", remedy)


def needed(key: str) -> ConfigError:
    """Return the error for a value that is missing, with its meaning."""
    group, _, name = key.rpartition(".")
    schemas = OPTIONS[group].values() if group in OPTIONS else [Config]
    keys = [f.metadata for schema in schemas for f in fields(schema) if f.name == name]
    remedies = [f"It is {known['meaning']}" for known in keys if "meaning" in known]
    return ConfigError(key, "???", "a value is needed", *remedies[:1])


def schema_of(group: str, name: object) -> type:
    """Return the dataclass behind an option of a group. Raises ConfigError for an unknown one."""
    options = OPTIONS[group]
    if not isinstance(name, str) or name not in options:
        raise ConfigError(f"{group}.name", name, f"must be one of {', '.join(options)}")
    return options[name]


def _experiment(*, _root_: DictConfig) -> str:
    """Return the chosen experiment, from Hydra's part of the config or from the running job."""
    choice = OmegaConf.select(_root_, "hydra.runtime.choices.experiment")
    return str(choice or HydraConfig.get().runtime.choices["experiment"])


def _read(node: Any) -> None:
    """Read every value: only then OmegaConf names the key of one that it cannot resolve."""
    for name in node if isinstance(node, DictConfig) else range(len(node)):
        if not OmegaConf.is_missing(node, name):
            part = node[name]
            if isinstance(part, (DictConfig, ListConfig)):
                _read(part)


def _parse_group(group: str, node: Any) -> Any:
    if not isinstance(node, DictConfig):
        raise ConfigError(group, node, f"must be one of {', '.join(OPTIONS[group])}")
    default = "default" if "default" in OPTIONS[group] else None
    schema = schema_of(group, node.get("name", default))
    _no_extras(node, schema, f"{group}.")
    known = {f.name: _value(node, f.name, f"{group}.") for f in fields(schema)}
    return OmegaConf.to_object(_merged(schema, known, f"{group}."))


def _merged(schema: type, values: dict[str, Any], prefix: str) -> Any:
    """Return the schema with these values, each of the type of its key. Raises ConfigError."""
    try:
        return OmegaConf.merge(_structured(schema), values)
    except OmegaConfBaseException as error:
        name = str(error.full_key)
        raise ConfigError(f"{prefix}{name}", values.get(name), _first_line(error)) from error


@cache
def _structured(schema: type) -> Any:
    """Return the keys, types and defaults of a schema; merging values into it makes a copy."""
    return OmegaConf.structured(schema)


def _value(node: DictConfig, name: str, prefix: str) -> Any:
    if OmegaConf.is_missing(node, name) or name not in node:
        raise needed(prefix + name)
    value = node[name]
    return OmegaConf.to_container(value) if isinstance(value, ListConfig) else value


def _no_extras(node: DictConfig, schema: type, prefix: str) -> None:
    known = {f.name for f in fields(schema)}
    for name in node:
        if name not in known:
            raise unknown_key(str(name), schema, prefix, node[name])


def _check_limits(node: Any, prefix: str) -> None:
    for f in fields(node):
        value, limit = getattr(node, f.name), f.metadata
        name = prefix + f.name
        if not limit or value is None:
            continue
        if limit["one_of"] and value not in limit["one_of"]:
            raise ConfigError(name, value, f"must be one of {', '.join(limit['one_of'])}")
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(name, value, "must be a finite number")
        if limit["above"] is not None and not value > limit["above"]:
            raise ConfigError(name, value, f"must be > {_number(limit['above'])}")
        if limit["at_least"] is not None and not value >= limit["at_least"]:
            raise ConfigError(name, value, f"must be >= {_number(limit['at_least'])}")
        if limit["at_most"] is not None and not value <= limit["at_most"]:
            raise ConfigError(name, value, f"must be <= {_number(limit['at_most'])}")
        if limit["below"] is not None and not value < limit["below"]:
            raise ConfigError(name, value, f"must be < {_number(limit['below'])}")


def _number(limit: float) -> str:
    return str(limit) if isinstance(limit, int) else f"{limit:g}"


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
