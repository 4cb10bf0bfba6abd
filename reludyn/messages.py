"""Hydra's and OmegaConf's errors as one line: the key, the value, what is allowed."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Sequence
from dataclasses import is_dataclass
from typing import Any, get_type_hints

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, ValidationError

from reludyn.config import OPTIONS, unknown_key
from reludyn.errors import ConfigError

_KINDS: dict[Any, str] = {
    int: "an integer",
    float: "a number",
    bool: "true or false",
    str: "a word",
    type(None): "null",
}


def check_overrides(arguments: Sequence[str]) -> None:
    """Refuse what Hydra would answer with a stack trace: a group set to something not a name."""
    for override in _overrides(arguments):
        group = override.key_or_group
        if group in (*OPTIONS, "experiment") and not override.is_sweep_override():
            value = override.value()
            if not override.is_delete() and not isinstance(value, (str, list)):
                allowed = f"must be the name of an option in conf/{group}/"
                raise ConfigError(group, value, allowed)


def explain(error: BaseException, arguments: Sequence[str]) -> str:
    """One line for the error of a run started with these command line arguments."""
    if isinstance(error, ConfigError):
        return str(error)
    if isinstance(error, MissingConfigException) and error.options is not None:
        return _unknown_option(error)
    cause = error.__cause__
    for override in _overrides(arguments):
        key = override.key_or_group
        named = str(override.input_line) in str(error) or f"'{key}'" in str(error)
        if cause is None or not named:
            continue
        owner = getattr(cause, "object_type", None)
        value = override.value()
        if isinstance(cause, (ConfigAttributeError, ConfigKeyError)) and is_dataclass(owner):
            return str(_unknown(key, owner, value))
        if isinstance(cause, ValidationError):
            return str(ConfigError(key, value, f"must be {_expected(owner, cause.key)}"))
    if isinstance(error, OverrideParseException):
        return f"cannot read {error.override!r}: an override reads KEY=VALUE"
    lines = [line.strip() for e in (error, cause) if e is not None for line in str(e).splitlines()]
    return ": ".join(line for line in lines if line and not line.startswith("full_key"))


def _overrides(arguments: Sequence[str]) -> list[Override]:
    """The arguments that are overrides; Hydra itself speaks of those that cannot be read."""
    parser, found = OverridesParser.create(), []
    for argument in arguments:
        with contextlib.suppress(HydraException):
            found.append(parser.parse_override(argument))
    return found


def _unknown(key: str, owner: Any, value: object) -> ConfigError:
    group, _, name = key.rpartition(".")
    if group and group not in OPTIONS:  # the group itself is misspelt
        close = difflib.get_close_matches(group, OPTIONS, n=1)
        remedy = f"Did you mean {close[0]}.{name}?" if close else ""
        return ConfigError(key, value, f"no group {group}; there are {', '.join(OPTIONS)}", remedy)
    return unknown_key(name, owner, f"{group}." if group else "", value)


def _expected(owner: Any, key: object) -> str:
    hint = get_type_hints(owner).get(str(key)) if is_dataclass(owner) else None
    options = getattr(hint, "__args__", None) or (hint,)
    return " or ".join(_KINDS.get(kind, str(kind)) for kind in options)


def _unknown_option(error: MissingConfigException) -> str:
    group, _, option = str(error.missing_cfg_file).rpartition("/")
    options = sorted(error.options or [])
    close = difflib.get_close_matches(option, options, n=1)
    remedy = f"Did you mean {group}={close[0]}?" if close else ""
    return str(
        ConfigError(group, option, f"no such option; {group} has {', '.join(options)}", remedy)
    )
