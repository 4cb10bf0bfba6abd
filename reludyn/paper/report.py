"""report.html, with all pictures inside it, and report.md."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader

from reludyn.paper.claims import Claim, Finding
from reludyn.paper.rows import Done
from reludyn.system.files import atomic


def write_report(
    folder: Path,
    about: Mapping[str, object],
    findings: Sequence[tuple[Claim, Finding | None]],
    done: Sequence[Done],
) -> None:
    """Write the table of claims, then each picture with its caption, command and numbers."""
    pages = Environment(
        loader=PackageLoader("reludyn.paper", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    content = {
        "about": about,
        "claims": findings,
        "rows": [(one, list(_pictures(folder, one))) for one in done],
        "counts": _counts(findings),
    }
    for name, escape in (("report.html", True), ("report.md", False)):
        pages.autoescape = escape
        with atomic(folder / name) as file:
            file.write(pages.get_template(f"{name}.j2").render(content).encode())


def _pictures(folder: Path, one: Done) -> Iterator[tuple[str, str]]:
    """Yield every PNG of a row: its path below the folder, and the picture itself as text."""
    if not one.row.figures:
        return
    place = folder / one.row.name
    for picture in sorted((place / "figures").glob("*.png")):
        text = base64.b64encode(picture.read_bytes()).decode()
        yield str(picture.relative_to(folder)), text


def _counts(findings: Sequence[tuple[Claim, Finding | None]]) -> dict[str, int]:
    verdicts = [finding.verdict if finding else "not run" for _, finding in findings]
    return {verdict: verdicts.count(verdict) for verdict in dict.fromkeys(verdicts)}
