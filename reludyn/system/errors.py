"""The error that is meant for the user: one line with the key, the value and a remedy."""

from __future__ import annotations

import textwrap

# exit codes of the command; FAILED: some jobs of a sweep, or one of several ranks
FAILED, BAD_INPUT, DIVERGED = 1, 2, 3
LONGEST = 1000  # characters of a value in a message


class ConfigError(ValueError):
    """Error for a setting that cannot be used.

    The message reads `key=value: what is allowed` and, where there is one, the remedy; it is
    shown without a stack trace. A value that is not known is `...` and not shown.
    """

    def __init__(self, key: str, value: object, allowed: str, remedy: str = "") -> None:
        self.key, self.value, self.allowed, self.remedy = key, value, allowed, remedy
        setting = key if value is ... else f"{key}={show(value)}"
        super().__init__(one_line(f"{setting}: {allowed}" + (f". {remedy}" if remedy else "")))

    def __reduce__(self) -> tuple[type[ConfigError], tuple[object, ...]]:
        """Pickle the error by its parts: it may come from another process."""
        return type(self), (self.key, self.value, self.allowed, self.remedy)


class StuckError(ConfigError):
    """Error of an update rule that cannot continue; earlier results are kept."""


def show(value: object) -> str:
    """Return a value as one would type it in an override; of a long one the beginning."""
    if value is None:
        return "null"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."


def why(error: BaseException) -> str:
    """Return the message of any error as one line, or its type if it has none."""
    said = textwrap.shorten(str(error), LONGEST, placeholder=" ...")
    return one_line(said) or type(error).__name__


def one_line(text: str) -> str:
    """Return a text with escapes for new lines and all else that a terminal would not print."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
