"""Runs that many tests resume: one that ended without a word, and the same run as a whole."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import pytest

from reludyn.experiment import cost
from tests.support.commands import Finished, run_command
from tests.support.resuming import crashed, whole_run


@pytest.fixture(scope="session")
def _one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("one")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cost, "EAGER", 4e-4)  # as the fixture short_stretches has it
        crashed(partial(run_command, where), patch, "one")
    return where / "one"


@pytest.fixture
def one(_one: Path, tmp_path: Path) -> Path:
    """The run, in the folder one of the test's own folder: its last checkpoint is some stretches
    old, its events have gone on."""
    return Path(shutil.copytree(_one, tmp_path / "one"))


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The same run, which nothing has ended."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cost, "EAGER", 4e-4)
        return whole_run(partial(run_command, tmp_path_factory.mktemp("whole")))
