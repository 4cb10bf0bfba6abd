"""The files of conf/: read once a process, and again after a change."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from reludyn.config import compose as composing
from reludyn.config import yaml_files
from reludyn.config.parse import conf_directory, prepare_hydra
from reludyn.config.security import guarded


@pytest.fixture
def ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of conf/ in the place of conf/."""
    copied = shutil.copytree(conf_directory(), tmp_path / "conf")
    for module in (composing, yaml_files):
        monkeypatch.setattr(module, "conf_directory", lambda: copied)
    return copied


def test_our_files_are_read_once_a_process(ours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    composing.configure("name=test", "init=theorem")
    monkeypatch.setattr(OmegaConf, "load", lambda _: pytest.fail("a file is read again"))
    assert composing.configure("name=test", "init=theorem", "seed=4").seed == 4


def test_what_composing_changes_does_not_come_back(ours: Path) -> None:
    """What was read is copied: nodes without a type are put into the config themselves."""
    key, other = "hydra.callbacks.folders._target_", "torch.optim.SGD"
    prepare_hydra()
    with guarded([]), initialize_config_dir(str(ours), version_base="1.3"):
        configs = [
            compose("config", ["name=test", *words], return_hydra_config=True)
            for words in ([], [f"{key}={other}"], [])
        ]
    targets = [OmegaConf.select(config, key) for config in configs]
    assert targets == ["reludyn.cli.Folders", other, "reludyn.cli.Folders"]


def test_a_file_of_ours_that_has_changed_is_read_again(ours: Path) -> None:
    """As somebody edits it beside a notebook."""
    assert composing.configure("name=test", "model=relu").model.width == 2
    file = ours / "model" / "relu.yaml"
    changed = file.stat().st_mtime_ns + 1
    file.write_text(file.read_text().replace("width: 2", "width: 5"))
    os.utime(file, ns=(changed, changed))
    assert composing.configure("name=test", "model=relu").model.width == 5
