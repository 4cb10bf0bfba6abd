"""What is known of the place where a run was made."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from reludyn.system.environment import commit_of, environment

pytestmark = pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=Test", "-c", "user.email=test@localhost")
    done = subprocess.run(
        ["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    folder.mkdir()
    git(folder, "init")
    (folder / "file").write_text("one\n")
    git(folder, "add", "file")
    git(folder, "commit", "-m", "first")
    return folder


def test_a_commit_is_named(checkout: Path) -> None:
    (checkout / "outputs").mkdir()
    (checkout / "outputs" / "untracked").touch()
    commit = git(checkout, "rev-parse", "HEAD")
    assert commit_of(checkout) == f"git {commit}, no changes"
    assert commit_of(checkout / "outputs") == f"git {commit}, no changes"


def test_changes_are_counted(checkout: Path) -> None:
    (checkout / "file").write_text("two\n")
    assert commit_of(checkout).endswith(", 1 changed")


def test_a_folder_without_a_checkout(tmp_path: Path) -> None:
    assert commit_of(tmp_path) == "not a git checkout"


def test_a_package_that_is_not_tracked_has_no_commit(checkout: Path) -> None:
    """As in an environment below someone's own checkout."""
    package = checkout / "site-packages"
    package.mkdir()
    (package / "__init__.py").touch()
    assert commit_of(package, "__init__.py") == "not a git checkout"
    assert commit_of(checkout, "file").startswith("git ")


def test_other_settings_of_git_do_not_count(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    assert commit_of(checkout).endswith("no changes")


@pytest.mark.parametrize(
    ("script", "said"), [("exit 128", "not a git checkout"), ("sleep 60", "git did not answer")]
)
def test_a_git_that_fails_stops_nothing(
    script: str, said: str, checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "git"
    fake.write_text(f"#!/bin/sh\nexec {script}\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr("reludyn.system.environment.PATIENCE", 0.2)
    assert commit_of(checkout) == said


def test_without_git(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit_of(checkout) == "git is not installed"


def test_the_environment_has_what_a_rerun_needs() -> None:
    found = environment(torch.device("cpu"))
    assert found["torch"] == torch.__version__
    assert found["threads"] == str(torch.get_num_threads())
    assert {"reludyn", "working directory", "Python", "numpy", "device"} <= set(found)
