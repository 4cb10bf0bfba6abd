"""The gallery: its commands and lines draw its pictures; here with fewer replicas and steps."""

from __future__ import annotations

import re
import runpy
import shlex
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import run_command

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "gallery.md").read_text()
STEPS = list(runpy.run_path(str(ROOT / "scripts" / "gallery.py"))["steps"]())
FEW = ("replicas=4", "trainer.steps=40", "trainer.looks=20")
SHORTER = {
    "experiment=stuck": (*FEW, "model.width=2,3"),
    "experiment=samples": (*FEW, "data.dim=3,4", "data.ratio=2,6"),
    "experiment=burn_in": ("replicas=5", "trainer.steps=200", "optimizer.lr=0.1,0.3"),
    "experiment=stability": ("replicas=5", "theory.precision=0.2", "trainer.steps=800"),
    "experiment=digits": ("trainer.steps=3", "model.width=6"),
    "experiment=landscape": ("replicas=5", "trainer.steps=40", "theory.grid=15"),
    "name=map": (*FEW, "seed=0,1", "optimizer.lr=0.1,0.2"),
    "name=lines": (*FEW, "seed=0,1"),
}


@pytest.mark.slow
def test_every_picture_is_drawn_by_its_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for kind, lines in STEPS:
        if kind == "python":
            exec(lines, names)
            continue
        command, *words = shlex.split(lines)
        assert command == "reludyn"
        more = next((more for word, more in SHORTER.items() if word in words), FEW)
        done = run_command(tmp_path, *words, *more)
        assert done.code == 0, done.err
    shown = set(re.findall(r"\]\(gallery/([\w.]+)\)", PAGE))
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == shown


def test_the_pictures_of_the_page_are_there() -> None:
    shown = set(re.findall(r"\]\((gallery/[\w.]+)\)", PAGE))
    assert {path for path in shown if not (ROOT / "docs" / path).is_file()} == set()


def test_every_plot_is_in_the_gallery() -> None:
    from reludyn import figures

    assert {name for name in figures.__all__ if f"figures.{name}(" not in PAGE} == set()


def test_no_figure_takes_more_than_three_lines() -> None:
    for kind, lines in STEPS:
        assert kind == "bash" or len(lines.splitlines()) <= 3
