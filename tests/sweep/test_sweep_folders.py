"""The folders of the jobs of a sweep: below one, never the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.commands import QUICK, Command
from tests.support.sweeps import complete


@pytest.mark.slow
def test_folders_never_collide(reludyn: Command, launcher: str, tmp_path: Path) -> None:
    """Keys that share a prefix, values with a slash, seeds that are repeated."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "A.csv").write_text("1,0,0\n")
    finished = reludyn(
        "-m",
        *QUICK,
        launcher,
        "data.dim=3",
        "data.target=file",
        "hydra.sweep.dir=s",
        "data.target_path=a/A.csv,b/A.csv",
        "data.target_norm=1,2",
        "seed=1,1",
    )
    assert finished.code == 0, finished.err
    assert complete(tmp_path / "s") == [str(job) for job in range(8)]
    values = [
        (folder / ".hydra" / "overrides.yaml").read_text().split("- data.target_path=")[1]
        for folder in finished.folders
    ]
    assert len(set(values)) == 4


@pytest.mark.quick(2)
@pytest.mark.parametrize(
    ("subdir", "swept", "said"),
    [
        ("${hydra.job.override_dirname}", "seed=1,1", "jobs 0 and 1 share"),
        ("x", "seed=1,2", "jobs 0 and 1 share"),
        ("${name}", "name=a,a/b", "that of job 0 has job 1"),
    ],
)
def test_folders_that_would_collide_are_refused(
    reludyn: Command, launcher: str, subdir: str, swept: str, said: str
) -> None:
    where = ("hydra.sweep.dir=s", f"hydra.sweep.subdir={subdir}")
    finished = reludyn("-m", *QUICK, launcher, swept, *where)
    assert finished.code == 2
    assert "hydra.sweep.subdir: must" in finished.errors[0]
    assert said in finished.errors[0]
    assert not finished.claims_success()


@pytest.mark.slow
def test_all_jobs_lie_below_one_folder(reludyn: Command, launcher: str, tmp_path: Path) -> None:
    """Also where the default folder depends on what is swept; so the sweep can go on."""
    swept = ("-m", *QUICK, launcher, "experiment=fig3,default")
    first = reludyn(*swept)
    (sweep,) = (tmp_path / "outputs").glob("*/*_sweep")
    assert complete(sweep) == ["0", "1"]
    assert len(first.folders) == 2
    (sweep / "1" / "DONE").unlink()
    again = reludyn(*swept, f"hydra.sweep.dir={sweep.relative_to(tmp_path)}")
    assert again.code == 0, again.err
    assert "1 of 2 jobs are complete" in again.out
    assert complete(sweep) == ["0", "1"]


def test_a_folder_that_cannot_be_is_named_by_its_key(
    reludyn: Command, launcher: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    finished = reludyn("-m", *QUICK, launcher, "seed=0,1", "hydra.sweep.dir=file/x")
    assert finished.code == 2
    assert finished.errors[0].startswith("reludyn: error: hydra.sweep.dir: Not a directory")
