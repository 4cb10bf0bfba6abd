"""A hook of MkDocs: formulas between dollars become MathML, which browsers draw by themselves."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError

# what pymdownx.arithmatex makes of $...$, \(...\), and of $$...$$, \[...\]
FORMULA = re.compile(r'(?<=class="arithmatex">)\\([(\[])(.*?)\\[)\]](?=</)', re.DOTALL)
BARS = re.compile(r"(?<!\\left)(\\l[vV]ert)(?![A-Za-z])|(?<!\\right)(\\r[vV]ert)(?![A-Za-z])")


def on_page_content(html: str, *, page: Any, **_: Any) -> str:
    """Return the page with its formulas drawn. Raises PluginError for one that cannot be drawn."""

    def draw(found: re.Match[str]) -> str:
        formula = unescape(found[2]).strip()
        try:
            return mathml(formula, "block" if found[1] == "[" else "inline")
        except Exception as error:  # latex2mathml raises errors of many kinds
            raise PluginError(f"{page.file.src_path}: cannot draw {formula}: {error!r}") from error

    return FORMULA.sub(draw, html)


def mathml(formula: str, display: str) -> str:
    """Return <math> for a formula. Raises ValueError for a command that latex2mathml does not know,
    and for braces that are left open."""
    if formula.count("{") != formula.count("}"):
        raise ValueError("braces do not match")
    paired = BARS.sub(lambda bar: rf"\left{bar[1]}" if bar[1] else rf"\right{bar[2]}", formula)
    drawn: str = convert(paired, display=display)
    if unknown := re.search(r"\\\w*", drawn):  # an unknown command is copied as it is
        raise ValueError(f"{unknown[0]} is not known")
    return drawn
