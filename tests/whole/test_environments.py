"""Machines that lack what one usually has: folders that can be written, terminals, encodings."""

from __future__ import annotations

import atexit
import errno
import os
import shlex
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from reludyn import figures
from reludyn.config.explain import explain
from reludyn.figures.style import new_figure
from reludyn.system.files import provide_scratch
from tests.support.commands import COMMAND, QUICK, Command, reludyn_in

# --- Folders that cannot be written -----------------------------------------------------------


@pytest.fixture
def no_temporary_folder(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], object]]:
    """None of those that Python tries can be written; returns what is to be done at the end."""
    ends: list[Callable[[], object]] = []

    def register(function: Callable[..., object], *arguments: object, **named: object) -> None:
        ends.append(lambda: function(*arguments, **named))

    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [])
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(atexit, "register", register)
    monkeypatch.setenv("TMPDIR", "/dev/null")
    return ends


def test_a_run_has_its_temporary_files_beside_its_own(
    reludyn: Command,
    no_temporary_folder: list[Callable[[], object]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before, compiling refused it, and matplotlib its picture; nothing of them stays."""
    seen: list[str] = []

    def looking(*_: object) -> Figure:
        with tempfile.NamedTemporaryFile() as file:
            seen.extend([os.path.dirname(file.name), os.environ["TMPDIR"]])
        return new_figure()

    monkeypatch.setitem(figures.OF_A_REPLICA, "phases", looking)
    ended = reludyn_in(reludyn, "run", "figures=true")
    assert ended.code == 0
    folder = Path(seen[0])
    assert seen == [str(folder)] * 2
    assert folder.parent == ended.where
    assert (ended.where / "DONE").exists()
    for end in no_temporary_folder:
        end()
    assert not folder.exists()


def test_a_sweep_has_one_folder_for_its_temporary_files(
    reludyn: Command, no_temporary_folder: list[Callable[[], object]], tmp_path: Path
) -> None:
    assert reludyn("-m", *QUICK, "seed=0,1", "hydra.sweep.dir=s").code == 0
    assert [path.parent for path in tmp_path.rglob(".tmp-*")] == [tmp_path / "s"]
    for end in no_temporary_folder:
        end()
    assert not list(tmp_path.rglob(".tmp-*"))


def test_the_systems_folder_for_temporary_files_is_preferred(tmp_path: Path) -> None:
    before = tempfile.gettempdir()
    provide_scratch(tmp_path)
    assert tempfile.gettempdir() == before
    assert not list(tmp_path.iterdir())


CLOSED = """
for folder in {closed}; do
    mount --rbind $folder $folder && mount -o remount,bind,ro $folder || exit 1
done
mount --bind {opened} {opened} && mount -o remount,bind,rw {opened} && cd {here} && exec "$@"
"""


@pytest.mark.slow
def test_a_machine_on_which_only_the_output_can_be_written(tmp_path: Path) -> None:
    """The home, the working folder and all folders for temporary files are read-only, in a
    namespace of mounts."""
    home, out = tmp_path / "home", tmp_path / "out"
    for folder in (home, out):
        folder.mkdir()
    system = [os.path.realpath(x) for x in ("/tmp", "/var/tmp", "/usr/tmp") if os.path.isdir(x)]
    closed = " ".join(dict.fromkeys([*system, str(tmp_path)]))
    script = CLOSED.format(closed=closed, opened=out, here=home)
    begin = ["unshare", "-rm", "sh", "-c", script, "sh"]
    if subprocess.run([*begin, "true"], capture_output=True).returncode:
        pytest.skip("no folder can be made read-only here")
    assert subprocess.run([*begin, "touch", "new"], capture_output=True).returncode
    words = ["trainer.steps=200", "replicas=2", f"hydra.run.dir={out}/run"]
    given = os.environ | {"HOME": str(home), "TMPDIR": str(home)}
    ended = subprocess.run([*begin, COMMAND, *words], env=given, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr
    left = {path.name for path in (out / "run").iterdir()}
    assert left >= {"DONE", "figures"}
    assert not [name for name in left if name.startswith(".tmp-")]


@pytest.mark.slow
@pytest.mark.parametrize(
    "names", [("HOME", "XDG_CACHE_HOME"), ("MPLCONFIGDIR",), ("TORCHINDUCTOR_CACHE_DIR", "TMPDIR")]
)
def test_each_cache_may_lack_its_folder(tmp_path: Path, names: tuple[str, ...]) -> None:
    """Files where a folder should be."""
    given = os.environ | dict.fromkeys(names, "/dev/null/x")
    words = ["trainer.steps=200", "hydra.run.dir=run"]
    words += ["trainer.engine=compiled"] if "TMPDIR" in names else []
    ended = subprocess.run(
        [COMMAND, *words], cwd=tmp_path, env=given, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr
    assert {path.name for path in (tmp_path / "run").iterdir()} >= {"DONE", "figures"}


# --- Processes with little around them --------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&- <&-"])
def test_closed_streams(tmp_path: Path, closed: str) -> None:
    """As a daemon may start it: before, the folder of the run was not even checked, or the run
    refused."""
    words = shlex.join([COMMAND, *QUICK, "hydra.run.dir=run"])
    for code in (0, 2):  # the second time the folder has a run
        ended = subprocess.run(
            f"{words} {closed}", shell=True, cwd=tmp_path, capture_output=True, text=True
        )
        assert ended.returncode == code
        assert "Traceback" not in ended.stdout + ended.stderr
        assert (tmp_path / "run" / "DONE").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "given",
    [
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONOPTIMIZE": "2", "TERM": "dumb", "COLUMNS": "1"},
        {"PYTHONWARNINGS": "error", "COLUMNS": "many", "OMP_NUM_THREADS": "many", "TZ": ":/none"},
    ],
)
def test_odd_variables(tmp_path: Path, given: dict[str, str]) -> None:
    """Letters that cannot be printed, docstrings that are not there, warnings that are errors."""
    words = ["trainer.steps=20", "trainer.observables=full", "theory.bounds=true"]
    ended = subprocess.run(
        [COMMAND, *words, "hydra.run.dir=run"],
        cwd=tmp_path,
        env=os.environ | given,
        capture_output=True,
    )
    assert ended.returncode == 0, ended.stderr
    assert b"Traceback" not in ended.stdout + ended.stderr
    assert (tmp_path / "run" / "DONE").exists()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            OSError(errno.EMFILE, "Too many open files", "run/a"),
            "Allow more open files (ulimit -n)",
        ),
        (OSError(errno.EFBIG, "File too large", "run/a"), "Allow larger files (ulimit -f), or"),
        (OSError(errno.ENOSPC, "No space left on device", "run/a"), "Make some room, or choose"),
        (OSError(errno.EROFS, "Read-only file system", "run/a"), "Choose a folder that can be"),
        (FileNotFoundError(errno.ENOENT, "No such file"), "the working folder is gone"),
    ],
)
def test_the_remedy_fits_what_the_system_refuses(error: OSError, said: str) -> None:
    assert said in explain(error, [])
