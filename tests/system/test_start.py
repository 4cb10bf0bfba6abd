"""How the command starts: values keep their types, no guard is passed over, the config is composed
once, and what surrounds the process is named where it is in the way."""

import logging
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.config_loader import ConfigLoader

from reludyn.cli import Folders
from reludyn.config.compose import configure
from reludyn.config.security import Loader
from reludyn.runs.load import load_run
from tests.support.commands import COMMAND, QUICK, Command, complaint, process, refused, reludyn_in

FILE = "# @package _global_\nseed: ${oc.env:SEED}\noptimizer: {lr: '${oc.env:LR}'}\n"


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """With a number, which is text there, and a word."""
    for name, value in {"SEED": "7", "LR": "0.05", "WORD": "many"}.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


# --- Interpolations ---------------------------------------------------------------------------


@pytest.mark.usefixtures("environment")
def test_a_number_of_the_environment_is_one(reludyn: Command) -> None:
    """As a job of SLURM's arrays takes its seed: it was text, at which the guards stumbled."""
    finished = reludyn_in(reludyn, "run", "seed=${oc.env:SEED}", "replicas=${model.width}")
    assert (finished.code, finished.err) == (0, "")
    assert [row["seed"] for row in finished.rows] == ["7", "8"]
    config = load_run(finished.where).config
    assert (config["seed"], config["replicas"], config["name"]) == (7, 2, "fig3")
    again = reludyn_in(reludyn, "run", "seed=${oc.env:SEED}", "replicas=${model.width}")
    assert "must be a folder without an earlier run" in complaint(again)


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("launcher", ["basic", "fused"])
def test_a_file_s_number_of_the_environment_is_one(
    reludyn: Command, tmp_path: Path, launcher: str
) -> None:
    """The same in a sweep over an experiment of the user's."""
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(FILE)
    finished = reludyn(
        "-m",
        "--config-dir",
        ".",
        "experiment=mine",
        "init.scale=1e-3,1e-4",
        f"hydra/launcher={launcher}",
        "hydra.sweep.dir=sweep",
        *QUICK,
    )
    assert (finished.code, finished.err) == (0, "")
    table = (tmp_path / "sweep" / "sweep.csv").read_text().splitlines()
    seed = table[0].split(",").index("seed")
    assert [row.split(",")[seed] for row in table[1:]] == ["7", "7"]
    assert load_run(tmp_path / "sweep" / "0").config["optimizer"]["lr"] == 0.05


@pytest.mark.usefixtures("environment")
def test_a_number_of_the_environment_is_one_in_python() -> None:
    config = configure("seed=${oc.env:SEED}", "optimizer.lr=${oc.env:LR}", "replicas=${seed}")
    assert (config.seed, config.optimizer.lr, config.replicas) == (7, 0.05, 7)


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("seed=${oc.env:WORD}", "seed=many: must be an integer"),
        ("init.scale=${oc.env:WORD}", "init.scale=many: must be a number"),
        ("replicas=${init.scale}", "replicas=0.0001: must be an integer"),
        (
            "init.scale=${oc.env:NOWHERE}",
            "init.scale=${oc.env:NOWHERE}: KeyError raised while resolving interpolation: "
            "\"Environment variable 'NOWHERE' not found\"",
        ),
    ],
)
def test_what_comes_through_an_interpolation_is_named(
    reludyn: Command, override: str, line: str
) -> None:
    """Its own key, whatever other override is an interpolation, and what has come."""
    assert refused(reludyn("name=${oc.env:SEED}", override, *QUICK)) == line


# --- Guards -----------------------------------------------------------------------------------


def test_a_fault_of_a_guard_ends_the_command(
    reludyn: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hydra would make a warning of it, and train without the lock of the folder."""

    def fault(*_: object) -> None:
        raise TypeError("a fault")

    monkeypatch.setattr(Folders, "_claim", fault)
    with pytest.raises(TypeError, match="a fault"):
        reludyn(*QUICK)
    assert not list(tmp_path.rglob(".hydra"))


@pytest.mark.slow
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_survived(tmp_path: Path, closed: str) -> None:
    """A file that is opened would take its number, and a guard met None in its place."""
    words = " ".join([COMMAND, *QUICK, "hydra.run.dir=run"])
    for code in (0, 2):  # the second time the folder is refused
        ended = subprocess.run(
            ["sh", "-c", f"{words} {closed}"], cwd=tmp_path, capture_output=True, text=True
        )
        assert ended.returncode == code
        assert "Warning" not in ended.stderr
    assert (tmp_path / "run" / "DONE").exists()


@pytest.mark.slow
def test_workers_survive_closed_streams(tmp_path: Path) -> None:
    """They inherit them, and print a line for each job."""
    words = "hydra/launcher=joblib hydra.launcher.n_jobs=2 seed=1,2 hydra.sweep.dir=sweep"
    command = f"{COMMAND} -m {words} {' '.join(QUICK)} >&- 2>&-"
    assert subprocess.run(["sh", "-c", command], cwd=tmp_path).returncode == 0
    assert len(list(tmp_path.rglob("DONE"))) == 2


# --- Composing --------------------------------------------------------------------------------


@pytest.mark.parametrize(("options", "count"), [((), 1), (("-m", "hydra/launcher=fused"), 2)])
def test_a_config_is_composed_once(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], count: int
) -> None:
    """And once more for the jobs of a sweep, not for the sake of hydra.mode alone."""
    composed = []
    own = Loader.load_configuration

    def counted(self: ConfigLoader, *rest: object, **named: object) -> object:
        composed.append(rest)
        return own(self, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Loader, "load_configuration", counted)
    assert reludyn(*options, *QUICK).code == 0
    assert len(composed) == count


def test_a_typed_mode_is_heeded(reludyn: Command, tmp_path: Path) -> None:
    """It was read from a config that was composed for it."""
    assert reludyn("hydra.mode=MULTIRUN", "seed=1,2", *QUICK).code == 0
    assert len(list(tmp_path.rglob("DONE"))) == 2


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("hydra.mode=multirun", "hydra.mode=multirun: must be one of RUN, MULTIRUN"),
        ("-m hydra.mode=RUN", "hydra.mode=RUN: contradicts -m. Leave one of them"),
        ("--run hydra.mode=MULTIRUN", "hydra.mode=MULTIRUN: contradicts --run. Leave one of them"),
    ],
)
def test_a_mode_is_refused_in_one_line(reludyn: Command, words: str, line: str) -> None:
    assert refused(reludyn(*words.split(), *QUICK)) == line


def test_the_mode_of_an_experiment_is_heeded(reludyn: Command, tmp_path: Path) -> None:
    """A file of the user's, found by an option and by a key of Hydra's."""
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    file = tmp_path / "mine" / "experiment" / "sweep.yaml"
    file.write_text(
        "# @package _global_\nhydra: {mode: MULTIRUN, sweeper: {params: {seed: '1,2'}}}\n"
    )
    place = f"hydra.searchpath=[file://{tmp_path / 'mine'}]"
    for words in (["--config-dir", "mine"], [place]):
        done = reludyn(*words, "experiment=sweep", *QUICK, f"hydra.sweep.dir=outputs/{len(words)}")
        assert done.code == 0, done.err
        assert len([*(tmp_path / "outputs" / str(len(words))).glob("*/DONE")]) == 2


def test_no_other_file_has_a_mode(reludyn: Command, tmp_path: Path) -> None:
    """The option that Hydra adds would win, without a word."""
    (tmp_path / "init").mkdir()
    own = "# @package _global_\nhydra: {mode: MULTIRUN}\n"
    (tmp_path / "init" / "mine.yaml").write_text(own)
    line = refused(reludyn("--config-dir", ".", "init=mine", *QUICK))
    assert line.startswith("hydra.mode=MULTIRUN: is for the command line, or for the file of an")


# --- HYDRA_FULL_ERROR -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        "init.scal=1",
        "model.width=0",
        "seed=${nowhere}",
        "data=guassian",
        "--multirn",
        "hydra/launcher=fused",
        "hydra.run.dir=used",
        "resume=nowhere",
        "-m seed=-1,-2",
        "-m hydra.sweep.subdir=x seed=1,2",
        "-m data.path=x",
        "--config-dir nowhere",
        "data=file data.path=nowhere.npz",
        "replicas=100000000000",
    ],
)
def test_a_trace_comes_with_the_same_reason(
    reludyn: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    """Whatever refuses: options, composing, guards, the job, a sweep."""
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "DONE").touch()
    place = ["hydra.sweep.dir=sweep"] if "-m" in words else []
    overrides = *words.split(), *place, *QUICK
    without = reludyn(*overrides)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    traced = reludyn(*overrides)
    assert without.errors
    assert (traced.errors, traced.code) == (without.errors, without.code)
    assert "Traceback (most recent call last)" in traced.err


# --- The working folder -----------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ["signal.py", "random.py", "select.py", "torch.py", "yaml"])
def test_a_file_with_the_name_of_a_module_is_named(tmp_path: Path, name: str) -> None:
    """`python -m` looks in the working folder first: it ended in a trace of someone else's."""
    file = tmp_path / name
    if not file.suffix:
        file.mkdir()
        file = file / "__init__.py"
    file.touch()
    ended = process(sys.executable, "-m", "reludyn", *QUICK, where=tmp_path)
    (line,) = ended.stderr.splitlines()
    assert ended.returncode == 2
    assert line.startswith(f"reludyn: error: ./{name}: has the name of a module")


def test_a_sweep_names_what_its_processes_would_import(reludyn: Command, tmp_path: Path) -> None:
    """They look in the working folder first, and died with a trace."""
    (tmp_path / "signal.py").touch()
    (tmp_path / "mine.py").touch()
    (tmp_path / "random").mkdir()  # without __init__.py: Python goes past it
    line = refused(reludyn("-m", "hydra/launcher=joblib", "seed=1,2", *QUICK))
    assert line.startswith("hydra/launcher=joblib: starts processes that would import ./signal.py")
    assert reludyn(*QUICK).code == 0


def test_a_working_folder_that_is_gone_is_named(
    reludyn: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder of the run was blamed."""
    gone = tmp_path / "gone"

    def leave() -> None:
        gone.mkdir()
        monkeypatch.chdir(gone)
        shutil.rmtree(gone)

    monkeypatch.setattr("reludyn.cli.prepare_hydra", leave)
    assert refused(reludyn(*QUICK)) == "the working folder is gone: change to another one"


# --- What has no effect -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("hydra.verbose=reludyn.nothing", "must be true, false, or names of loggers"),
        ("hydra.verbose=[reludyn,anything]", "must be true, false, or names of loggers"),
        ("+hydra.launcher.n_jobs=2", "is for a sweep. Add -m"),
        ("hydra.sweeper.max_batch_size=2", "is for a sweep. Add -m"),
        ("hydra.sweep.dir=here", "is for a sweep. Add -m, or give hydra.run.dir"),
        ("-m hydra.run.dir=here", "is for one run. Use hydra.sweep.dir=here"),
    ],
)
def test_a_key_of_hydra_s_without_effect_is_refused(
    reludyn: Command, tmp_path: Path, words: str, line: str
) -> None:
    """It was taken, and the folder was another one than the one that was given."""
    assert line in refused(reludyn(*words.split(), *QUICK))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name", ["reludyn.training", "reludyn.experiment.results", "torch", "HYDRA"]
)
def test_a_logger_is_taken(reludyn: Command, name: str) -> None:
    assert reludyn(*QUICK, f"hydra.verbose={name}").code == 0
    logging.getLogger(name).setLevel(logging.NOTSET)
