"""The wheel is whole: installed far from the checkout, `reludyn` runs and finds its conf/."""

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PINS = (ROOT / "constraints.txt").as_uri()  # pip splits paths at blanks

pytestmark = pytest.mark.slow


def run(*command: str | Path, where: Path) -> str:
    """Standard output of a process that knows nothing of the checkout."""
    environment = {n: v for n, v in os.environ.items() if n not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment |= {"PIP_CONSTRAINT": PINS, "PIP_BUILD_CONSTRAINT": PINS}
    environment |= {"PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    finished = subprocess.run(
        [str(word) for word in command], cwd=where, env=environment, capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--outdir", folder, ROOT, where=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """bin/ of a new environment that holds the wheel alone, and borrows PyTorch and the others.

    A folder named in a .pth file is only searched, its own .pth files are not read: the editable
    installation of the checkout stays out.
    """
    environment = tmp_path_factory.mktemp("elsewhere") / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", environment, where=environment.parent)
    python = environment / "bin" / "python"
    run(
        *(sys.executable, "-m", "pip", "--python", python),
        *("install", "--quiet", "--no-deps", wheel),
        where=environment.parent,
    )
    (site,) = environment.glob("lib/python3*/site-packages")
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return environment / "bin"


def test_the_wheel_holds_the_package_and_its_conf(wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    package = {str(path.relative_to(ROOT)) for path in ROOT.glob("reludyn/**/*.py")}
    package |= {str(path.relative_to(ROOT)) for path in ROOT.glob("hydra_plugins/**/*.py")}
    conf = {f"reludyn/{path.relative_to(ROOT)}" for path in ROOT.glob("conf/**/*.yaml")}
    assert package | conf | {"reludyn/py.typed"} <= held
    assert "reludyn/conf/config.yaml" in held


def test_the_wheel_holds_nothing_else(wheel: Path) -> None:
    held = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in held} == {"reludyn", "hydra_plugins"}
    assert "hydra_plugins/__init__.py" not in held  # the folder is shared with other plugins
    suffixes = {Path(name).suffix for name in held if name.startswith("reludyn/")}
    assert suffixes == {".py", ".typed", ".yaml", ".j2"}
    assert not [name for name in held if "test" in name]


def test_the_package_is_that_of_the_wheel(installed: Path, tmp_path: Path) -> None:
    code = "import reludyn.config.parse as c; print(c.__file__); print(c.conf_directory())"
    file, conf = run(installed / "python", "-c", code, where=tmp_path).splitlines()
    assert Path(file).is_relative_to(installed.parent)
    assert Path(conf) == Path(file).parents[1] / "conf"


def test_the_command_runs_anywhere(installed: Path, tmp_path: Path) -> None:
    run(installed / "reludyn", "trainer.steps=5", "figures=false", where=tmp_path)
    (done,) = tmp_path.glob("outputs/fig3/*/DONE")
    assert json.loads((done.parent / "summary.json").read_text())["steps"] == 5
    hydra = (done.parent / ".hydra" / "hydra.yaml").read_text()
    assert str(installed.parent) in hydra
    assert str(ROOT) not in hydra


def test_the_version_is_that_of_the_package(wheel: Path) -> None:
    from reludyn import __version__

    assert wheel.name.startswith(f"reludyn-{__version__}-")
