"""Differences between two configs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reludyn.system.errors import show

ABSENT = object()


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return both values of each key, with dots, that differs between nested settings.

    A value is ABSENT where the key is missing.
    """
    a, b = flat(there), flat(here)
    pairs = {key: (a.get(key, ABSENT), b.get(key, ABSENT)) for key in {**a, **b}}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def named(found: Mapping[str, tuple[Any, Any]], most: int) -> str:
    """Return `optimizer.lr is 0.1 there, 0.2 here; ...`, with at most so many differences."""
    said = [f"{key} is {_said(a)} there, {_said(b)} here" for key, (a, b) in found.items()]
    more = [f"{len(said) - most} more"] if len(said) > most else []
    return "; ".join([*said[:most], *more])


def _said(value: Any) -> str:
    return "absent" if value is ABSENT else show(value)


def flat(node: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested settings as keys with dots."""
    if not isinstance(node, Mapping):
        return {prefix.rstrip("."): node}
    found: dict[str, Any] = {}
    for name, value in node.items():
        found |= flat(value, f"{prefix}{name}.")
    return found
