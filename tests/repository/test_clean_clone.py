"""A clean clone: each target of `make help` sets up what it needs and comes to its end.

`make` installs everything into an environment of the clone, once for all targets. With
RELUDYN_BORROW=1, as continuous integration has it, the packages are those of the environment that
runs the tests, and only what is missing there is installed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HERE = Path(sys.executable).parent
RUN = {  # targets, with what shortens them
    "help": "",
    "train": "trainer.steps=20 figures=false",
    "paper": "short=true rows=[fig3,digits]",
    "reference": "",
    "test": "tests/numerics/test_kernels.py",
    "docs": "",
    "clean": "",
}
LEFT = {  # and why others are not run
    "bench": "JAX is large",
    "test-ray": "Ray is large",
    "test-browser": "needs Chromium; tests/whole/test_browser.py is what it runs",
    "screenshots": "needs Chromium",
    "lint": "takes a minute; .ci/run begins with it",
    "coverage": "takes all tests of the science rooms: fewer are below its limit",
    "golden": "takes a minute and a half; tests/whole/test_golden.py compares",
    "gallery": "takes minutes; tests/pages/test_gallery.py runs the page",
    "lock": "asks the package index for the newest files",
}
pytestmark = pytest.mark.skipif(
    not shutil.which("make") or not shutil.which("git") or not (ROOT / ".git").exists(),
    reason="needs make, git and a checkout",
)


def make(*words: str, where: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """`make WORDS`, which knows nothing of the environment that runs the tests."""
    own = ("MAKEFLAGS", "MAKELEVEL", "PYTHONPATH", "VIRTUAL_ENV")
    given = {name: value for name, value in os.environ.items() if name not in own}
    command = ["make", f"PYTHON={sys.executable}", *words]
    return subprocess.run(command, cwd=where, env=given, capture_output=True, text=True)


def borrow(environment: Path) -> None:
    """Make an environment that finds the packages and programs of this one."""
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    (site,) = environment.glob("lib/python3*/site-packages")
    others = [path for path in sys.path if path.endswith("site-packages")]
    (site / "borrowed.pth").write_text("\n".join(others) + "\n")
    for program in HERE.iterdir():
        if program.name in ("coverage", "mkdocs", "mypy", "ruff"):
            (environment / "bin" / program.name).symlink_to(program)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What was committed last."""
    folder = tmp_path_factory.mktemp("clean") / "reludyn"
    subprocess.run(["git", "clone", "--quiet", ROOT, folder], check=True)
    if os.environ.get("RELUDYN_BORROW"):
        borrow(folder / ".venv")
    return folder


def test_every_target_is_run_here_or_named() -> None:
    """As .PHONY and `make help` have them."""
    (phony,) = re.findall(r"^\.PHONY: (.*)", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert set(phony.split()) == {*RUN, *LEFT}
    said = re.findall(r"^make ([\w-]+) ", make("help").stdout, flags=re.MULTILINE)
    assert sorted([*said, "help"]) == sorted([*RUN, *LEFT])


def extras(target: str) -> set[str]:
    """What a target installs in a clone, beside what every installation has."""
    planned = make("--dry-run", "--always-make", target).stdout
    listed = re.findall(r"--editable '\.\[(.*?)\]'", planned)
    return {extra for some in listed for extra in some.split(",")}


@pytest.mark.parametrize(
    ("target", "needed"),
    [
        ("train", {"digits"}),
        ("paper", {"digits"}),
        ("gallery", {"digits"}),
        ("test", {"digits", "test", "lint"}),
        ("lint", {"digits", "test", "lint"}),
        ("docs", {"digits", "docs"}),
        ("bench", {"digits", "bench"}),
        ("test-ray", {"digits", "test", "lint", "ray"}),
        ("lock", {"digits", "lock"}),
        ("screenshots", {"digits", "test", "lint", "browser"}),
    ],
)
def test_a_target_installs_what_it_needs(
    target: str, needed: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where only some packages are installed; with LOCKED=1 it is all but JAX at once."""
    monkeypatch.delenv("LOCKED", raising=False)
    assert extras(target) == needed


@pytest.fixture
def at_the_end(clone: Path) -> Callable[[str], None]:
    def check(target: str) -> None:
        if target == "train":
            assert list(clone.glob("outputs/fig3/*/DONE"))
        elif target == "paper":
            assert len(list(clone.glob("outputs/paper/*/*/DONE"))) == 2
            assert list(clone.glob("outputs/paper/*/report.html"))
        elif target == "docs":
            assert (clone / "site" / "index.html").exists()
        elif target == "clean":
            assert not (clone / ".venv").exists()
            assert list(clone.glob("outputs/fig3/*/DONE"))

    return check


@pytest.mark.slow
@pytest.mark.parametrize("target", RUN)  # one after another: `clean` takes the environment away
def test_a_target_comes_to_its_end(
    clone: Path, target: str, at_the_end: Callable[[str], None]
) -> None:
    ended = make(target, *([f"ARGS={RUN[target]}"] if RUN[target] else []), where=clone)
    assert ended.returncode == 0, ended.stdout[-4000:] + ended.stderr[-4000:]
    at_the_end(target)


@pytest.mark.slow
def test_the_repository_is_as_it_was(clone: Path) -> None:
    """What targets write anew is what is committed; all else is ignored."""
    status = ["git", "status", "--porcelain"]
    assert subprocess.check_output(status, cwd=clone, text=True) == ""
