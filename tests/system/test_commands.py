"""Every command that is printed works when it is pasted, whatever the folder is called."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from unittest.mock import patch

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf
from tensorboard.plugins.core.core_plugin import CorePluginLoader
from tensorboard.program import TensorBoard

from reludyn.figures import __main__
from reludyn.system.commands import command, override, relative
from reludyn.training.engine import Engine
from tests.support.commands import QUICK, Command, Finished, interrupt

EVIL = [
    "lr=0.1,seed=2",
    "-x",
    "~mine",
    "[a](b){c}",
    'it\'s "so"',
    "back\\slash\\",
    "größe_λ",
    "two  words ",
    "$HOME",
    "#1",
    "~",
    "--logdir",
    "auto",
    "latest",
    "null",
    "1e3",
    "a:b",
    "*?!&;|<>`",
]


def printed(finished: Finished, name: str) -> list[str]:
    """The words of the command that the last line with this name shows."""
    said = finished.out + finished.err
    lines = [line for line in said.splitlines() if line.startswith(f"{name:<8} ")]
    return shlex.split(lines[-1].removeprefix(name))


@given(st.text("aA1'\"\\${}[](),=:~#-. é", max_size=12))
def test_a_value_is_read_as_it_was_meant(text: str) -> None:
    """By a shell, by Hydra and by OmegaConf, one after the other."""
    (word,) = shlex.split(command(override("key", text)))
    value = OverridesParser.create().parse_override(word).value()
    assert OmegaConf.create({"key": getattr(value, "text", value)}).key == text


@pytest.mark.parametrize("name", ["-x", "~x", "auto", "latest"])
def test_a_path_is_no_option_no_home_and_no_word(name: str) -> None:
    assert relative(Path.cwd() / name) == f"./{name}"


@pytest.mark.quick(3)
@pytest.mark.parametrize("name", EVIL)
def test_the_commands_of_an_interrupted_run(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """It is drawn, goes on, and is watched; a new run in its folder names the way to go on."""
    with monkeypatch.context() as patch:
        interrupt(patch, Engine, "advance", 4, KeyboardInterrupt())
        words = ("figures=false", "picture=loss", "trainer.steps=20")
        begun = reludyn(*words, override("hydra.run.dir", name))
    assert begun.code == 130
    folder = begun.where / name
    monkeypatch.chdir(begun.where)
    program, *folders = printed(begun, "draw")
    assert program == "reludyn-figures"
    __main__.main(folders)
    assert (folder / "figures" / "loss.png").exists()
    refused = reludyn(*words, override("hydra.run.dir", name))
    (again,) = re.findall(r"; (resume=.*) resumes it", refused.errors[0])
    program, resume = printed(begun, "resume")
    assert (program, resume) == ("reludyn", again)
    ended = reludyn(resume)
    assert (ended.code, ended.err) == (0, "")
    assert (folder / "DONE").exists()
    assert logdir(printed(ended, "watch")) == folder


def logdir(words: list[str]) -> Path:
    """The folder that TensorBoard itself makes of a command."""
    assert words[0].endswith("tensorboard")
    board = TensorBoard(plugins=[CorePluginLoader()])
    with patch("sys.stderr"):
        board.configure(words)
    return Path(board.flags.logdir).absolute()


@pytest.mark.quick(2)
@pytest.mark.parametrize("name", EVIL)
def test_the_commands_of_an_interrupted_sweep(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """With quotes in the overrides of the command itself."""
    place = override("hydra.sweep.dir", name)
    words = ("-m", *QUICK[:2], "init.signs='random'", "seed=range(2)", place)
    with monkeypatch.context() as patch:
        interrupt(patch, Engine, "advance", 7, KeyboardInterrupt())
        begun = reludyn(*words)
    assert begun.code == 130
    program, *again = printed(begun, "resume")
    assert program == "reludyn"
    ended = reludyn(*again)
    assert (ended.code, ended.err) == (0, "")
    assert "1 of 2 jobs are complete" in ended.out
    assert sorted(done.parent.name for done in (begun.where / name).rglob("DONE")) == ["0", "1"]
    monkeypatch.chdir(begun.where)
    assert logdir(printed(ended, "watch")) == begun.where / name


def test_a_folder_of_runs_names_one_to_draw(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = reludyn(*QUICK, override("hydra.run.dir", "all/it's, one")).where
    monkeypatch.chdir(where)
    with pytest.raises(SystemExit) as refused:
        __main__.main(["all"])
    words = shlex.split(str(refused.value).partition(", as in ")[2])
    assert words == ["reludyn-figures", "all/it's, one"]
