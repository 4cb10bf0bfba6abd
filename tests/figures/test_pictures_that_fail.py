"""A picture that cannot be drawn costs itself alone: results, DONE and all other pictures are
there, and one line says why it is not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import numpy as np
import pytest
from matplotlib.figure import Figure

from reludyn import figures
from reludyn.config.compose import configure
from reludyn.experiment import live_picture
from reludyn.experiment.live_picture import LivePicture
from reludyn.figures.__main__ import main
from reludyn.figures.style import new_figure, save
from scripts.benchmark import roofline, run
from scripts.benchmark.machine import Ceilings
from tests.support.commands import COMMAND, QUICK, Command, Finished, reludyn_in

DRAWN = ("figures=true", "replicas=2")
RESULTS = {"summary.json", "replicas.csv", "trajectory.npz"}


def broken(*_: object, **__: object) -> NoReturn:
    raise RuntimeError("no fonts\nat all")


@pytest.fixture
def no_phases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(figures.OF_A_REPLICA, "phases", broken)


def warnings_of(run: Finished) -> list[str]:
    log = (run.where / "reludyn.log").read_text()
    return [line for line in log.splitlines() if "WARNING" in line]


@pytest.mark.usefixtures("no_phases")
def test_a_run_lacks_the_one_picture_and_nothing_else(reludyn: Command) -> None:
    """Before, the run ended in a traceback, without summary.json and DONE."""
    ended = reludyn_in(reludyn, "run", *DRAWN)
    assert ended.code == 0
    assert {path.name for path in ended.where.iterdir()} >= {*RESULTS, "DONE"}
    assert {path.name for path in (ended.where / "figures").iterdir()} == {"fan.png", "fan.pdf"}
    (line,) = warnings_of(ended)
    assert line.endswith("there is no picture phases: no fonts at all")
    assert "Traceback" not in ended.out + ended.err


def test_where_nothing_can_be_drawn_a_run_is_complete(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where matplotlib itself cannot be imported."""
    monkeypatch.setattr(figures, "draw", broken)
    ended = reludyn_in(reludyn, "run", *DRAWN)
    assert ended.code == 0
    assert {path.name for path in ended.where.iterdir()} >= {*RESULTS, "DONE"}
    assert len(warnings_of(ended)) == 1


def test_results_come_before_pictures_and_done_after(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = set[str]()

    def looking(run: object, _: int) -> Figure:
        seen.update(path.name for path in Path("run").iterdir())
        json.loads(Path("run", "summary.json").read_text())
        return new_figure()

    monkeypatch.setitem(figures.OF_A_REPLICA, "phases", looking)
    assert reludyn_in(reludyn, "run", *DRAWN).code == 0
    assert seen >= RESULTS
    assert "DONE" not in seen


@pytest.mark.slow
@pytest.mark.usefixtures("no_phases")
def test_a_trace_is_shown_to_who_asks_for_it(reludyn: Command) -> None:
    ended = reludyn_in(reludyn, "run", *DRAWN, "hydra.verbose=true")
    assert ended.code == 0
    assert "in broken" in (ended.where / "reludyn.log").read_text()


def test_a_sweep_without_its_picture_has_its_tables(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "draw_sweep", broken)
    words = ["-m", *QUICK, "figures=true", "picture=stuck", "hydra.sweep.dir=s", "model.width=1,2"]
    ended = reludyn(*words)
    assert ended.code == 0
    assert {"sweep.csv", "sweep_summary.csv"} <= {
        path.name for path in Path(ended.where, "s").iterdir()
    }
    assert ended.out.count("no picture: no fonts at all\n") == 1


def test_a_run_goes_on_without_its_live_picture(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is not tried again: the reason would be the same, and the log long."""
    clock = iter([0.0, 60.0, 600.0, 6000.0])
    monkeypatch.setattr(live_picture, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr("reludyn.figures.in_progress", broken)
    picture = LivePicture(configure(), broken, dict)
    clocks = ("T_align", "T_growth", "T_converged")
    look: Any = SimpleNamespace(step=0, loss=[1.0], **dict.fromkeys(clocks, np.array([-1])))
    for _ in range(3):
        picture.record(look)
    (record,) = caplog.records
    assert record.getMessage() == "there is no picture while the run goes on: no fonts at all"


@pytest.mark.usefixtures("no_phases")
def test_other_pictures_are_drawn_again(
    fig3: Finished,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those of the same folder and of the next ones; the exit code says that some are missing."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        shutil.copytree(fig3.folder / ".hydra", tmp_path / name / ".hydra")
        for file in ("replicas.csv", "trajectory.npz", "summary.json"):
            shutil.copy(fig3.folder / file, tmp_path / name)
    (tmp_path / "one" / "trajectory.npz").write_bytes(b"PK")
    some = {name: figures.OF_A_REPLICA[name] for name in ("phases", "loss")}  # a second each
    monkeypatch.setattr(figures, "OF_A_REPLICA", some)
    folders = [str(tmp_path / name) for name in ("one", "two")]
    with pytest.raises(SystemExit) as ended:
        main([*folders, "--picture", "all"])
    damaged, phases = str(ended.value).splitlines()
    assert damaged.startswith(f"reludyn-figures: error: {folders[0]}/trajectory.npz is damaged")
    assert phases == "reludyn-figures: error: phases: no fonts at all"
    printed = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert all(path.exists() for path in printed)
    assert {path.stem for path in printed} == {"loss"}


@pytest.mark.parametrize("kind", ["figure", "animation"])
def test_a_picture_that_fails_halfway_leaves_the_earlier_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, fig3: Finished
) -> None:
    drawn: Any = new_figure()
    if kind == "animation":
        drawn = figures.animate(figures.load_run(fig3.folder), frames=2)
    earlier = {path: path.read_bytes() for path in save(drawn, tmp_path, "name")}

    def half(self: object, target: Any, **_: object) -> None:
        if hasattr(target, "write"):
            target.write(b"half")
        else:
            Path(target).write_bytes(b"half")
        broken()

    monkeypatch.setattr(type(drawn), "savefig" if kind == "figure" else "save", half)
    with pytest.raises(RuntimeError):
        save(drawn, tmp_path, "name")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == earlier


def test_the_table_of_the_benchmark_needs_no_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roofline, "draw_roofline", broken)
    said: list[str] = []
    run.benchmark(tmp_path, [], Ceilings(1.0, 1.0), 1, 1e-5, say=said.append)
    assert said[-1] == "no picture: no fonts at all"
    assert (tmp_path / "table.md").exists()


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "nonsense"])
def test_the_commands_have_a_backend_of_their_own(backend: str) -> None:
    """What is started from a notebook inherits the name of a backend that may not be there."""
    code = "import reludyn.__main__, reludyn.figures"
    given = os.environ | {"MPLBACKEND": backend}
    ended = subprocess.run([sys.executable, "-c", code], env=given, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize("script", ["reludyn.paper", "scripts.long_run"])
def test_so_have_the_scripts(script: str) -> None:
    given = os.environ | {"MPLBACKEND": "nonsense"}
    command = [sys.executable, "-m", script, "--help"]
    ended = subprocess.run(command, env=given, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.slow
def test_a_sweep_from_a_notebook(tmp_path: Path) -> None:
    """Every job has its picture, and so has the sweep."""
    words = ["-m", "trainer.steps=5", "hydra.sweep.dir=s", "init.scale=0.1,0.2"]
    given = os.environ | {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    ended = subprocess.run(
        [COMMAND, *words], cwd=tmp_path, env=given, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    drawn = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.png")}
    assert drawn == {"s/0/figures/phases.png", "s/1/figures/phases.png", "s/figures/sweep.png"}


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        pytest.param(b"font.family: [\naxes.titlesize: banana", 0, "", marks=pytest.mark.slow),
        (b"\xff\xfe", 1, "can't decode"),
    ],
)
def test_a_broken_matplotlibrc(
    fig3: Finished, tmp_path: Path, text: bytes, code: int, said: str
) -> None:
    """One that matplotlib cannot read at all is one line of `reludyn-figures`."""
    (tmp_path / "matplotlibrc").write_bytes(text)
    folder = shutil.copytree(fig3.folder, tmp_path / "copy")
    given = os.environ | {"MPLCONFIGDIR": str(tmp_path)}
    command = [str(Path(COMMAND).with_name("reludyn-figures")), str(folder)]
    ended = subprocess.run(command, env=given, capture_output=True, text=True)
    assert ended.returncode == code
    errors = [line for line in ended.stderr.splitlines() if "WARNING" not in line]
    assert [said in line for line in errors if "reludyn-figures: error: " in line] == [True] * code
    assert "Traceback" not in ended.stderr
