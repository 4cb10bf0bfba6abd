"""What a repository has beside its code: citation, hooks, workflow, templates, one version."""

from __future__ import annotations

import os
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.specifiers import SpecifierSet

import reludyn

ROOT = Path(__file__).parents[2]
PROJECT = (ROOT / "pyproject.toml").read_text()
PYTHONS = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', PROJECT)
FILES = [
    "CITATION.cff",
    ".pre-commit-config.yaml",
    "mkdocs.yml",
    *(str(path.relative_to(ROOT)) for path in sorted(ROOT.glob(".github/**/*.yml"))),
]


def read(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text())


@pytest.mark.parametrize("name", FILES)
def test_a_yaml_file_is_read(name: str) -> None:
    assert isinstance(read(name), dict)


def test_the_workflow_runs_on_every_python_that_is_promised() -> None:
    job = read(".github/workflows/ci.yml")["jobs"]["run"]
    assert job["strategy"]["matrix"]["python"] == PYTHONS
    assert {"run": ".ci/run"}.items() <= job["steps"][-1].items()
    (promised,) = re.findall(r'^requires-python = "(.*)"', PROJECT, re.MULTILINE)
    before = f"3.{int(PYTHONS[0].partition('.')[2]) - 1}"
    assert [p for p in (before, *PYTHONS) if p in SpecifierSet(promised)] == PYTHONS
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_the_hooks_use_the_tools_of_the_environment() -> None:
    (local,) = read(".pre-commit-config.yaml")["repos"]
    assert local["repo"] == "local"
    assert [hook["id"] for hook in local["hooks"]] == ["ruff", "ruff-format", "mypy", "lock"]
    for hook in local["hooks"]:
        assert hook["language"] == "system"
        assert hook["entry"].startswith(".venv/bin/")
        assert all((ROOT / path).exists() for path in re.findall(r"tests/\S+", hook["entry"]))


def test_the_citation_names_software_and_paper() -> None:
    citation = read("CITATION.cff")
    assert {"cff-version", "message", "title", "authors"} <= set(citation)  # what the format wants
    paper = citation["preferred-citation"]
    assert {"type", "title", "authors"} <= set(paper)
    readme = " ".join((ROOT / "README.md").read_text().replace(">", " ").split())
    assert ", ".join(author["family-names"] for author in paper["authors"]) in readme
    assert f"{paper['title']}.*" in readme


def test_the_version_is_in_one_place() -> None:
    """pyproject.toml; the package asks for what is installed, and the citation has none."""
    (written,) = re.findall(r'^version = "(.*)"', PROJECT, re.MULTILINE)
    assert reludyn.__version__ == version("reludyn") == written
    assert "version" not in read("CITATION.cff")


def test_the_templates_are_short() -> None:
    github = ROOT / ".github"
    for file in (github / "pull_request_template.md", *github.glob("ISSUE_TEMPLATE/*")):
        assert len(file.read_text().splitlines()) <= 20, file.name


def test_the_map_names_every_package() -> None:
    """In CONTRIBUTING.md one row each, and in the picture of the site what is in its diagram."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    packages = {path.parent.name for path in ROOT.glob("reludyn/*/__init__.py")}
    assert set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)) == packages
    (diagram,) = re.findall(r"^```mermaid\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    picture = (ROOT / "docs" / "architecture.svg").read_text()
    written = re.findall(r"<text[^>]*>(.*?)</text>", picture)
    boxes = re.findall(r'"(.*?)<br>(.*?)"', diagram)
    assert sorted(written) == sorted([*sum(boxes, ()), "a look"])
