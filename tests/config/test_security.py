"""A config, a checkpoint, or a data file from a stranger runs no code and writes nowhere else."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
from omegaconf import OmegaConf

import reludyn as package
from reludyn.config.security import LOGGING, TARGETS
from tests.support.commands import COMMAND, QUICK, Command, Finished, process, refused

GLOBAL = "# @package _global_\n"
MORE = ("trainer.steps=7", "resume_allow=[trainer.steps]")
HARM = "harm"  # what an attempt would make in the working directory
MKDIR = f"{{_target_: os.mkdir, path: {HARM}}}"
CALL = f"{{_target_: reludyn.cli.os.mkdir, path: {HARM}}}"  # through a module of the package
HANDLER = f"{{'()': os.mkdir, path: {HARM}}}"
LOG = "{version: 1, root: {handlers: [h], level: INFO}, handlers: {h: %s}}"


@pytest.fixture
def stranger(reludyn: Command, tmp_path: Path) -> Command:
    """A run with an experiment file that somebody else has written."""

    def run(text: str, *arguments: str) -> Finished:
        file = tmp_path / "theirs" / "experiment" / "x.yaml"
        file.parent.mkdir(parents=True)
        file.write_text(GLOBAL + text)
        return reludyn("--config-dir", "theirs", *arguments, "experiment=x", *QUICK)

    return run


def nothing_happened(finished: Finished) -> str:
    """The one line; and no file, no folder beside those of the stranger."""
    line = refused(finished)
    assert {path.name for path in finished.where.iterdir()} <= {"theirs"}
    return line


# --- Code -------------------------------------------------------------------------------------

CODE = {
    f"hydra: {{callbacks: {{x: {MKDIR}}}}}": "hydra.callbacks.x._target_=os.mkdir: must be",
    f"hydra: {{callbacks: {{x: {CALL}}}}}": "hydra.callbacks.x._target_=reludyn.cli.os.mkdir",
    f"hydra: {{callbacks: {{folders: {MKDIR}}}}}": "hydra.callbacks.folders._target_=os.mkdir",
    "hydra: {callbacks: {x: {_target_: torch.optim.adam.torch.save, obj: 1, f: harm}}}": "_target_",
    f"hydra: {{callbacks: {{x: {{_target_: torch.optim.Adam, params: {MKDIR}}}}}}}": "params._targ",
    "hydra: {callbacks: {x: '${oc.create:\"{_target_: os.mkdir, path: harm}\"}'}}": "interpolation",
    f"hydra: {{verbose: {MKDIR}, callbacks: {{x: '${{hydra.verbose}}'}}}}": "x=${hydra.verbose}",
    "hydra: {callbacks: {x: {_target_: '${oc.env:EVIL}', path: harm}}}": "_target_=${oc.env:EVIL}",
    "hydra: {callbacks: {x: {_target_: [os.mkdir]}}}": "hydra.callbacks.x._target_",
    "hydra: {callbacks: {x: 3}}": "hydra.callbacks.x=3: must have a _target_",
    "hydra: {callbacks: {folders: null}}": "hydra.callbacks.folders=null",
    "hydra: {launcher: {_target_: os.getcwd}}": "hydra.launcher._target_=os.getcwd",
    "hydra: {sweeper: {_target_: os.getcwd}}": "hydra.sweeper._target_=os.getcwd",
    f"hydra: {{sweeper: {{params: {MKDIR}}}}}": "hydra.sweeper.params._target_",
    f"hydra: {{job_logging: {LOG % HANDLER}}}": "hydra.job_logging.handlers.h.()=os.mkdir",
    f"hydra: {{hydra_logging: {LOG % HANDLER}}}": "hydra.hydra_logging.handlers.h.()=os.mkdir",
    f"hydra: {{job_logging: {LOG % '{class: os.mkdir}'}}}": "handlers.h.class=os.mkdir",
    f"hydra: {{job_logging: {LOG % '{class: theirs.code.H}'}}}": "handlers.h.class=theirs.code.H",
    "hydra: {job_logging: {formatters: {simple: {class: theirs.code}}}}": "class=theirs.code",
    "hydra: {job_logging: {formatters: {simple: {format: 'ext://theirs.code'}}}}": "ext://theirs",
    "hydra: {job_logging: {handlers: {console: {level: 'cfg://handlers'}}}}": "cfg://handlers",
    "hydra: {job_logging: {handlers: {console: {level: '${hydra.job.name}'}}}}": "as it is",
    "hydra: {job_logging: {handlers: {file: {.: {baseFilename: harm}}}}}": "attributes",
    "hydra: {job: {env_set: {CXX: /tmp/evil}}}": "hydra.job.env_set.CXX=/tmp/evil: is for the comm",
    "hydra: {searchpath: ['pkg://theirs']}": "experiment/x",  # Hydra's own: primary config only
    "hydra: {sweeper: {params: {hydra.job.env_set.CXX: x, seed: '0'}}, mode: MULTIRUN}": "CXX",
}


@pytest.mark.quick(8)
@pytest.mark.parametrize("mode", [[], ["-m", "seed=0,1"]], ids=["run", "sweep"])
@pytest.mark.parametrize("text", CODE)
def test_a_file_of_a_stranger_runs_no_code(
    stranger: Command, text: str, mode: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVIL", "os.mkdir")
    monkeypatch.syspath_prepend(tmp_path)
    code = tmp_path / "theirs" / "code.py"
    finished = stranger(text, *mode)
    assert not code.exists()
    assert CODE[text] in nothing_happened(finished)


@pytest.mark.quick(5)
@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["+hydra.callbacks.x._target_=os.mkdir", f"+hydra.callbacks.x.path={HARM}"], "os.mkdir"),
        ([f"+hydra.callbacks.x={MKDIR}"], "hydra.callbacks.x._target_"),
        (["++hydra.launcher._target_=os.mkdir"], "hydra.launcher._target_"),
        (["++hydra.sweeper._target_=os.getcwd"], "hydra.sweeper._target_"),
        (["hydra.job_logging.handlers.console.class=os.mkdir"], "console.class"),
        (["hydra.launcher=null"], "hydra.launcher=null: must be a group of keys"),
        (["~hydra.callbacks.folders"], "hydra.callbacks.folders: cannot be left out"),
        (["hydra.searchpath=[pkg://antigravity]"], "must be a folder, not a package"),
        (["--config-path", "pkg://antigravity"], "must be a folder, not a package"),
    ],
)
@pytest.mark.parametrize("mode", [[], ["-m"]], ids=["run", "sweep"])
def test_overrides_name_no_other_code(
    reludyn: Command, overrides: list[str], named: str, mode: list[str]
) -> None:
    assert named in nothing_happened(reludyn(*mode, *QUICK, *overrides))


@pytest.mark.parametrize("what", [["--cfg", "job"], ["--hydra-help"], ["--info", "config"]])
def test_nothing_is_made_of_a_config_that_is_shown(reludyn: Command, what: list[str]) -> None:
    """Hydra logs there as the config says."""
    finished = reludyn(*what, "+hydra.hydra_logging.handlers.console.()=os.mkdir")
    assert "hydra.hydra_logging.handlers.console.()=os.mkdir" in nothing_happened(finished)


LAUNCH = {
    "submitit_slurm": "setup: ['mkdir harm']",
    "submitit_local": "submitit_folder: /tmp/elsewhere",
    "ray": "ray: {init: {runtime_env: {worker_process_setup_hook: os.getcwd}}}",
    "ray ": "ray: {init: {address: 'their.host:6379'}}",
    "submitit_slurm ": 'comment: "a\\nmkdir harm"',
    "submitit_slurm  ": "additional_parameters: {wrap: mkdir harm}",
    "joblib": "temp_folder: /tmp/elsewhere",
}


@pytest.mark.quick(3)
@pytest.mark.parametrize("name", LAUNCH)
def test_a_launcher_of_a_stranger_reaches_no_shell_and_no_other_machine(
    stranger: Command, name: str
) -> None:
    plugin = {"s": "submitit_launcher", "r": "ray_launcher", "j": "joblib_launcher"}[name[0]]
    pytest.importorskip(f"hydra_plugins.hydra_{plugin}")
    text = f"defaults: [{{override /hydra/launcher: {name.strip()}}}]\n"
    text += f"hydra: {{launcher: {{{LAUNCH[name]}}}}}"
    line = nothing_happened(stranger(text, "-m", "seed=0,1"))
    assert line.startswith("hydra.launcher.")
    assert "for the command line" in line or "one line of printable characters" in line


def test_on_the_command_line_the_environment_is_the_user_s_own(reludyn: Command) -> None:
    assert reludyn(*QUICK, "+hydra.job.env_set.OMP_NUM_THREADS=1").code == 0


def test_a_value_of_the_command_line_cannot_be_replaced_by_a_stranger_s(stranger: Command) -> None:
    text = "hydra: {sweeper: {params: {++hydra.job.env_set.CXX: /tmp/evil}}}"
    line = nothing_happened(stranger(text, "-m", "seed=0,1", "+hydra.job.env_set.CXX=c++"))
    assert "hydra.job.env_set.CXX=/tmp/evil" in line


def test_pickled_configs_are_refused(reludyn: Command, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.mkdir, (tmp_path / HARM,)

    (tmp_path / "theirs").write_bytes(pickle.dumps(Bomb()))
    for option in (["--experimental-rerun", "theirs"], ["--exp=theirs"], ["--e", "theirs"]):
        assert "is a pickle" in nothing_happened(reludyn(*option))


def test_overrides_of_hydra_in_a_checkpoint_are_left_out(reludyn: Command, tmp_path: Path) -> None:
    """A forged one: Hydra's keys are the user's."""
    assert reludyn(*QUICK, "hydra.run.dir=run").code == 0
    file = tmp_path / "run" / "checkpoints" / "last.pt"
    from reludyn.training.checkpoint import load_checkpoint, save_checkpoint

    checkpoint = load_checkpoint(file)
    checkpoint.origin["overrides"] = [*QUICK, "+hydra.job.env_set.EVIL=1", "hydra.mode=MULTIRUN"]
    save_checkpoint(file, checkpoint)
    again = reludyn("resume=run", *MORE, "hydra.run.dir=on")
    assert again.code == 0
    hydra = OmegaConf.load(tmp_path / "on" / ".hydra" / "hydra.yaml").hydra
    assert (hydra.job.env_set, str(hydra.mode)) == ({}, "RUN")


def test_what_the_config_files_name_is_allowed() -> None:
    """Every target of conf/ is in the list, and every one of the list's own files is there."""
    from reludyn.config.parse import conf_directory

    text = "\n".join(path.read_text() for path in conf_directory().rglob("*.yaml"))
    for line in text.splitlines():
        key, _, value = line.strip().partition(": ")
        assert key != "_target_" or value in TARGETS
        assert key != "class" or value in LOGGING
    for name in TARGETS[:3]:
        module, _, attribute = name.rpartition(".")
        assert hasattr(__import__(module, fromlist=[attribute]), attribute)


@pytest.mark.parametrize("name", ["job_logging=default", "job_logging=stdout", "job_logging=none"])
def test_hydra_s_own_options_are_allowed(reludyn: Command, name: str) -> None:
    assert reludyn(*QUICK, f"hydra/{name}").code == 0


def test_in_python_the_same_is_refused() -> None:
    with pytest.raises(ValueError, match=r"_target_=os\.mkdir: must be"):
        package.train("+hydra.callbacks.x._target_=os.mkdir")


def test_the_guard_is_for_reludyn_s_own_configs(tmp_path: Path) -> None:
    """A Hydra application of the user's, which also trains, may name its own code."""
    from hydra import compose, initialize_config_dir

    (tmp_path / "config.yaml").write_text("part: {_target_: my.code}\n")
    package.train(*QUICK)
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        assert compose("config").part._target_ == "my.code"


# --- Places -----------------------------------------------------------------------------------


@pytest.mark.quick(5)
@pytest.mark.parametrize("mode", [[], ["-m", "seed=0,1"]], ids=["run", "sweep"])
@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("name=../../x", "it names a folder"),
        ("name=/tmp/x", "it names a folder"),
        ("name=a/../../x", "it names a folder"),
        ("name='${hydra.job.name}/../../x'", "it names a folder"),
        ("hydra.job.name=../x", "it names the log file"),
        ("hydra.job.name=/tmp/x", "it names the log file"),
        ("hydra.job.name=a/b", "it names the log file"),
        ("hydra.job.name='${hydra.job.num}/../../x'", "it names the log file"),
        ("hydra.output_subdir=../../x", "must be a folder inside that of the run"),
        ("hydra.output_subdir=/tmp/x", "must be a folder inside that of the run"),
        ("hydra.sweep.subdir=../../x", "must be a folder inside that of the run"),
        ("hydra.sweep.subdir=/tmp/x", "must be a folder inside that of the run"),
        ("hydra.job_logging.handlers.file.filename=/tmp/x", "must be a file in the folder"),
        ("hydra.job_logging.handlers.file.filename=x.log", "must be a file in the folder"),
    ],
)
def test_no_file_is_written_outside_the_folder_of_the_run(
    reludyn: Command, override: str, said: str, mode: list[str]
) -> None:
    assert said in nothing_happened(reludyn(*mode, *QUICK, override))


def test_a_value_that_names_a_folder_does_not_lead_out_of_the_sweep(reludyn: Command) -> None:
    finished = reludyn(
        "-m",
        *QUICK[1:],
        "trainer.steps=5",
        "hydra.sweep.dir=a/b",
        "hydra.sweep.subdir='${hydra.job.override_dirname}'",
        "data.target_path=null,x/../../../y.npy",
    )
    assert "must lie inside the folder of the sweep" in nothing_happened(finished)


def test_the_folder_of_a_run_is_the_user_s_choice(reludyn: Command, tmp_path: Path) -> None:
    assert reludyn(*QUICK, f"hydra.run.dir={tmp_path}/a/../b").code == 0
    assert (tmp_path / "b" / "DONE").exists()


@pytest.mark.parametrize(
    "folder",
    [
        "proj",
        "/tmp/x",
        "outputs",
        "outputs/../proj",
        "outputs_/x",
        "${oc.env:HOME}/x",
        "outputs/${name}/../../x",
    ],
)
@pytest.mark.parametrize(
    ("key", "mode"), [("run", []), ("sweep", ["-m", "seed=0,1"])], ids=["run", "sweep"]
)
def test_a_config_file_chooses_no_folder_outside_outputs(
    stranger: Command, folder: str, key: str, mode: list[str]
) -> None:
    line = nothing_happened(stranger(f"hydra: {{{key}: {{dir: '{folder}'}}}}\nresume: auto", *mode))
    assert line.startswith(f"hydra.{key}.dir=")
    assert "must lie below outputs/ where it comes from a config file" in line


def test_a_config_file_chooses_a_folder_in_outputs(stranger: Command, tmp_path: Path) -> None:
    assert stranger("hydra: {run: {dir: 'outputs/mine/${name}'}}").code == 0
    assert (tmp_path / "outputs" / "mine" / "x" / "DONE").exists()


def test_the_command_line_chooses_before_a_config_file(stranger: Command, tmp_path: Path) -> None:
    """Also by other keys, whose values are known later."""
    assert stranger("hydra: {run: {dir: /tmp/x}}", "hydra.run.dir='at/${name}_${seed}'").code == 0
    assert (tmp_path / "at" / "x_0" / "DONE").exists()


def test_a_sweep_of_a_stranger_s_keys_does_not_move(stranger: Command) -> None:
    text = "hydra: {sweeper: {params: {hydra.sweep.dir: /tmp/x}}}"
    line = nothing_happened(stranger(text, "-m", "seed=0,1", "hydra.sweep.dir=s"))
    assert line.startswith("hydra.sweep")


# --- Sizes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sweep", ["seed=range(1000000000)", "seed=range(0,1,1e-9)", "init.scale=range(0.5,1e300)"]
)
def test_a_sweep_that_cannot_be_listed_is_refused(reludyn: Command, sweep: str) -> None:
    line = nothing_happened(reludyn("-m", *QUICK, sweep))
    assert line.startswith(f"{sweep.partition('=')[0]}: gives ")
    assert "it may have 100,000" in line


@pytest.mark.parametrize("sweep", ["seed=range(0,inf)", "seed=range(0,1,0.0)", "seed=range(nan,2)"])
def test_a_sweep_without_an_end_is_refused(reludyn: Command, sweep: str) -> None:
    assert "needs finite steps" in nothing_happened(reludyn("-m", *QUICK, sweep))


LAUGHS = "\n".join(
    ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
)
MERGED = "\n".join(
    ["m0: &m0 {x: 1, y: 2}"]
    + [f"m{i}: &m{i} {{<<: [{', '.join([f'*m{i - 1}'] * 9)}]}}" for i in range(1, 12)]
)
CHAIN = "\n".join(["c0: &c0 [1]"] + [f"c{i}: &c{i} [*c{i - 1}]" for i in range(1, 500)])


@pytest.mark.quick(3)
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (LAUGHS, "stands for more than 20,000 values"),
        (MERGED, "stands for more than 20,000 values"),
        (CHAIN, "is nested deeper than 30 levels"),
        ("a: &a [*a]", "is nested deeper than 30 levels"),
        ("a: " + "[" * 5000 + "]" * 5000, "is nested deeper than 30 levels"),
        ("# " + "x" * 2**20, "a config file has at most 1 MiB"),
        ("a: \x00", "must be text in UTF-8"),
        ("a: !!python/object/apply:os.mkdir [harm]", "this is not YAML"),
        ("seed: " + "1" * 5000, "Hydra cannot use this: ValueError: Exceeds the limit"),
    ],
)
def test_a_file_that_stands_for_too_much_is_refused(
    stranger: Command, text: str, said: str
) -> None:
    assert said in nothing_happened(stranger(text))


def test_what_is_not_text_is_refused(reludyn: Command, tmp_path: Path) -> None:
    file = tmp_path / "theirs" / "experiment" / "x.yaml"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"# @package _global_\nname: \xff\xfe")
    finished = reludyn("--config-dir", "theirs", "experiment=x")
    assert "must be text in UTF-8" in nothing_happened(finished)


def test_a_message_is_one_short_line(reludyn: Command) -> None:
    line = nothing_happened(reludyn("name='a\nb\x1b[31m'"))
    assert line.startswith(r"name=a\nb\x1b[31m: must be")
    assert len(nothing_happened(reludyn(f"name='{'/' * 10_000}'"))) < 1500


def test_in_a_process_of_its_own(tmp_path: Path) -> None:
    """The installed command, without anything of this one."""
    finished = process(
        COMMAND, f"+hydra.callbacks.x={MKDIR}", *QUICK, where=tmp_path, HYDRA_FULL_ERROR="0"
    )
    assert finished.returncode == 2
    assert len(finished.stderr.splitlines()) == 2
    assert os.listdir(tmp_path) == []
