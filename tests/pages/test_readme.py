"""Every command and snippet of README.md and CONTRIBUTING.md runs."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

from tests.support.commands import run_command
from tests.support.documents import (
    BIN,
    DOCUMENTS,
    MAKES,
    OTHERS,
    ROOT,
    TENSORBOARD,
    blocks,
    commands,
    shell,
)
from tests.support.parts import drawn

RUNS = [c for c in commands("README.md") if c.startswith("reludyn ")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a reader of the README works: the runs of earlier commands are there for later ones."""
    return tmp_path_factory.mktemp("reader")


@pytest.mark.slow
def test_a_command_is_typed_as_it_stands(folder: Path) -> None:
    """The others run in this process, which has imported PyTorch already."""
    done = shell(RUNS[0], folder)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("command", RUNS)
def test_a_run_of_the_readme_finishes(command: str, folder: Path) -> None:
    before = set(folder.glob("outputs/**/DONE"))
    done = run_command(folder, *shlex.split(command)[1:])
    assert done.code == 0, done.err
    assert set(folder.glob("outputs/**/DONE")) - before


@pytest.mark.slow
def test_the_snippet_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (snippet,) = blocks("README.md", "python")
    exec(compile(snippet, "README.md", "exec"), {})
    assert capsys.readouterr().out == "0.0\n"
    assert list(tmp_path.iterdir()) == []


def test_the_readme_is_short() -> None:
    """Keys, sweeps and the API are described on the site alone."""
    assert len((ROOT / "README.md").read_text().split()) <= 800


def test_the_links_of_the_readme_lead_somewhere() -> None:
    """The pages of the site are checked by `make docs`."""
    for document in ("README.md", "CONTRIBUTING.md"):
        links = re.findall(r"\]\(([^):]+)\)", (ROOT / document).read_text())
        for path, _, anchor in (link.partition("#") for link in links):
            assert (ROOT / path).exists(), path
            headings = re.findall(r"^#+ (.*)", (ROOT / path).read_text(), re.M) if anchor else []
            assert not anchor or anchor in {h.lower().replace(" ", "-") for h in headings}


@pytest.mark.parametrize("command", MAKES)
def test_a_make_target_exists(command: str) -> None:
    """Only planned, not run: `make test` is what runs this test."""
    if not shutil.which("make"):
        pytest.skip("make is not installed")
    planned = shell(f"{command} --dry-run", ROOT)
    assert planned.returncode == 0, planned.stderr
    tools = r"reludyn|python -m (pytest|scripts|reludyn)|python scripts|ruff|mkdocs|coverage"
    assert re.search(f"bin/({tools})", planned.stdout)


def test_the_other_commands_of_the_readme_are_known() -> None:
    """A command that is added needs a test of its own."""
    known = [*RUNS, *MAKES, *OTHERS]
    assert [c for c in commands("README.md", "CONTRIBUTING.md") if c not in known] == []


@pytest.mark.slow
def test_tensorboard_finds_the_runs(folder: Path) -> None:
    shell("reludyn trainer.steps=20 figures=false", folder)
    log = folder / "tensorboard.log"
    with log.open("w") as file:
        server = subprocess.Popen(
            [BIN / "tensorboard", *TENSORBOARD.split()[1:], "--port", "0"],
            cwd=folder,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline, runs = time.monotonic() + 60, b"[]"
        while time.monotonic() < deadline and runs == b"[]":
            time.sleep(0.2)
            address = re.search(r"http://127\.0\.0\.1:\d+/", log.read_text())
            if address:
                runs = urllib.request.urlopen(f"{address.group()}data/runs", timeout=10).read()
        assert b"fig3/" in runs
    finally:
        server.terminate()
        server.wait()


@pytest.mark.slow
def test_the_reference_is_current() -> None:
    from scripts.reference import reference_text

    written = (ROOT / "docs" / "reference.md").read_text()
    assert written == reference_text(), "run: make reference"


def test_the_tables_of_the_glossary_are_current() -> None:
    from scripts.reference import with_tables

    written = (ROOT / "docs" / "glossary.md").read_text()
    assert written == with_tables(written), "run: make reference"


def test_the_reference_names_every_key() -> None:
    from dataclasses import fields

    from reludyn.config.parse import OPTIONS
    from reludyn.config.schema import Config
    from reludyn.recording.observables import FULL

    rows = [
        line for line in (ROOT / "docs" / "reference.md").read_text().splitlines() if "|" in line
    ]
    names = [row.split("`")[1] for row in rows if row.startswith("| `")]
    keys = [name for name in names if name not in FULL]
    assert set(names) - set(keys) == set(FULL)
    expected = {f.name for f in fields(Config)} - set(OPTIONS)
    for group, options in OPTIONS.items():
        names = {f.name for schema in options.values() for f in fields(schema)}
        expected |= {f"{group}.{name}" for name in names - {"name"}}
    assert set(keys) == expected
    assert len(keys) == len(expected)


def test_every_key_that_is_mentioned_is_in_the_reference() -> None:
    reference = (ROOT / "docs" / "reference.md").read_text()
    groups = "data|model|init|optimizer|trainer|logger|theory"
    texts = "".join((ROOT / document).read_text() for document in DOCUMENTS)
    mentioned = set(re.findall(rf"[`\s]((?:{groups})\.[a-z_]+)(?:=[^`]*)?`", texts))
    assert len(mentioned) > 30
    assert {key for key in mentioned if f"| `{key}` |" not in reference} == set()


def test_the_initialisation_of_contributing_works(monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np

    from reludyn.network import initialization

    known = dict(initialization.INITIALIZATIONS)
    monkeypatch.setattr(initialization, "INITIALIZATIONS", known)
    (snippet,) = blocks("CONTRIBUTING.md", "python")
    exec(snippet, vars(initialization) | {"np": np})
    W, V = drawn("uniform", [0], 3, 4, 1, 0.5)
    assert 0.2 < float(W.abs().max()) <= 0.5
    assert float(V.abs().max()) <= 0.5
