"""The command: every mistake ends in one line, help is quick and complete, users bring files."""

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from reludyn.training.engine import Engine
from tests.support.commands import COMMAND, QUICK, Command, Finished, process, refused

GLOBAL = "# @package _global_\n"


# --- Mistakes ---------------------------------------------------------------------------------

MISTAKES = {
    # a key that does not exist
    "init.scal=1": ("no such key", "Did you mean init.scale?"),
    "scale=1": ("no such key",),
    "modle.width=3": ("no group modle", "Did you mean model.width?"),
    "initt=theorem": ("no such key", "Did you mean init?"),
    "+data.foo=1": ("no such key", "samples"),
    "++init.scal=3": ("no such key", "Did you mean init.scale?"),
    "+foo=1": ("no such key",),
    "trainer.name=x": ("no such key", "steps"),
    # an option that does not exist
    "data=guassian": ("no such option", "Did you mean data=gaussian?"),
    "init=foo": ("no such option", "theorem, unit_output, xavier_normal"),
    "experiment=fig9": ("no such option", "fig3"),
    "init=": ("no such option", "xavier_normal"),
    "data=null": ("must be the name of an option",),
    "experiment=null": ("must be the name of an option",),
    "init=3": ("must be the name of an option",),
    "data.name=foo": ("options are chosen as data=foo",),
    # a wrong type
    "init.scale=abc": ("must be a number",),
    "init.scale=true": ("must be a number",),
    "init.scale=[1]": ("must be a number",),
    "init.scale=": ("must be a number",),
    "model.width=2.5": ("must be an integer",),
    "model.width=null": ("must be an integer",),
    "seed=abc": ("must be an integer",),
    "figures=maybe": ("must be true or false",),
    "figures=2": ("must be true or false",),
    "model.train_output=null": ("must be true or false",),
    "data.samples=many": ("must be an integer or null",),
    "trainer.steps=1e3": ("must be an integer", "Write 1000"),
    "data=file data.path=???": ("a value is needed", "It is an .npz"),
    "init.scale=???": ("a value is needed",),
    # an impossible value
    "model.width=0": ("must be >= 1",),
    "data.dim=0": ("must be >= 1",),
    "data.outputs=101": ("must be at most data.dim=100",),
    "replicas=0": ("must be >= 1",),
    "seed=-1": ("must be >= 0",),
    "init.scale=0": ("must be > 0",),
    "init.scale=-1": ("must be > 0",),
    "init.scale=nan": ("must be a finite number",),
    "init.scale=inf": ("must be a finite number",),
    "optimizer.lr=0": ("must be > 0",),
    "optimizer.lr=-0.1": ("must be > 0",),
    "optimizer.lr=nan": ("must be a finite number",),
    "optimizer.lr=inf": ("must be a finite number",),
    "data.target_norm=0": ("must be > 0",),
    "trainer.steps=0": ("must be >= 1",),
    "trainer.tolerance=-1": ("must be >= 0",),
    "trainer.tolerance=nan": ("must be a finite number",),
    "precision=float16": ("must be one of float64, float32",),
    "device=tpu": ("must be one of auto, cpu, cuda",),
    "init.signs=plus": ("must be one of random, alternating, same",),
    "model.negative_slope=1.5": ("must be <= 1",),
    "model.bias=true": ("must be false",),
    # a combination
    "data.samples=10": ("must be null with data=population", "data=gaussian"),
    "data=gaussian data.samples=0": ("must be >= 1",),
    "data=gaussian data.ratio=0": ("must be > 0",),
    "data=population data.ratio=4": ("no such key",),
    "data.outputs=2 init.signs=same": ("must be random", "data.outputs=2"),
    "logger=none logger.replicas=2": ("no such key",),
    "data.outputs=2 init.signs=random trainer.tolerance=1e-20": ("larger tolerance",),
    # an unreadable override
    "init.scale": ("cannot read", "KEY=VALUE"),
    "init.scale==1": ("cannot read", "quotation marks: 'init.scale=\"=1\"'"),
    "seed=[1": ("cannot read", "KEY=VALUE"),
    "=3": ("cannot read", "KEY=VALUE"),
    "seed=1,2": ("several values", "Add -m"),
    "resume_allow=a,b": ("Write resume_allow=[a,b]",),
    "+init=theorem": ("init",),
    "~experiment": ("nothing can be left out", "experiment=default"),
    "~data": ("nothing can be left out",),
    "~model.width": ("nothing can be left out",),
    "data.seed=5": ("must be null", "data.target=axis"),
    "trainer.tolerance=0.3": ("must be below 0.25",),
    "precision=float32 trainer.tolerance=1e-14": ("must be 0 or at least 2.3e-13",),
    "data=gaussian precision=float32 trainer.tolerance=1e-14": ("must be 0 or at least",),
    "name=???": ("name",),
    "hydra.searchpath=5": ("must be a list of strings",),
    "seed=${nowhere}": ("nowhere",),
    "init.scale=${init.scale}": ("init.scale",),
    "--multirn": ("no such option", "Did you mean --multirun?"),
    "--cfg": ("expected one argument",),
    "--config-name=mine": ("there is no such config",),
}


@pytest.mark.quick(12)
@pytest.mark.filterwarnings("error::UserWarning")  # of Hydra's: they are printed as well
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_explained_in_one_line(reludyn: Command, mistake: str) -> None:
    *_, last = overrides = mistake.split()
    key, _, value = last.lstrip("+~").partition("=")
    line = refused(reludyn(*overrides))
    assert key in line
    assert value in line
    assert all(part in line for part in MISTAKES[mistake])


@pytest.mark.parametrize("key", ["data.name", "name", "data.law", "init.signs", "trainer.widht"])
def test_a_long_value_is_cut(reludyn: Command, key: str) -> None:
    assert len(refused(reludyn(f"{key}={'x' * 5000}"))) < 3000


@pytest.mark.parametrize("innocent", ["seed=${replicas}", "name=init"])
def test_the_override_that_is_wrong_is_named(reludyn: Command, innocent: str) -> None:
    line = refused(reludyn("init.scale=abc", innocent))
    assert line == "init.scale=abc: must be a number"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_missing_device_is_explained(reludyn: Command) -> None:
    line = refused(reludyn("device=cuda"))
    assert line == "device=cuda: there is no CUDA device here. Use device=auto or cpu"


def test_options_may_stand_anywhere(reludyn: Command) -> None:
    finished = reludyn("figures=false", "-m", *QUICK, "seed=1,2")
    assert finished.code == 0
    assert len(finished.folders) == 2
    shown = reludyn("seed=3", "--cfg", "job", "init.scale=0.5").out
    assert "seed: 3\n" in shown
    assert "scale: 0.5\n" in shown


@pytest.mark.parametrize(
    "mistake",
    ["init.scale=-1", "data=file data.path=nothing.npz", "replicas=1000000000", "init=nothing"],
)
def test_what_is_refused_leaves_no_folder(reludyn: Command, tmp_path: Path, mistake: str) -> None:
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "notes.txt").touch()
    for folder in ("new", "used"):
        refused(reludyn(*mistake.split(), f"hydra.run.dir={folder}"))
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == [
        "used",
        "used/notes.txt",
    ]


def test_a_folder_that_cannot_be_made_is_explained(reludyn: Command, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "hydra.run.dir" in refused(reludyn(*QUICK, "hydra.run.dir=file/run"))


def test_an_error_of_the_system_is_not_blamed_on_the_folder(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("libcudart.so.12: cannot open shared object file")

    monkeypatch.setattr(Engine, "start", fail)
    with contextlib.suppress(OSError):
        assert "libcudart.so.12" in refused(reludyn(*QUICK))


@pytest.mark.quick(1)
@pytest.mark.parametrize("arguments", [["--help"], ["--cfg", "job"], QUICK], ids=" ".join)
def test_a_reader_that_goes_away_is_not_a_mistake(tmp_path: Path, arguments: list[str]) -> None:
    command = [COMMAND, *arguments]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        running.stdout.close()  # as `reludyn | head` does
        assert "reludyn: error" not in running.stderr.read()


@pytest.mark.quick(2)
@pytest.mark.parametrize(
    "extreme",
    [
        "optimizer.lr=1e300",
        "init.scale=1e100",
        "init.scale=1e-100",
        "data.target_norm=1e200",
        "precision=float32 data.target_norm=1e30",
        "data=gaussian data.samples=1000000000000",
        "data.dim=1 model.width=1",
        "model.width=17",
        "trainer.looks=1",
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_an_extreme_value_runs_or_is_explained(reludyn: Command, extreme: str) -> None:
    finished = reludyn("trainer.steps=5", *extreme.split())
    assert finished.code in (0, 2, 3)
    assert len(finished.errors) == (finished.code == 2)


def test_a_diverged_run_has_an_exit_code_of_its_own(reludyn: Command) -> None:
    finished = reludyn("optimizer.lr=5", "figures=false", "logger=none")
    assert finished.code == 3
    assert finished.summary["stopped_because"] == "diverged"


@pytest.mark.parametrize(
    "mistake",
    ["init.scal=1,2", "modle.width=1,2", "data=population,guassian", "data=null,gaussian"],
)
def test_a_mistake_in_a_sweep_is_explained_before_any_job(reludyn: Command, mistake: str) -> None:
    line = refused(reludyn("-m", *QUICK, mistake))
    assert mistake.split("=")[0] in line
    assert "Sweep" not in line


def test_a_tolerance_that_proves_nothing_is_refused(reludyn: Command) -> None:
    """fig3's 1e-4 is more than the loss of the zero student here."""
    line = refused(reludyn("data.target_norm=0.01"))
    assert line.startswith("trainer.tolerance=0.0001: must be below 2.5e-05")


def test_every_failed_job_of_a_sweep_is_named(
    reludyn: Command, caplog: pytest.LogCaptureFixture
) -> None:
    finished = reludyn("-m", *QUICK, "model.width=0,2,-1")
    assert finished.code == 1
    assert len(list(finished.where.rglob("DONE"))) == 1
    logs = [file.read_text() for file in sorted(finished.where.rglob("reludyn.log"))]
    assert "job 0: model.width=0: must be >= 1" in logs[0]
    assert "job 2: model.width=-1: must be >= 1" in logs[2]


def test_the_plain_experiment_changes_nothing(reludyn: Command) -> None:
    finished = reludyn(*QUICK, "experiment=default", "data.outputs=3", "model.width=6")
    assert finished.code == 0
    assert finished.summary["experiment"] == "default"
    assert finished.folder.parent.name == "default"


def test_the_process_says_no_more_than_that(tmp_path: Path) -> None:
    finished = process(COMMAND, "init.scal=1", where=tmp_path)
    assert finished.returncode == 2
    assert finished.stdout == ""
    assert finished.stderr.splitlines() == [
        "reludyn: error: init.scal=1: no such key; init has name, scale, scale_to, output_scale, "
        "signs. Did you mean init.scale?",
        "Keys and options: reludyn --help. Stack trace: HYDRA_FULL_ERROR=1",
    ]


def test_the_trace_is_shown_where_it_is_asked_for(tmp_path: Path) -> None:
    """test_start.py has other mistakes."""
    finished = process(COMMAND, "model.width=0", where=tmp_path, HYDRA_FULL_ERROR="1")
    assert finished.returncode != 0
    assert "Traceback (most recent call last)" in finished.stderr


def test_the_module_is_the_command(tmp_path: Path) -> None:
    as_module = process(sys.executable, "-m", "reludyn", "seed=-1", where=tmp_path)
    assert as_module.returncode == 2
    assert "reludyn: error: seed=-1: must be >= 0" in as_module.stderr


# --- A user's own files -----------------------------------------------------------------------


@pytest.fixture
def with_file(reludyn: Command, tmp_path: Path) -> Command:
    """A short run with one file in a folder of the user's, as `--config-dir` reads it."""

    def run(path: str, text: str, *overrides: str) -> Finished:
        file = tmp_path / "my_conf" / path
        file.parent.mkdir(parents=True)
        file.write_text(text)
        group = f"{file.parent.name}={file.stem}"
        return reludyn("--config-dir", "my_conf", group, *QUICK[1:], *overrides)

    return run


def test_a_user_s_experiment_runs_under_its_name(with_file: Command) -> None:
    text = GLOBAL + "init: {scale: 1e-3}\ntrainer: {steps: 7}\n"
    finished = with_file("experiment/mine.yaml", text)
    assert finished.code == 0
    assert finished.folder.parent == finished.where / "outputs" / "mine"
    assert finished.summary["experiment"] == "mine"
    assert finished.summary["steps"] == 7


def test_a_user_s_experiment_may_choose_options(with_file: Command) -> None:
    text = GLOBAL + "defaults: [{override /init: theorem}]\ntrainer: {steps: 7}\n"
    finished = with_file("experiment/mine.yaml", text)
    assert OmegaConf.load(finished.folder / ".hydra" / "config.yaml").init.name == "theorem"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("init: {scal: 1e-3}", ["experiment/mine", "init.scal", "init.scale"]),
        ("initt: {scale: 1e-3}", ["initt", "init"]),
        ("init: {scale: abc}", ["init.scale=abc", "number"]),
        ("init: {scale: -1}", ["init.scale=-1", "> 0"]),
        ("defaults: [{override /init: theorm}]", ["init=theorm", "init=theorem"]),
        ("init: {scale: [", ["mine.yaml"]),
    ],
)
def test_a_mistake_in_a_user_s_experiment_is_explained(
    with_file: Command, text: str, named: list[str]
) -> None:
    line = refused(with_file("experiment/mine.yaml", GLOBAL + text + "\n"))
    assert all(word in line for word in named)


def test_an_experiment_without_its_package_line_is_explained(with_file: Command) -> None:
    line = refused(with_file("experiment/mine.yaml", "init: {scale: 1e-3}\n"))
    assert "@package _global_" in line


OWN_INIT = """name: xavier_normal
scale: 1e-3
scale_to: null
output_scale: null
signs: random
"""


def test_a_user_s_option_needs_no_schema(with_file: Command) -> None:
    finished = with_file("init/mine.yaml", OWN_INIT, "trainer.steps=3")
    assert finished.code == 0
    assert OmegaConf.load(finished.folder / ".hydra" / "config.yaml").init.scale == 1e-3


def test_a_user_s_option_can_build_on_another(with_file: Command) -> None:
    text = "defaults: [gaussian, _self_]\nsamples: 30\n"
    finished = with_file("data/mine.yaml", text, "trainer.steps=3")
    assert OmegaConf.load(finished.folder / ".hydra" / "config.yaml").data.samples == 30


@pytest.mark.quick(3)
@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        ("scale: 1e-3", "scale: abc", "init.scale=abc"),
        ("scale: 1e-3", "scale: -1", "init.scale=-1.0: must be > 0"),
        ("scale: 1e-3", "scale: null", "init.scale=null"),
        ("scale: 1e-3", "scal: 1e-3", "init.scal=0.001: no such key"),
        ("scale: 1e-3", "", "init.scale=???: a value is needed"),
        (
            "name: xavier_normal",
            "name: he",
            "init.name=he: must be one of xavier_normal, he_normal",
        ),
        ("name: xavier_normal", "", "init.name=null: must be one of"),
    ],
)
def test_a_user_s_option_is_checked(
    with_file: Command, before: str, after: str, named: str
) -> None:
    line = refused(with_file("init/mine.yaml", OWN_INIT.replace(before, after)))
    assert line.startswith(named)
