"""The words of a command: options, which come first, and overrides of keys."""

from __future__ import annotations

import contextlib
import difflib
import math
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn, get_type_hints

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, QuotedString, RangeSweep
from hydra.errors import HydraException

from reludyn.config.parse import OPTIONS
from reludyn.config.schema import Config
from reludyn.system.errors import ConfigError, show

HELP = "reludyn --hydra-help lists Hydra's options"
SHOWING = (  # options that run nothing
    "-h",
    "--help",
    "--hydra-help",
    "--version",
    "-c",
    "--cfg",
    "-i",
    "--info",
    "-sc",
    "--shell-completion",
)
MOST_JOBS = 100_000  # in one sweep
KINDS: dict[Any, str] = {
    int: "an integer",
    float: "a number",
    bool: "true or false",
    str: "a word",
    type(None): "null",
}


def only_shows(arguments: Sequence[str]) -> bool:
    """Return whether the command runs nothing."""
    return any(argument.partition("=")[0] in SHOWING for argument in arguments)


def options_first(arguments: Sequence[str]) -> list[str]:
    """Return options, which may stand anywhere, before the overrides.

    Raises ConfigError for a word that is not an option, and for an option that would run code.
    """
    parser = get_args_parser()
    known = [text for action in parser._actions for text in action.option_strings]

    def refuse(message: str) -> NoReturn:
        what, _, said = message.partition(": ")
        if what != "unrecognized arguments":
            raise ConfigError(what.removeprefix("argument "), ..., said, HELP)
        word = said.split()[0]
        close = difflib.get_close_matches(word, known, n=1)
        remedy = f"Did you mean {close[0]}?" if close else HELP
        raise ConfigError(word, ..., "no such option", remedy)

    parser.error = refuse  # type: ignore[method-assign]
    given, options = parser.parse_intermixed_args([*arguments]), [*arguments]
    if (file := given.experimental_rerun) is not None:
        option = "--experimental-rerun"
        raise ConfigError(option, file, "is a pickle, which may run code", "Use resume=PATH")
    for word in given.overrides:
        options.remove(word)
    return [*options, *given.overrides]


def check_overrides(arguments: Sequence[str]) -> None:
    """Refuse overrides that Hydra would answer with a stack trace, or accept wrongly."""
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
                raise ConfigError(key, text, f"must be {KINDS[bool]}")


def check_count(overrides: Sequence[Override]) -> None:
    """Refuse a sweep of more jobs than can be listed, before they are listed."""
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


def overrides_of(arguments: Sequence[str]) -> list[Override]:
    """Return the arguments that are overrides; Hydra reports those that cannot be read."""
    parser, found = OverridesParser.create(), []
    for argument in arguments:
        with contextlib.suppress(HydraException):
            found.append(parser.parse_override(argument))
    return found


def text_of(override: Override) -> str:
    """Return the value as it was typed."""
    return str(override.input_line).partition("=")[2]


def _values(override: Override) -> Iterator[Any]:
    """Yield the value, or each value of a sweep over a list."""
    value = override.value()
    if not override.is_sweep_override():
        yield value
    elif isinstance(value, ChoiceSweep):
        yield from value.list


def _is_switch(key: str) -> bool:
    """Return whether the key takes true or false: OmegaConf would accept any number for it."""
    return any(hint is bool for hint in hints_of(key))


def hints_of(key: str) -> list[Any]:
    """Return the types of a key, in each option of its group."""
    group, _, name = key.rpartition(".")
    schemas = OPTIONS[group].values() if group in OPTIONS else [] if group else [Config]
    return [get_type_hints(schema).get(name) for schema in schemas]
