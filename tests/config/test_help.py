"""Help and completion: complete, true and quick."""

import re
import resource
import sys
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from reludyn import __version__
from reludyn.config.parse import OPTIONS, conf_directory
from reludyn.config.schema import Config
from tests.support.commands import COMMAND, QUICK, Command, process, run_command


def help_words(text: str) -> dict[str, set[str]]:
    """The words of each line, by the first of them."""
    lines = (re.findall(r"[\w.]+", line) for line in text.splitlines())
    return {words[0]: set(words[1:]) for words in lines if words}


@pytest.fixture(scope="module")
def help_text(tmp_path_factory: pytest.TempPathFactory) -> str:
    return run_command(tmp_path_factory.mktemp("help"), "--help").out


@pytest.mark.parametrize("group", [*OPTIONS, "experiment"])
def test_help_names_every_option(help_text: str, group: str) -> None:
    options = {path.stem for path in conf_directory().glob(f"{group}/*.yaml")}
    assert options <= help_words(help_text)[group]


@pytest.mark.parametrize("group", OPTIONS)
def test_help_names_every_key_of_a_group(help_text: str, group: str) -> None:
    keys = {field.name for schema in OPTIONS[group].values() for field in fields(schema)}
    assert keys - {"name"} <= help_words(help_text)[f"{group}."]


def test_help_names_every_key_of_the_top_level(help_text: str) -> None:
    keys = {field.name for field in fields(Config)} - set(OPTIONS)
    (line,) = (line for line in help_text.splitlines() if line.startswith("Top level:"))
    assert keys <= set(line.split())


@pytest.mark.slow
def test_the_commands_in_help_work(reludyn: Command, help_text: str) -> None:
    _, block = help_text.split("Five commands to start with\n")
    lines = block.partition("\n\n")[0].splitlines()
    commands = [re.split(r"\s{4,}", line.strip())[0].split() for line in lines]
    assert [name for name, *_ in commands] == ["reludyn"] * 5
    codes = {" ".join(words): reludyn(*words[1:], *QUICK).code for words in commands}
    assert set(codes.values()) == {0}, codes


def test_help_is_quick(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In seconds of the processor: a busy machine is not a slow command."""

    def seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert process(COMMAND, "--help", where=tmp_path).returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime

    best = min(seconds() for _ in range(3))
    with capsys.disabled():
        print(f"\nreludyn --help: {best:.2f} s (meant: under 0.6 s)")
    assert best < 1.0


def test_the_version_is_said(reludyn: Command) -> None:
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "hydra-core"))
    assert reludyn("--version").out == f"reludyn {__version__}, {libraries}\n"


@pytest.mark.quick(2)
@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--cfg", "job"], ["--info", "defaults"], ["-sc", "install=bash"], ["seed=x"]],
    ids=" ".join,
)
def test_answers_do_not_wait_for_torch(tmp_path: Path, arguments: list[str]) -> None:
    code = (
        "import sys; from reludyn.cli import main\n"
        "try: main()\n"
        "finally: print('loaded', *({'torch', 'numpy', 'matplotlib', 'rich'} & set(sys.modules)))"
    )
    answered = process(sys.executable, "-c", code, *arguments, where=tmp_path)
    assert answered.stdout.splitlines()[-1] == "loaded"


def test_cfg_shows_the_config_of_the_job(reludyn: Command, tmp_path: Path) -> None:
    finished = reludyn("--cfg", "job", "init.scale=1e-8", "data=gaussian")
    shown = OmegaConf.create(finished.out)
    assert set(shown) == {field.name for field in fields(Config)}
    assert (shown.init.scale, shown.data.samples, shown.data.ratio) == (1e-8, None, 16)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("what", ["all", "defaults", "searchpath"])
def test_info_is_given(reludyn: Command, what: str) -> None:
    finished = reludyn("--info", what)
    assert finished.code == 0
    assert str(conf_directory()) in finished.out or what == "defaults"


def test_completion_can_be_installed(reludyn: Command) -> None:
    finished = reludyn("-sc", "install=bash")
    assert finished.code == 0
    assert "complete -o nospace" in finished.out


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("data=", {f"data={option}" for option in OPTIONS["data"]}),
        ("init.sc", {"init.scale=", "init.scale_to="}),
    ],
)
def test_completion_knows_options_and_keys(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch, typed: str, offered: set[str]
) -> None:
    monkeypatch.setenv("COMP_LINE", f"reludyn {typed}")
    assert set(reludyn("-sc", "query=bash").out.split()) == offered
