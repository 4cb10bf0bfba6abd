"""requirements-ci.txt has what constraints.txt pins, with hashes; pip refuses what has another."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
LOCK = runpy.run_path(str(ROOT / "scripts" / "lock.py"))
VERSIONS = re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text())


def locked() -> dict[str, list[str]]:
    """The hashes of each pin."""
    text = (ROOT / "requirements-ci.txt").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {
        line.partition(" --hash")[0]: re.findall("--hash=sha256:([0-9a-f]{64})", line)
        for line in lines
    }


def chosen(pins: list[str], version: str) -> dict[str, str]:
    """Which version of each package a Python takes."""
    environment = {"python_version": version, "python_full_version": f"{version}.99"}
    found = {}
    for requirement in map(Requirement, pins):
        if requirement.marker is None or requirement.marker.evaluate(environment):
            name = re.sub("[-_.]+", "-", requirement.name).lower()
            assert name not in found
            found[name] = str(requirement.specifier)
    return found


@pytest.mark.parametrize("version", VERSIONS)
def test_the_lock_has_the_pins(version: str) -> None:
    """After a change of constraints.txt: make lock."""
    pins = LOCK["pinned"]((ROOT / "constraints.txt").read_text().splitlines())
    assert chosen(list(locked()), version) == chosen(pins, version)


def test_every_pin_has_hashes() -> None:
    assert len(locked()) > 100
    assert all(locked().values())


@pytest.mark.parametrize("right", [True, False])
def test_pip_takes_only_files_of_these_hashes(right: bool, tmp_path: Path) -> None:
    wheel = tmp_path / "nothing-1.0-py3-none-any.whl"
    with ZipFile(wheel, "w") as file:
        info = "nothing-1.0.dist-info"
        file.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: nothing\nVersion: 1.0\n")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", "")
    digest = sha256(wheel.read_bytes() + (b"" if right else b".")).hexdigest()
    lines = tmp_path / "requirements.txt"
    lines.write_text(f"nothing==1.0 --hash=sha256:{digest}\n")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "--isolated",
            "install",
            "--require-hashes",
            "--no-index",
            "--find-links",
            tmp_path,
            "--target",
            tmp_path / "here",
            "--requirement",
            lines,
        ],
        capture_output=True,
        text=True,
    )
    assert (done.returncode == 0) is right, done.stderr
    assert right or "THESE PACKAGES DO NOT MATCH THE HASHES" in done.stderr
