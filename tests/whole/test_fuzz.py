"""Generated overrides and config files: each runs, or ends in one line."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import reludyn.experiment.run
from reludyn.config.compose import configure
from reludyn.config.parse import OPTIONS, conf_directory
from reludyn.config.schema import Config
from tests.support.commands import QUICK, run_command
from tests.support.fuzzing import MARKS, cases, ended, one_line, soon

EXPERIMENTS = sorted(path.stem for path in conf_directory().glob("experiment/*.yaml"))
pytestmark = MARKS


# --- Overrides --------------------------------------------------------------------------------

KEYS = sorted(
    {f.name for f in fields(Config)}
    | {
        f"{g}.{f.name}"
        for g, options in OPTIONS.items()
        for s in options.values()
        for f in fields(s)
    }
)
HYDRA_KEYS = [
    "hydra",
    "hydra.verbose",
    "hydra.mode",
    "hydra.job",
    "hydra.job.name",
    "hydra.job.num",
    "hydra.job.chdir",
    "hydra.job.env_copy",
    "hydra.job.env_set",
    "hydra.job.env_set.X",
    "hydra.output_subdir",
    "hydra.searchpath",
    "hydra.launcher",
    "hydra.launcher._target_",
    "hydra.sweeper",
    "hydra.sweeper.params",
    "hydra.callbacks",
    "hydra.callbacks.folders",
    "hydra.callbacks.x",
    "hydra.job_logging",
    "hydra.job_logging.root",
    "hydra.hydra_logging",
    "hydra.job_logging.handlers.file.filename",
    "hydra.job_logging.handlers.file.class",
    "hydra.job_logging.version",
    "hydra.overrides.task",
    "hydra.runtime.choices",
    "hydra.sweep",
    "hydra.runtime",
    "hydra.runtime.output_dir",
    "hydra.job.override_dirname",
    "hydra.help",
    "hydra/launcher",
    "hydra/job_logging",
    "hydra/output",
    "hydra/sweeper",
    "hydra/callbacks",
]
WRONG = [
    "_target_",
    "reludyn",
    "reludyn/root",
    "data.",
    ".data",
    "data..dim",
    "data.dim.x",
    "optim.lr",
    "init@model",
    "data@data",
    "data@_global_",
    "trainer/default",
    "a:b",
    "-1",
    "0",
    "é",
    "config",
    "experiment@init",
    "scale",
    "data.sample",
    "model.widht",
    "init.W.0",
    "init.W[0]",
    "+",
    "~",
]
WORDS = [
    "",
    "null",
    "true",
    "false",
    "nan",
    "inf",
    "-inf",
    "-0.0",
    "0",
    "1",
    "-1",
    "2.5",
    "1e308",
    "1e-308",
    "1e400",
    "5e-324",
    str(10**30),
    str(2**63),
    str(-(2**63)),
    str(2**53),
    "1e30",
    "9" * 5000,
    "0x10",
    "1_000",
    "1,2",
    "[1",
    "]",
    "{",
    "}",
    "{a:1}",
    "{a:{b:[1,2]}}",
    "[]",
    "[[]]",
    "[1,2,3]",
    "[a,[b,{c:d}]]",
    "'",
    '"',
    "'a",
    '"a',
    "\\",
    "a b",
    "a'b",
    "${",
    "${}",
    "${x}",
    "${seed}",
    "${data.dim}",
    "${init}",
    "${oc.env:HOME}",
    "${oc.env:NOWHERE}",
    "${hydra:job}",
    "${oc.create:{a:1}}",
    "${oc.decode:'1'}",
    "${now:%Y}",
    "${reludyn.experiment:}",
    "${a:b}",
    "$",
    "???",
    "../../x",
    "/",
    ".",
    "..",
    "~",
    "#",
    "%",
    "!",
    "é",
    "\u202e",
    "\x00",
    "\n",
    "\t",
    "\x1b[31m",
    "\udcff",
    "𝔞",
    "x" * 10_000,
    "[" * 50,
    "[" * 2000,
    "a=b",
    "==",
    "range(3)",
    "choice(1,2)",
    "interval(0,1)",
    "glob(*)",
    "sort(3,1)",
    "shuffle(1,2)",
    "tag(a,1)",
    "int(3.2)",
    "float(x)",
    "str(3)",
    "bool(x)",
    "extend_list(1)",
    "json_str(x)",
    "range(0,1e9)",
    "yes",
    "on",
    "None",
    "!!python/object/apply:os.mkdir",
    "&a",
    "*a",
    "<<",
    "1:30",
    "2001-01-01",
    "pkg://antigravity",
]

numbers = st.one_of(
    st.integers().map(str),
    st.integers(-3, 10).map(str),
    st.floats().map(str),
    st.integers(1, 400).map(lambda digits: f"1e{digits}"),
    st.integers(1, 40).map(lambda digits: str(10**digits)),
)
choices = sorted({o for options in OPTIONS.values() for o in options} | {*EXPERIMENTS})
one_of = sorted(
    {
        w
        for options in OPTIONS.values()
        for s in options.values()
        for f in fields(s)
        for w in f.metadata.get("one_of", ())
    }
)
values = st.one_of(
    numbers,
    st.sampled_from(WORDS),
    st.sampled_from(choices),
    st.sampled_from(one_of),
    st.text(max_size=20),
)
groups = st.sampled_from(
    [f"{g}={o}" for g, options in OPTIONS.items() for o in options]
    + [f"experiment={name}" for name in EXPERIMENTS]
)
keys = st.one_of(
    st.sampled_from(KEYS),
    st.sampled_from(KEYS),
    st.sampled_from(KEYS),
    st.sampled_from([*OPTIONS, "experiment"]),
    st.sampled_from(HYDRA_KEYS),
    st.sampled_from(WRONG),
    st.text(max_size=8),
)
prefixes = st.sampled_from(["", "", "", "", "", "+", "++", "~"])
assignments = st.builds(lambda prefix, key, value: f"{prefix}{key}={value}", prefixes, keys, values)
overrides = st.lists(
    assignments | assignments | assignments | groups | st.text(max_size=20) | prefixes,
    min_size=1,
    max_size=6,
)


@given(words=overrides)
@cases(50)
def test_overrides_give_settings_or_one_line(words: list[str]) -> None:
    with soon():
        try:
            config = configure(*words)
        except ValueError as error:
            one_line(error)
            return
    assert isinstance(config, Config)
    for group in (config, *(getattr(config, name) for name in OPTIONS)):
        for value in vars(group).values():
            assert not isinstance(value, float) or math.isfinite(value)


FLAGS = [
    [],
    [],
    [],
    ["-m"],
    ["--cfg", "job"],
    ["--cfg", "hydra"],
    ["--cfg", "all", "--resolve"],
    ["--info", "defaults"],
    ["--package", "data"],
    ["--hydra-help"],
    ["-sc", "install=bash"],
    ["--config-name", "paper"],
    ["--config-dir", "none"],
    ["--config-path", "none"],
    ["--version"],
]


@given(flags=st.sampled_from(FLAGS), words=overrides)
@cases(12)
def test_a_command_line_ends_in_one_line(flags: list[str], words: list[str]) -> None:
    """Without training."""
    words = [word for word in words if "\x00" not in word]  # no process can be given one
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch, soon():
        patch.setattr(reludyn.experiment.run, "run", lambda *_: "max_steps")
        finished = run_command(Path(folder), *flags, *words, "figures=false")
    assert "Traceback" not in finished.out + finished.err, finished.err
    assert finished.code in (0, 1, 2)
    assert len(finished.errors) == 1 or finished.code != 2 or "usage:" in finished.err


# of sizes that a run of five steps takes at once
SMALL: dict[str, st.SearchStrategy[Any]] = {
    "replicas": st.integers(1, 4),
    "model.width": st.integers(1, 20),
    "data.dim": st.integers(1, 12),
    "data.outputs": st.integers(1, 4),
    "data.samples": st.integers(1, 40),
    "trainer.looks": st.integers(1, 9),
    "trainer.keep_weights": st.integers(0, 5),
    "logger.replicas": st.integers(0, 3),
    "theory.grid": st.integers(2, 5),
    "data.seed": st.integers(0, 2**53),
    "seed": st.sampled_from([0, 1, 2**53 - 4, 2**53]),
}
SLOW = ("theory.stability", "trainer.steps", "trainer.engine", "resume", "resume_allow", "name")
magnitudes = st.sampled_from(
    ["1e-100", "1e-30", "1e-8", "0.01", "0.5", "1", "3", "1e8", "1e30", "1e100", "0", "1e300"]
)


def of_key(schema: type, prefix: str) -> Iterator[st.SearchStrategy[str]]:
    """Overrides that the schema allows, and some at its limits."""
    for field in fields(schema):
        key = prefix + field.name
        if key in SLOW or field.name in (*OPTIONS, "name") or "path" in field.name:
            continue
        if key in SMALL:
            value = SMALL[key]
        elif "bool" in str(field.type):
            value = st.sampled_from(["true", "false"])
        elif field.metadata["one_of"]:
            value = st.sampled_from(field.metadata["one_of"])
        else:
            value = magnitudes
        yield value.map(lambda value, key=key: f"{key}={value}")


@st.composite
def runs(draw: st.DrawFn) -> list[str]:
    """A choice of options and a few of their keys."""
    words, some = [], list(of_key(Config, ""))
    for group, options in OPTIONS.items():
        option = draw(st.sampled_from(sorted(options)))
        if option not in ("file", "digits"):
            words.append(f"{group}={option}")
            some += of_key(options[option], f"{group}.")
    few = draw(st.lists(st.sampled_from(some), max_size=8))
    sizes = ["data.dim=5", "experiment=default", "trainer.tolerance=0"]
    return [*words, *sizes, *(draw(word) for word in few)]


@given(words=runs())
@cases(3)
def test_a_run_ends_with_its_files_or_in_one_line(words: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder, soon():
        finished = run_command(Path(folder), *words, *QUICK[:2])
        ended(finished)


# --- Config files -----------------------------------------------------------------------------

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(WORDS),
)
names = st.one_of(
    st.sampled_from([*OPTIONS, "hydra", "defaults", "seed", "name", "init", "scale", "lr", "dim"]),
    st.sampled_from([key.rpartition(".")[2] for key in KEYS]),
    st.sampled_from(["_target_", "callbacks", "job_logging", "launcher", "handlers", "job"]),
    st.text(max_size=5),
    st.integers(),
    st.booleans(),
    st.none(),
)
trees = st.recursive(
    scalars,
    lambda part: st.lists(part, max_size=3) | st.dictionaries(names, part, max_size=4),
    max_leaves=12,
)
TEXTS = [
    "a: &a [*a]",
    "seed: !!python/object/apply:os.mkdir [x]",
    "seed: !!binary abc",
    "---\n---\n",
    "seed: !x 1",
    "? [a, b]\n: 1",
    "defaults: [x]",
    "defaults: {data: gaussian}",
    "defaults: 3",
    "defaults:\n  - data: [gaussian, file]",
    "defaults: [_self_, _self_]",
    "- 1",
    "seed",
    "3",
    "",
    "defaults: [{override hydra/launcher: nothing}]",
    "defaults: ['${x}']",
    "seed: 1\nseed: 2",
    "defaults: [{/data@x: gaussian}]",
    "defaults: [{override /data: null}]",
    "\ttabs: 1",
    "hydra: {mode: MULTIRUN, sweeper: {params: {seed: 'range(0,1e12)'}}}",
    "%YAML 3.0\n---\na: 1",
    "defaults: [experiment/x]",
    "defaults: [/config]",
    "<<: {seed: 1}",
    "<<: 3",
    "a: *b",
]


def as_yaml(tree: object) -> str:
    import yaml

    return str(yaml.safe_dump(tree, allow_unicode=True))


@given(
    text=trees.map(as_yaml)
    | st.dictionaries(names, trees, max_size=4).map(as_yaml)
    | st.sampled_from(TEXTS)
    | st.text(max_size=60),
    header=st.sampled_from(["# @package _global_\n"] * 4 + ["", "# @package x\n", "# @package"]),
    group=st.sampled_from(["experiment"] * 4 + ["init", "data", "hydra/launcher"]),
)
@cases(8)
def test_a_config_file_ends_in_one_line(text: str, header: str, group: str) -> None:
    """Without training."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch, soon():
        patch.setattr(reludyn.experiment.run, "run", lambda *_: "max_steps")
        file = Path(folder, "mine", group, "x.yaml")
        file.parent.mkdir(parents=True)
        file.write_bytes((header + text).encode(errors="surrogateescape"))
        finished = run_command(Path(folder), "--config-dir", "mine", f"{group}=x", "figures=false")
    assert "Traceback" not in finished.out + finished.err, finished.err
    assert finished.code in (0, 1, 2)
    assert len(finished.errors) == 1 or finished.code != 2
