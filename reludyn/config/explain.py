"""Hydra's and OmegaConf's errors as one line: the key, the value, what is allowed."""

from __future__ import annotations

import contextlib
import difflib
import errno
import os
import re
import shlex
import traceback
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import is_dataclass
from typing import Any, get_type_hints

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    InterpolationResolutionError,
    OmegaConfBaseException,
    ValidationError,
)
from yaml import MarkedYAMLError

from reludyn.config.overrides import KINDS, hints_of, overrides_of, text_of
from reludyn.config.parse import OPTIONS, needed, unknown_key
from reludyn.system.errors import ConfigError, one_line, show, why

# errors that are explained in one line; others are faults of the program
FOR_THE_USER = (ConfigError, HydraException, OmegaConfBaseException, MarkedYAMLError, OSError)
# packages that read a config, and packages whose faults are faults of this program
HYDRA_S, OURS = ("hydra", "omegaconf", "antlr4", "yaml", "logging"), ("reludyn", "torch")
_REMEDIES = {
    errno.ENOSPC: "Make some room, or choose another folder",
    errno.EDQUOT: "Make some room, or choose another folder",
    errno.EFBIG: "Allow larger files (ulimit -f), or choose another folder",
    errno.EMFILE: "Allow more open files (ulimit -n)",
    errno.ENFILE: "Allow more open files (ulimit -n)",
}


def is_for_the_user(error: BaseException) -> bool:
    """Return whether an error is explained in one line.

    It is of one of those kinds, or of any kind where Hydra reads a config or makes the objects that
    a config names.
    """
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
    """Return one line for the error of a run started with these command line arguments."""
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
        remedy = _as_integer(given) if KINDS[int] in expected else ""
        return _from(source, ConfigError(str(key), given, f"must be {expected}", remedy))
    if wrong is not None and str(error).startswith("Ambiguous value for argument"):
        remedy = "Add -m for a sweep"
        if any("list" in str(hint) for hint in hints_of(str(key))):
            remedy = f"Write {key}=[{given}]"
        return str(ConfigError(str(key), given, "has several values", remedy))
    lines = [line.strip() for e in (error, cause) for line in str(e).splitlines()]
    said = [line for line in lines if line and not line.startswith(("full_key", "object_type"))]
    reason = ": ".join(dict.fromkeys(said))
    return str(ConfigError(str(key), given, reason)) if key and not source else reason


def _unreadable(text: str) -> str:
    """Return the message for an argument that is not an override: the fault, and what to type."""
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
        return f"{said}: it has a {name.lower()}, character {at + 1} of the value. Remove it"
    mark = "'" if '"' in value else '"'
    said = f"{said}: {value[at]} must stand within quotation marks"
    return said if mark in value else f"{said}: {shlex.quote(f'{key}={mark}{value}{mark}')}"


def _blamed(error: BaseException, cause: Any, arguments: Sequence[str]) -> Override | None:
    """Return the override that an error is about: by its text, its key, or as an interpolation."""
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
    return " or ".join(KINDS.get(kind, str(kind)) for kind in options)


def _as_integer(value: object) -> str:
    """Return the remedy for an integer that was typed as a number, such as 1e3."""
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
