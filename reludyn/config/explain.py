"""Hydra's and OmegaConf's errors as one line: the key, the value, what is allowed."""

from __future__ import annotations

import contextlib
import difflib
import errno
import math
import os
import re
import shlex
import traceback
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import is_dataclass
from typing import Any, get_type_hints

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    ChoiceSweep,
    Override,
    QuotedString,
    RangeSweep,
)
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    InterpolationResolutionError,
    OmegaConfBaseException,
    ValidationError,
)
from yaml import MarkedYAMLError

from reludyn.config.parse import OPTIONS, needed, unknown_key
from reludyn.config.schema import Config
from reludyn.system.errors import ConfigError, one_line, show, why

# errors that are explained in one line; others are faults of the program
FOR_THE_USER = (ConfigError, HydraException, OmegaConfBaseException, MarkedYAMLError, OSError)
# packages that read a config, and those whose faults are ours
HYDRA_S, OURS = ("hydra", "omegaconf", "antlr4", "yaml", "logging"), ("reludyn", "torch")
_REMEDIES = {
    errno.ENOSPC: "Make some room, or choose another folder",
    errno.EDQUOT: "Make some room, or choose another folder",
    errno.EFBIG: "Allow larger files (ulimit -f), or choose another folder",
    errno.EMFILE: "Allow more open files (ulimit -n)",
    errno.ENFILE: "Allow more open files (ulimit -n)",
}
MOST_JOBS = 100_000  # of a sweep
_KINDS: dict[Any, str] = {
    int: "an integer",
    float: "a number",
    bool: "true or false",
    str: "a word",
    type(None): "null",
}


def check_overrides(arguments: Sequence[str]) -> None:
    """Refuse what Hydra would answer with a stack trace, or accept."""
    for override in overrides_of(arguments):
        if override.is_delete() and not override.key_or_group.startswith("hydra"):
            remedy = "Use experiment=default" if override.key_or_group == "experiment" else ""
            raise ConfigError(f"~{override.key_or_group}", ..., "nothing can be left out", remedy)
        key, text = override.key_or_group, show(text_of(override))
        for value in _values(override):
            if not key:
                raise ConfigError(f"={text}", ..., "cannot read this; an override reads KEY=VALUE")
            if key in (*OPTIONS, "experiment") and not isinstance(value, (str, QuotedString)):
                remedy = "experiment=default changes nothing" if key == "experiment" else ""
                allowed = f"must be the name of an option in conf/{key}/"
                raise ConfigError(key, text, allowed, remedy)
            if override.is_add() and key in OPTIONS:
                raise ConfigError(f"+{key}", text, "this group has an option", f"Use {key}={text}")
            group, _, name = key.rpartition(".")
            if name == "name" and len(OPTIONS.get(group, {})) > 1:
                raise ConfigError(key, text, f"options are chosen as {group}={text}")
            if _is_switch(key) and isinstance(value, int) and value not in (0, 1):
                raise ConfigError(key, text, f"must be {_KINDS[bool]}")


def check_count(overrides: Sequence[Override]) -> None:
    """Refuse a sweep of more jobs than can be listed, before they are."""
    jobs, largest = 1.0, ("", 0.0)
    for override in overrides:
        values = _count(override) if override.is_sweep_override() else 1.0
        largest = max(largest, (override.key_or_group, values), key=lambda one: one[1])
        jobs *= values
    if jobs > MOST_JOBS:
        allowed = f"gives {largest[1]:,.0f} values, the sweep {jobs:,.0f} jobs; it may have "
        allowed += f"{MOST_JOBS:,}"
        raise ConfigError(largest[0], ..., allowed, "Seeds go as one batch with replicas=N")


def _count(override: Override) -> float:
    value: Any = override.value()
    if not isinstance(value, RangeSweep):
        return sum(1.0 for _ in override.sweep_iterator())
    start, stop, step = (float(x or 0) for x in (value.start, value.stop, value.step))
    if step == 0 or not all(map(math.isfinite, (start, stop, step))):
        raise ConfigError(override.key_or_group, text_of(override), "needs finite steps that move")
    return max(0.0, math.ceil((stop - start) / step))


def is_for_the_user(error: BaseException) -> bool:
    """Whether an error is explained in one line: one of those kinds, or of any kind where Hydra
    reads a config, or makes of it what the config names."""
    if isinstance(error, FOR_THE_USER):
        return True
    frames = reversed([frame for frame, _ in traceback.walk_tb(error.__traceback__)])
    roots = (str(frame.f_globals.get("__name__")).partition(".")[0] for frame in frames)
    return next((root for root in roots if root in (*HYDRA_S, *OURS)), "") in HYDRA_S


def trace(error: BaseException) -> None:
    """Print the stack trace of an error where it is asked for."""
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        traceback.print_exception(type(error), error, error.__traceback__)


def explain(error: BaseException, arguments: Sequence[str]) -> str:
    """One line for the error of a run started with these command line arguments."""
    return one_line(_explained(error, arguments))


def _explained(error: BaseException, arguments: Sequence[str]) -> str:
    if isinstance(error, ConfigError):
        return str(error)
    if not isinstance(error, FOR_THE_USER):
        if not is_for_the_user(error):  # a fault of the program
            return why(error)
        reason = f": {why(error)}" if str(error) else ""
        return f"Hydra cannot use this: {type(error).__name__}{reason}"
    if isinstance(error, MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"{mark.name}, line {mark.line + 1}: this is not YAML: {error.problem}"
    if isinstance(error, MissingConfigException) and error.options is not None:
        return _unknown_option(error)
    if isinstance(error, MissingConfigException) and "primary config '" in str(error):
        name = str(error).split("'")[1]
        remedy = "An experiment of your own: --config-dir DIR experiment=NAME"
        return str(ConfigError("--config-name", name, "there is no such config", remedy))
    if isinstance(error, OSError) and not isinstance(error, HydraException):
        if isinstance(error, FileNotFoundError) and error.filename is None:  # os.getcwd()
            return "the working folder is gone: change to another one"
        reason = str(error.strerror) + (f": {show(error.filename)}" if error.filename else "")
        remedy = _REMEDIES.get(error.errno or 0, "Choose a folder that can be written")
        folder = "hydra.sweep.dir" if {"-m", "--multirun"} & {*arguments} else "hydra.run.dir"
        return str(ConfigError(folder, ..., reason, remedy))
    if isinstance(error, OverrideParseException):
        return _unreadable(str(error.override))
    cause: Any = error
    if not getattr(error, "full_key", None):  # Hydra's, of one that knows the key
        cause = error.__cause__ or error.__context__ or error
    missing = re.search(r"Missing mandatory value: (\S+)", f"{error} {cause}")
    if missing:
        return str(needed(missing[1]))
    owner, key = getattr(cause, "object_type", None), getattr(cause, "full_key", None)
    source = str(error).partition(":")[0] if str(error).startswith("In '") else ""
    given: Any = ...  # the value, where it is known
    wrong = _blamed(error, cause, arguments)
    if wrong is not None:
        key, given, source = wrong.key_or_group, text_of(wrong), ""
    if isinstance(cause, (ConfigAttributeError, ConfigKeyError)) and is_dataclass(owner):
        return _from(source, _unknown(str(key), owner, given))
    if isinstance(cause, ValidationError):
        resolved = given is ... or isinstance(cause, InterpolationResolutionError)
        given = cause.value if resolved and cause.value is not None else given
        expected = _expected(owner, cause.key)
        remedy = _as_integer(given) if _KINDS[int] in expected else ""
        return _from(source, ConfigError(str(key), given, f"must be {expected}", remedy))
    if wrong is not None and str(error).startswith("Ambiguous value for argument"):
        remedy = "Add -m for a sweep"
        if any("list" in str(hint) for hint in _hints(str(key))):
            remedy = f"Write {key}=[{given}]"
        return str(ConfigError(str(key), given, "has several values", remedy))
    lines = [line.strip() for e in (error, cause) for line in str(e).splitlines()]
    said = [line for line in lines if line and not line.startswith(("full_key", "object_type"))]
    reason = ": ".join(dict.fromkeys(said))
    return str(ConfigError(str(key), given, reason)) if key and not source else reason


def _unreadable(text: str) -> str:
    """The message for an argument that is no override: the character at fault, and what to type."""
    said = f"cannot read {show(repr(text))}"
    key, _, value = text.partition("=")
    if not re.fullmatch(r"[\w.@/+~-]+", key) or not value or value[0] in "[{":
        return f"{said}: an override reads KEY=VALUE"
    parser = OverridesParser.create()

    def reads(value: str) -> bool:
        with contextlib.suppress(HydraException):
            return bool(parser.parse_override(f"{key}={value}"))
        return False

    at = next((i for i, char in enumerate(value) if not reads(f"a{char}a")), None)
    if at is None:
        return f"{said}: an override reads KEY=VALUE"
    if not value[at].isprintable():
        name = unicodedata.name(value[at], "carriage return" if value[at] == "\r" else "character")
        return f"{said}: it has a {name.lower()}, character {at + 1} of the value. Take it away"
    mark = "'" if '"' in value else '"'
    said = f"{said}: {value[at]} must stand within quotation marks"
    return said if mark in value else f"{said}: {shlex.quote(f'{key}={mark}{value}{mark}')}"


def _blamed(error: BaseException, cause: Any, arguments: Sequence[str]) -> Override | None:
    """The override that an error speaks of: by its text, its key, or as an interpolation."""
    overrides, text = overrides_of(arguments), str(error)
    signs: list[Callable[[Override], bool]] = [
        lambda override: str(override.input_line) in text,
        lambda override: override.key_or_group == getattr(cause, "full_key", None),
        lambda override: (
            f"'{override.key_or_group}'" in text and not text.startswith("In '")  # from a file
        ),
        lambda override: (
            isinstance(cause, InterpolationResolutionError) and "${" in text_of(override)
        ),
    ]
    return next((o for sign in signs for o in overrides if sign(o)), None)


def overrides_of(arguments: Sequence[str]) -> list[Override]:
    """The arguments that are overrides; Hydra itself speaks of those that cannot be read."""
    parser, found = OverridesParser.create(), []
    for argument in arguments:
        with contextlib.suppress(HydraException):
            found.append(parser.parse_override(argument))
    return found


def text_of(override: Override) -> str:
    """The value as it was typed."""
    return str(override.input_line).partition("=")[2]


def _values(override: Override) -> Iterator[Any]:
    """The value, or each of those of a sweep over a list."""
    value = override.value()
    if not override.is_sweep_override():
        yield value
    elif isinstance(value, ChoiceSweep):
        yield from value.list


def _is_switch(key: str) -> bool:
    """Whether the key takes true or false: OmegaConf would take any number for it."""
    return any(hint is bool for hint in _hints(key))


def _hints(key: str) -> list[Any]:
    """The types of a key, in each option of its group."""
    group, _, name = key.rpartition(".")
    schemas = OPTIONS[group].values() if group in OPTIONS else [] if group else [Config]
    return [get_type_hints(schema).get(name) for schema in schemas]


def _from(source: str, error: ConfigError) -> str:
    return f"{source}: {error}" if source else str(error)


def _unknown(key: str, owner: Any, value: object) -> ConfigError:
    group, _, name = key.rpartition(".")
    if key == "experiment":
        line = "the first line of a file in experiment/ must be '# @package _global_'"
        return ConfigError(key, ..., line)
    if group.startswith("hydra"):
        return ConfigError(key, value, "no such key of Hydra; see reludyn --hydra-help")
    if group and group not in OPTIONS:  # the group itself is misspelt
        close = difflib.get_close_matches(group, OPTIONS, n=1)
        remedy = f"Did you mean {close[0]}.{name}?" if close else ""
        return ConfigError(key, value, f"no group {group}; there are {', '.join(OPTIONS)}", remedy)
    return unknown_key(name, owner, f"{group}." if group else "", value)


def _expected(owner: Any, key: object) -> str:
    hint = get_type_hints(owner).get(str(key)) if is_dataclass(owner) else None
    options = getattr(hint, "__args__", None) or (hint,)
    return " or ".join(_KINDS.get(kind, str(kind)) for kind in options)


def _as_integer(value: object) -> str:
    """The remedy for an integer that was typed as a number, such as 1e3."""
    try:
        number = float(str(value))
    except ValueError:
        return ""
    return f"Write {number:.0f}" if number.is_integer() and abs(number) < 1e15 else ""


def _unknown_option(error: MissingConfigException) -> str:
    group, _, option = str(error.missing_cfg_file).rpartition("/")
    options = sorted(error.options or [])
    close = difflib.get_close_matches(option, options, n=1)
    remedy = f"Did you mean {group}={close[0]}?" if close else ""
    allowed = f"no such option; {group} has {', '.join(options)}"
    return str(ConfigError(group, option, allowed, remedy))
