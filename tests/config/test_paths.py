"""Keys that are paths of files: wherever a run goes on, they name the same file."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from reludyn import train
from reludyn.config.parse import OPTIONS
from reludyn.config.schema import PATHS
from tests.support.commands import QUICK, Command, contents, refused, run_command
from tests.support.resuming import crashed

pytestmark = pytest.mark.usefixtures("short_stretches")

RUN = ("data=file", "init.signs=random", "data.dim=null", "data.outputs=null")


@pytest.fixture(autouse=True)
def samples(tmp_path: Path) -> None:
    X = np.random.default_rng(0).standard_normal((20, 3))
    np.savez(tmp_path / "x.npz", X=X, A=np.eye(1, 3))


def path_of(folder: Path) -> str:
    return yaml.safe_load((folder / ".hydra" / "config.yaml").read_text())["data"]["path"]


def test_the_list_of_paths_is_complete() -> None:
    """Another key of a file has to be kept from the root on as well."""
    found = {
        f"{group}.{name}"
        for group, options in OPTIONS.items()
        for schema in options.values()
        for name in schema.__dataclass_fields__
        if name.endswith("path")
    }
    assert found == {*PATHS}


@pytest.mark.parametrize(
    "written", ["x.npz", "./x.npz", "'~/x.npz'", "'${name}.npz'", "'${oc.env:HOME}/x.npz'"]
)
def test_a_path_is_kept_from_the_root_on(
    reludyn: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    """In .hydra/config.yaml, and so in the hash of DONE, in Python, and by hand."""
    monkeypatch.setenv("HOME", str(tmp_path))
    words = [*QUICK, *RUN, "name=x"]
    finished = reludyn(*words, f"data.path={written}", "hydra.run.dir=one")
    assert finished.code == 0
    kept = path_of(tmp_path / "one")
    assert kept.startswith(f"{tmp_path}/")
    monkeypatch.chdir(tmp_path)
    run = train(*words, f"data.path={written}")
    assert Path(run.config["data"]["path"]) == tmp_path / "x.npz"
    if "$" not in written:
        (tmp_path / "sub").mkdir()
        again = [*words, f"data.path={kept}", f"hydra.run.dir={tmp_path}/two"]
        assert run_command(tmp_path / "sub", *again).code == 0
        digests = [(tmp_path / name / "DONE").read_text() for name in ("one", "two")]
        assert digests[0] == digests[1]


def test_a_run_goes_on_from_another_folder(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With the file that it had; where that has changed it is refused as ever."""
    crashed(reludyn, monkeypatch, "one", *RUN, "data.path=x.npz")
    before = (tmp_path / "x.npz").read_bytes()
    (tmp_path / "sub").mkdir()
    np.savez(tmp_path / "x.npz", X=np.ones((9, 3)), A=np.eye(1, 3))
    assert "data.path names has changed" in run_command(tmp_path / "sub", "resume=../one").err
    (tmp_path / "x.npz").write_bytes(before)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert run_command(tmp_path / "sub", "resume='~/one'").code == 0
    assert (tmp_path / "one" / "DONE").exists()
    assert not contents(tmp_path / "sub")


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["basic", "fused"])
def test_the_jobs_of_a_sweep_keep_it(reludyn: Command, tmp_path: Path, launcher: str) -> None:
    """A sweep over seeds and files, one of which depends on the seed: each job has its own."""
    for seed in (0, 1):
        (tmp_path / f"x_{seed}.npz").write_bytes((tmp_path / "x.npz").read_bytes())
    done = reludyn(
        "-m",
        *QUICK,
        *RUN,
        f"hydra/launcher={launcher}",
        "hydra.sweep.dir=s",
        "seed=0,1",
        "data.path=x.npz,'x_${seed}.npz'",
    )
    assert done.code == 0
    paths = [path_of(tmp_path / "s" / str(job)) for job in range(4)]
    assert paths == [f"{tmp_path}/{name}" for name in ("x.npz", "x_0.npz", "x.npz", "x_1.npz")]
    assert "are complete" not in done.out


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("~/x.npz", "~ must stand within quotation marks: 'data.path=\"~/x.npz\"'"),
        ("it's/x.npz", "' must stand within quotation marks"),
        ("a file(1).csv", "( must stand within quotation marks: 'data.path=\"a file(1).csv\"'"),
        ("run=3/x.npz", "= must stand within quotation marks"),
        ('a"b.npz', '" must stand within quotation marks'),
        ("x.npz\r", "it has a carriage return, character 6 of the value. Remove it"),
    ],
)
def test_characters_that_need_quotation_marks_are_named(
    reludyn: Command, value: str, said: str
) -> None:
    """What is advised, typed in a shell, is the value."""
    line = refused(reludyn(*QUICK, *RUN, f"data.path={value}"))
    assert said in line
    if "quotation marks: " in line:
        (word,) = shlex.split(line.partition("quotation marks: ")[2])
        assert OverridesParser.create().parse_override(word).value() == value
