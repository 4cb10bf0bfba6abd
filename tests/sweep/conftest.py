"""Sweeps that many tests resume or compare with, each made once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from reludyn.experiment import cost
from tests.support.batches import BASIC, HERE, SEEDS, SWEPT, Killed, stop
from tests.support.commands import run_command
from tests.support.sweeps import LAUNCHERS


@pytest.fixture(params=LAUNCHERS)
def launcher(request: pytest.FixtureRequest) -> str:
    return f"hydra/launcher={request.param}"


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a sweep of three jobs that nothing has ended."""
    where = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cost, "EAGER", 4e-4)
        assert run_command(where, *SWEPT, SEEDS, HERE).code == 0
    return where / "s"


@pytest.fixture(scope="session")
def one_by_one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the same sweep by the basic launcher."""
    where = tmp_path_factory.mktemp("one_by_one")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cost, "EAGER", 4e-4)
        assert run_command(where, *SWEPT, SEEDS, HERE, BASIC).code == 0
    return where / "s"


@pytest.fixture(scope="session")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the same sweep, killed."""
    where = tmp_path_factory.mktemp("begun")
    stop(where, Killed(), 14, SEEDS)
    return where / "s"


@pytest.fixture
def killed(begun: Path, tmp_path: Path) -> Path:
    """A copy of that in the test's own folder."""
    return Path(shutil.copytree(begun, tmp_path / "s"))


@pytest.fixture(scope="session")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the same sweep after Ctrl-C."""
    where = tmp_path_factory.mktemp("ended")
    finished = stop(where, KeyboardInterrupt(), 9, SEEDS)
    assert finished is not None
    assert finished.code == 130
    return where / "s"


@pytest.fixture
def interrupted(ended: Path, tmp_path: Path) -> Path:
    """A copy of that in the test's own folder."""
    return Path(shutil.copytree(ended, tmp_path / "s"))
