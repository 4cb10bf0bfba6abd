"""Typed configuration: what keys there are, what values they take, and where conf/ is found.

The values live in conf/*.yaml; a dataclass a group option gives their types, ranges and meaning.
Nothing heavy is imported here: `reludyn --help` stays fast.
"""

from __future__ import annotations

import difflib
import hashlib
import math
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from reludyn.errors import ConfigError


def key(
    meaning: str,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    one_of: tuple[str, ...] = (),
) -> Any:
    """A dataclass field for a key: its meaning and the values it may take."""
    limits = {"at_least": at_least, "above": above, "at_most": at_most, "one_of": one_of}
    return field(default=MISSING, metadata={"meaning": meaning, **limits})


@dataclass
class PopulationData:
    """The population limit n -> infinity of standard Gaussian inputs."""

    name: str = key("the source of inputs")
    dim: int = key("number d of inputs", at_least=1, at_most=1e9)
    outputs: int = key("number r of outputs, at most d", at_least=1)
    target: str = key(
        "rows of A: the first r axes, or r random orthonormal rows", one_of=("axis", "random")
    )
    target_norm: float = key("norm |a| of the target (every singular value of A)", above=0)
    samples: int | None = key(
        "number n of samples; null is the population limit", at_least=1, at_most=1e12
    )
    seed: int | None = key(
        "null: each replica samples with its own seed; a number: one sample for all",
        at_least=0,
        at_most=2**53,
    )


@dataclass
class GaussianData(PopulationData):
    """n fixed samples of standard Gaussian inputs, all of them in every step."""


@dataclass
class ReLUModel:
    """f(x) = V phi(W x), phi(z) = z for z > 0 and negative_slope z otherwise, without biases."""

    name: str = key("the architecture")
    width: int = key("number k of hidden neurons", at_least=1, at_most=1e6)
    negative_slope: float = key(
        "slope of the activation for z < 0: 0 is ReLU, 1 a linear network", at_least=0, at_most=1
    )
    bias: bool = key("false: the closed forms and the theory are for networks without biases")
    train_hidden: bool = key("whether W is trained (else it keeps its initial value)")
    train_output: bool = key("whether V is trained (else it keeps its initial value)")


@dataclass
class Init:
    """How the weights are drawn."""

    name: str = key("the initialisation")
    scale: float = key("scale sigma of both layers", above=0, at_least=1e-100, at_most=1e100)
    signs: str = key("signs of v_i, for r = 1", one_of=("random", "alternating", "same"))


@dataclass
class Optimizer:
    """How the weights are updated."""

    name: str = key("the update rule")
    lr: float = key("step size mu of both layers", above=0)


@dataclass
class Trainer:
    """How long, and how often the run is looked at."""

    steps: int = key("largest number of iterations", at_least=1, at_most=1e12)
    tolerance: float = key("a replica stops once its loss is below this (0: never)", at_least=0)
    looks: int = key(
        "recorded iterations: the first half dense, then log-spaced", at_least=1, at_most=1e6
    )
    keep_weights: int = key("how many replicas leave their weights in trajectory.npz", at_least=0)


@dataclass
class Logger:
    """Where scalars go while training."""

    name: str = key("the logger")


@dataclass
class TensorBoardLogger(Logger):
    """TensorBoard event files."""

    replicas: int = key("how many replicas are shown singly beside the ensemble", at_least=0)


@dataclass
class Config:
    """Everything that defines a run."""

    data: Any = MISSING
    model: Any = MISSING
    init: Any = MISSING
    optimizer: Any = MISSING
    trainer: Any = MISSING
    logger: Any = MISSING
    name: str = key("the name of the experiment: outputs/NAME/DATE_TIME")
    replicas: int = key("number R of runs trained in one batch", at_least=1, at_most=1e9)
    seed: int = key("seed of replica 0; replica j uses seed + j", at_least=0, at_most=2**53)
    device: str = key("auto takes CUDA where there is one", one_of=("auto", "cpu", "cuda"))
    precision: str = key("floating point numbers", one_of=("float64", "float32"))
    figures: bool = key("whether pictures are drawn at the end")


OPTIONS: dict[str, dict[str, type]] = {
    "data": {"population": PopulationData, "gaussian": GaussianData},
    "model": {"relu": ReLUModel},
    "init": {"xavier_normal": Init, "theorem": Init},
    "optimizer": {"gd": Optimizer},
    "trainer": {"default": Trainer},
    "logger": {"tensorboard": TensorBoardLogger, "none": Logger},
}


def register_schemas() -> None:
    """Tell Hydra the types, so that a misspelt key or a wrong type fails while composing."""
    store = ConfigStore.instance()
    store.store(group="schema", name="root", node=Config)
    for group, options in OPTIONS.items():
        for name, schema in options.items():
            store.store(group=f"schema/{group}", name=name, node=schema)


def conf_directory() -> Path:
    """conf/ inside the installed package, or beside the package in a checkout."""
    package = Path(__file__).resolve().parent
    for directory in (package / "conf", package.parent / "conf"):
        if (directory / "config.yaml").is_file():
            return directory
    raise FileNotFoundError(f"no conf/ inside or beside {package}: reinstall reludyn")


def parse(composed: DictConfig) -> Config:
    """The typed and checked form of a composed config; raises ConfigError."""
    OmegaConf.resolve(composed)
    values = {f.name: _value(composed, f.name, "") for f in fields(Config)}
    _no_extras(composed, Config, "")
    for group in OPTIONS:
        values[group] = _parse_group(group, values[group])
    config = Config(**values)
    _check_limits(config, "")
    for group in OPTIONS:
        _check_limits(getattr(config, group), f"{group}.")
    _check_combinations(config)
    return config


def config_hash(composed: DictConfig) -> str:
    """SHA-256 of the resolved config, independent of the order of its keys."""
    text = OmegaConf.to_yaml(composed, resolve=True, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def unknown_key(name: str, schema: type, prefix: str, value: object) -> ConfigError:
    """The message for a key that does not exist, with the nearest one that does."""
    known = [f.name for f in fields(schema)]
    close = difflib.get_close_matches(name, known, n=1)
    remedy = f"Did you mean {prefix}{close[0]}?" if close else ""
    owner = prefix.rstrip(".") or "the top level"
    return ConfigError(prefix + name, value, f"no such key; {owner} has {', '.join(known)}", remedy)


def schema_of(group: str, name: object) -> type:
    """The dataclass behind an option of a group; raises ConfigError for an unknown one."""
    options = OPTIONS[group]
    if not isinstance(name, str) or name not in options:
        raise ConfigError(f"{group}.name", name, f"must be one of {', '.join(options)}")
    return options[name]


def _parse_group(group: str, node: Any) -> Any:
    if not isinstance(node, DictConfig):
        raise ConfigError(group, node, f"must be one of {', '.join(OPTIONS[group])}")
    default = "default" if group == "trainer" else None
    schema = schema_of(group, node.get("name", default))
    _no_extras(node, schema, f"{group}.")
    known = {f.name: _value(node, f.name, f"{group}.") for f in fields(schema)}
    try:
        return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), known))
    except OmegaConfBaseException as error:
        name = str(error.full_key)
        raise ConfigError(f"{group}.{name}", known.get(name), _first_line(error)) from error


def _value(node: DictConfig, name: str, prefix: str) -> Any:
    if OmegaConf.is_missing(node, name) or name not in node:
        raise ConfigError(prefix + name, "???", "a value is needed")
    return node[name]


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
            raise ConfigError(name, value, f"must be > {limit['above']:g}")
        if limit["at_least"] is not None and not value >= limit["at_least"]:
            raise ConfigError(name, value, f"must be >= {limit['at_least']:g}")
        if limit["at_most"] is not None and not value <= limit["at_most"]:
            raise ConfigError(name, value, f"must be <= {limit['at_most']:g}")


def _check_combinations(config: Config) -> None:
    data, init, model = config.data, config.init, config.model
    if model.bias:
        raise ConfigError(
            "model.bias", True, "must be false: the linear teacher, the closed forms and the "
            "invariances of the paper are those of networks without biases",
        )  # fmt: skip
    if not (model.train_hidden or model.train_output):
        raise ConfigError(
            "model.train_hidden", False, "one layer must be trained and model.train_output=false"
        )
    if data.outputs > data.dim:
        raise ConfigError("data.outputs", data.outputs, f"must be at most data.dim={data.dim}")
    if data.name == "population" and data.samples is not None:
        raise ConfigError(
            "data.samples", data.samples, "must be null with data=population",
            "For an empirical risk use data=gaussian",
        )  # fmt: skip
    if data.name == "gaussian" and data.samples is None:
        raise ConfigError(
            "data.samples", None, "must be >= 1 with data=gaussian",
            "For the limit of infinitely many samples use data=population",
        )  # fmt: skip
    if init.signs != "random" and data.outputs > 1:
        raise ConfigError(
            "init.signs", init.signs, f"must be random when data.outputs={data.outputs} > 1",
            "A sign pattern belongs to scalar output weights",
        )  # fmt: skip
    if config.precision == "float32" and not 1e-15 <= init.scale <= 1e15:
        raise ConfigError(
            "init.scale", init.scale, "must be between 1e-15 and 1e15 with precision=float32",
            "Use precision=float64",
        )  # fmt: skip


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
