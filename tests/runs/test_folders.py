"""Folders of runs: nothing of others goes from them or is written through them; what was ended
before it saved anything begins anew."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from functools import partial
from pathlib import Path

import pytest

from reludyn.config.schema import Config
from reludyn.experiment import cost, run
from reludyn.figures import __main__
from reludyn.runs.folder import KEYS
from reludyn.system.errors import ConfigError
from reludyn.system.files import atomic
from reludyn.training.engine import Engine
from tests.support.commands import QUICK, Command, Finished, complaint, interrupt, run_command
from tests.support.resuming import SHORT, crashed, same, whole_run

pytestmark = pytest.mark.usefixtures("short_stretches")

RUN = (*QUICK, "hydra.run.dir=here")
FUSED = ("-m", *QUICK[:2], "hydra/launcher=fused", "hydra.sweep.dir=s", "seed=range(2)")
WRONG = "trainer.tolerance=0.3"  # found out only while the run is set up


def everything(folder: Path) -> dict[str, bytes]:
    """Every file, the log too, and every folder, with a slash."""
    return {
        str(path.relative_to(folder)) + "/" * path.is_dir(): b""
        if path.is_dir()
        else path.read_bytes()
        for path in folder.rglob("*")
    }


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two runs that ended without a word: outputs/older had saved something,
    outputs/one had not."""
    where = tmp_path_factory.mktemp("ended")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cost, "EAGER", 4e-4)  # as the fixture short_stretches has it
        crashed(partial(run_command, where), patch, "outputs/older", "seed=5")
        crashed(partial(run_command, where), patch, "outputs/one", call=3)
    return where / "outputs"


@pytest.fixture
def outputs(ended: Path, tmp_path: Path) -> Path:
    """A copy of that in the test's own folder."""
    return Path(shutil.copytree(ended, tmp_path / "outputs"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The second of these runs, as it is if nothing ends it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cost, "EAGER", 4e-4)
        return whole_run(partial(run_command, tmp_path_factory.mktemp("whole")))


def write(folder: Path, *names: str) -> None:
    """Files of somebody else."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"theirs: {name}\n")


# --- What is there stays ----------------------------------------------------------------------


@pytest.mark.quick(6)
@pytest.mark.parametrize("resume", ["auto", "null"])
@pytest.mark.parametrize(
    "names",
    [
        ("figures/thesis.svg", "checkpoints/resnet.pt"),
        ("figures/phases.png",),
        ("tensorboard/events.out.tfevents.1.host",),
        (".hydra/config.yaml", ".hydra/hydra.yaml", "figures/loss.pdf"),
        ("sweep.csv", "multirun.yaml"),
        ("plane.npz",),
    ],
)
def test_a_folder_of_others_is_refused_and_stays(
    reludyn: Command, tmp_path: Path, names: tuple[str, ...], resume: str
) -> None:
    write(tmp_path / "here", *names, "reludyn.log", ".lock")
    before = everything(tmp_path)
    said = complaint(reludyn(*RUN, f"resume={resume}"))
    assert said.startswith("hydra.run.dir=here: must be a folder without an earlier run; it has ")
    assert everything(tmp_path) == before


def test_a_torn_config_alone_does_not_make_a_folder_ours(reludyn: Command, tmp_path: Path) -> None:
    """An empty file is the beginning of every text."""
    write(tmp_path / "here", "figures/thesis.svg", "checkpoints/last.txt")
    (tmp_path / "here" / ".hydra").mkdir()
    (tmp_path / "here" / ".hydra" / "config.yaml").touch()
    before = everything(tmp_path)
    assert "it has checkpoints" in complaint(reludyn(*RUN, "resume=auto"))
    assert everything(tmp_path) == before


def test_a_run_in_the_folder_of_a_sweep_is_refused(reludyn: Command, tmp_path: Path) -> None:
    assert reludyn("-m", *QUICK, "hydra.sweep.dir=here", "seed=0,1").code == 0
    before = everything(tmp_path)
    assert "it has multirun.yaml" in complaint(reludyn(*RUN, "resume=auto"))
    assert everything(tmp_path) == before


@pytest.mark.parametrize(
    "names",
    [
        ("tensorboard/x/events.out.tfevents.1",),
        ("sweep.csv",),
        ("multirun.yaml",),
        ("checkpoints/resnet.pt",),
    ],
)
def test_a_sweep_in_a_folder_of_others_is_refused(
    reludyn: Command, tmp_path: Path, names: tuple[str, ...]
) -> None:
    write(tmp_path / "s", *names)
    before = everything(tmp_path)
    assert f"it has {names[0].split('/')[0]}" in complaint(reludyn(*FUSED))
    assert everything(tmp_path) == before


def test_what_others_put_into_the_folder_of_a_job_stays(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A job that was interrupted begins anew; what is not its own is not taken away for that."""
    with monkeypatch.context() as patch:
        interrupt(patch, Engine, "advance", 4, KeyboardInterrupt())
        assert reludyn(*FUSED).code == 130
    theirs = ("figures/thesis.svg", "checkpoints/resnet.pt", "tensorboard/notes.txt", "notes.txt")
    write(tmp_path / "s" / "0", *theirs)
    write(tmp_path / "s", "notes.txt", "figures/thesis.svg")
    before = everything(tmp_path)
    assert reludyn(*FUSED).code == 0
    after = everything(tmp_path)
    names = [*(f"s/0/{name}" for name in theirs), "s/notes.txt", "s/figures/thesis.svg"]
    assert {name: after[name] for name in names} == {name: before[name] for name in names}


def test_the_keys_that_tell_our_configs_are_there() -> None:
    assert {*Config.__dataclass_fields__} >= KEYS


# --- A refused run ----------------------------------------------------------------------------


@pytest.mark.parametrize("names", [(), ("reludyn.log", "notes.txt")])
def test_a_run_that_is_refused_late_leaves_a_folder_as_it_was(
    reludyn: Command, tmp_path: Path, names: tuple[str, ...]
) -> None:
    """Hydra has written into it by then."""
    write(tmp_path / "a" / "here", *names)
    (tmp_path / "a" / "here").mkdir(parents=True, exist_ok=True)
    before = everything(tmp_path)
    assert "must be below 0.25" in complaint(reludyn(*RUN[:-1], "hydra.run.dir=a/here", WRONG))
    assert everything(tmp_path) == before


def test_folders_that_were_made_for_a_refused_run_go(reludyn: Command, tmp_path: Path) -> None:
    assert "must be below 0.25" in complaint(reludyn(*RUN[:-1], "hydra.run.dir=a/b", WRONG))
    assert everything(tmp_path) == {}


@pytest.mark.parametrize("subdir", [".hydra", "other"])
def test_a_run_that_may_not_go_on_stays_as_it_was(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, subdir: str
) -> None:
    """Its log, its config and its curves: the other config was to be in their place."""
    place = f"hydra.output_subdir={subdir}"
    crashed(reludyn, monkeypatch, "one", place)
    before = everything(tmp_path)
    assert "model.width is 2 there, 3 here" in complaint(
        reludyn("resume=one", place, "model.width=3")
    )
    assert everything(tmp_path) == before


# --- Ended before anything was saved ----------------------------------------------------------

AGAIN = {
    "the same command": [*SHORT, "trainer.checkpoint_steps=12", "hydra.run.dir=outputs/one"],
    "resume=auto": [
        *SHORT,
        "trainer.checkpoint_steps=12",
        "hydra.run.dir=outputs/one",
        "resume=auto",
    ],
    "resume=FOLDER": ["resume=outputs/one"],
    "resume=latest": ["resume=latest"],
}


@pytest.mark.parametrize("how", AGAIN)
def test_a_run_that_had_saved_nothing_begins_anew(
    reludyn: Command, outputs: Path, whole: Finished, how: str
) -> None:
    """With one set of curves, and what a run leaves that nobody ended; an older run, which could go
    on, is not meant."""
    assert not (outputs / "one/checkpoints").exists()
    assert (outputs / "one/tensorboard").exists()
    again = reludyn(*AGAIN[how])
    assert again.code == 0, again.err
    said = "the run in outputs/one had saved nothing when it ended: it begins anew"
    assert said in again.out.splitlines()
    same(whole, outputs / "one")


@pytest.mark.usefixtures("outputs")
def test_a_run_of_another_config_does_not_begin_there(reludyn: Command, tmp_path: Path) -> None:
    before = everything(tmp_path)
    here = "outputs/one"
    for words in ([*SHORT, f"hydra.run.dir={here}", "resume=auto"], [f"resume={here}"]):
        said = complaint(reludyn(*words, "trainer.checkpoint_steps=12", "model.width=3"))
        assert "of another config (model.width is 2 there, 3 here)" in said
        assert everything(tmp_path) == before


@pytest.mark.usefixtures("outputs")
def test_a_refused_run_leaves_one_that_had_saved_nothing(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It was to begin anew, but cannot be set up."""
    before = everything(tmp_path)

    def refuse(*_: object, **__: object) -> None:
        raise ConfigError("data.path", "x.npz", "there is no such file")

    monkeypatch.setattr(run, "build", refuse)
    assert "there is no such file" in complaint(reludyn("resume=outputs/one"))
    assert everything(tmp_path) == before


# --- Links ------------------------------------------------------------------------------------


LINKS = (
    ".lock",
    "reludyn.log",
    ".hydra",
    ".hydra/config.yaml",
    "figures",
    "figures/phases.png",
    "tensorboard",
    "tensorboard/theory",
    "checkpoints",
    "checkpoints/.last.pt.part",
)


@pytest.mark.parametrize("name", LINKS)
def test_nothing_is_written_through_a_link(
    reludyn: Command, tmp_path: Path, outputs: Path, name: str
) -> None:
    """A run that could go on, sent by somebody else."""
    path, target = outputs / "older" / name, tmp_path / "outside"
    write(target, "file")
    if path.is_dir():
        path.rename(tmp_path / "away")
    path.unlink(missing_ok=True)
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(target if not path.suffix and name[0] != "." else target / "file")
    before = everything(tmp_path)
    said = complaint(reludyn("resume=outputs/older"))
    assert f"{name} is neither. Remove it, or choose another folder" in said
    assert everything(tmp_path) == before


@pytest.mark.parametrize("name", ["0", "multirun.yaml", "tensorboard", "0/reludyn.log", ".lock"])
def test_no_sweep_writes_through_a_link(reludyn: Command, tmp_path: Path, name: str) -> None:
    write(tmp_path, "outside/file")
    path = tmp_path / "s" / name
    path.parent.mkdir(parents=True)
    path.symlink_to(tmp_path / "outside")
    before = everything(tmp_path)
    assert complaint(reludyn(*FUSED)).startswith("hydra.sweep.dir=")
    assert everything(tmp_path) == before


def test_a_pipe_does_not_hold_a_run_up(reludyn: Command, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    os.mkfifo(tmp_path / "here" / "reludyn.log")
    assert "reludyn.log is neither" in complaint(reludyn(*RUN))


def test_pictures_are_not_drawn_through_a_link(reludyn: Command, tmp_path: Path) -> None:
    assert reludyn(*RUN).code == 0
    write(tmp_path, "outside/file")
    (tmp_path / "here" / "figures").symlink_to(tmp_path / "outside")
    with pytest.raises(SystemExit, match="figures is neither"):
        __main__.main([str(tmp_path / "here")])
    assert [path.name for path in (tmp_path / "outside").iterdir()] == ["file"]


def test_the_folder_itself_may_lie_behind_a_link(reludyn: Command, tmp_path: Path) -> None:
    """As outputs/ does that is on a large disk."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "outputs").symlink_to(tmp_path / "disk")
    assert reludyn(*QUICK).code == 0
    assert len([*(tmp_path / "disk").rglob("DONE")]) == 1


def test_a_temporary_name_that_is_taken_is_not_followed(tmp_path: Path) -> None:
    write(tmp_path, "outside")
    (tmp_path / ".file.part").symlink_to(tmp_path / "outside")
    with atomic(tmp_path / "file") as file:
        file.write(b"whole")
    assert everything(tmp_path) == {"outside": b"theirs: outside\n", "file": b"whole"}


# --- Locks ------------------------------------------------------------------------------------


@pytest.mark.quick(2)
@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
@pytest.mark.parametrize("words", [RUN, FUSED], ids=["run", "sweep"])
def test_a_disk_without_locks_is_named_once(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch, number: int, words: tuple[str, ...]
) -> None:
    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    finished = reludyn(*words)
    assert finished.code == 0
    (line,) = finished.err.splitlines()
    assert "this disk has no locks" in line
    assert line.endswith("start no second command in this folder")
    assert not [*finished.where.rglob(".lock")]


def test_a_lock_of_others_stays(reludyn: Command, tmp_path: Path) -> None:
    write(tmp_path / "here", ".lock")
    assert reludyn(*RUN).code == 0
    assert (tmp_path / "here" / ".lock").read_text() == "theirs: .lock\n"
