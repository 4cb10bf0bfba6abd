"""Commands that are printed so that a shell and Hydra can read them back."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

PLAIN = re.compile(r"(?!(?:null|true|false|nan|inf)$)[a-z_/.][\w./-]*", re.ASCII | re.IGNORECASE)
WORDS = ("auto", "latest")  # values of resume that are not folders


def command(*words: str) -> str:
    """Return a command as it is pasted into a shell."""
    return shlex.join(words)


def override(key: str, value: str) -> str:
    """Return KEY=VALUE for a value, whatever characters it has."""
    return f"{key}={value if PLAIN.fullmatch(value) else quoted(value)}"


def quoted(text: str) -> str:
    """Return a text as the value of an override.

    OmegaConf would replace what `${` begins, and Hydra's quotes end at a quote that no backslash
    precedes.
    """
    literal = re.sub(r"(\\*)\$\{", r"\1\1\\${", text)
    return "'" + re.sub(r"(\\*)('|$)", _escaped, literal) + "'"


def _escaped(found: re.Match[str]) -> str:
    return 2 * found[1] + (r"\'" if found[2] else "")


def relative(path: Path) -> str:
    """Return a path relative to the working directory, if it lies there.

    No command takes it for an option, a home folder or a word.
    """
    try:
        text = str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
    return f"./{text}" if text.startswith(("-", "~")) or text in WORDS else text
