"""What a person sees while a run goes on: a bar and lines in a terminal, nothing in a pipe."""

from __future__ import annotations

import io
import logging
import os
import pty
import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from reludyn.experiment import expectations, run
from reludyn.network.outcomes import Event
from reludyn.recording.console import milestones, progress
from reludyn.recording.console.pace import Pace
from reludyn.recording.console.progress import ProgressReport
from reludyn.recording.console.stages import Stages
from reludyn.recording.look import Look, Share
from reludyn.recording.theory_observer import Beside
from reludyn.training.engine import Engine
from tests.support.commands import COMMAND, QUICK, Command, Finished

CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def seen(step: int, **given: Sequence[float]) -> Look:
    """A look at R replicas: only what is given, and nothing has happened yet."""
    R = len(next(iter(given.values())))
    arrays: dict[str, Any] = {name: np.array(x) for name, x in given.items()}
    never, layer = np.full(R, -1), np.zeros((R, 2))
    times = {name: arrays.pop(name, never) for name in ("T_align", "T_growth", "T_converged")}
    diverged = arrays.pop("diverged", never >= 0)
    return Look(
        steps=np.full(R, step),
        times=np.full(R, 0.1 * step),
        diverged=diverged,
        going=arrays.pop("going", ~diverged & (times["T_converged"] < 0)),
        measured={"loss": arrays.pop("loss", np.full(R, 0.5)), "w_norm": layer},
        beside=Beside(),
        W=layer,
        V=layer,
        **times,
        **arrays,
    )


# --- The words --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reached", "predicted", "said"),
    [
        ([88], [88], "alignment ended at 88 (predicted 88)"),
        ([1234], [-1], "alignment ended at 1,234"),
        ([1234], None, "alignment ended at 1,234"),
        ([90, 70, 80], None, "alignment ended at 80 (median of 3, 70 to 90)"),
        ([90, 70], [60, 81], "alignment ended at 80 (median of 2, 70 to 90; predicted 70.5)"),
        ([-1, 7, 9], [5, -1, 9], "alignment ended at 8 (median of 2 of 3, 7 to 9; predicted 7)"),
        ([7, 9], [5, -1], "alignment ended at 8 (median of 2, 7 to 9; predicted 5 in 1)"),
    ],
)
def test_an_event_in_words(reached: list[int], predicted: list[int] | None, said: str) -> None:
    known = None if predicted is None else np.array(predicted)
    assert milestones.line(Event.ALIGNED, np.array(reached), known) == said


def test_only_what_has_happened_is_said() -> None:
    reached = {"T_align": [3, 5], "T_growth": [-1, 9], "T_converged": [-1, -1]}
    times = {Event(name): np.array(x) for name, x in reached.items()}
    diverged = np.array([True, False])
    assert list(milestones.lines(times, {}, diverged, {"T_align"})) == [
        "growth ended at 9 (median of 1 of 2, 9 to 9)",
        "1 of 2 replicas diverged",
    ]


# --- Before and after -------------------------------------------------------------------------


@pytest.mark.parametrize("terminal", [True, False])
def test_what_is_being_done_is_said_in_a_terminal(clock: list[float], terminal: bool) -> None:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=80, color_system=None)
    with Stages(console, "setting up") as say:
        assert say.row().plain == "setting up"
        clock[0] = 3.9
        assert say.row().plain == "setting up, 3 s"
        say("drawing the figures")
        assert say.row().plain == "drawing the figures"
    assert isinstance(console.file, io.StringIO)
    assert ("drawing the figures" in console.file.getvalue()) is terminal


# --- The bar ----------------------------------------------------------------------------------


def report(steps: int, width: int = 80, **given: Any) -> ProgressReport:
    console = Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None)
    return ProgressReport(console, [0, 1, 2, steps], **given)


def printed(report: ProgressReport) -> str:
    assert isinstance(report.console.file, io.StringIO)
    return CODES.sub("", report.console.file.getvalue())


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that have passed."""
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


EARLY = {"T_align": [-1] * 2500 + [9] * 7500, "T_growth": [-1] * 5012 + [11] * 4988}
MANY = seen(
    9_999_000, **EARLY, T_converged=[-1] * 7500 + [99] * 2500, diverged=[True, *[False] * 9999]
)


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("look", [seen(9_999_000, T_align=[88]), MANY], ids=["one", "10,000"])
def test_the_bar_fits_and_uses_the_room(look: Look, width: int, clock: list[float]) -> None:
    shown = report(10_000_000, width)
    shown.record(look)
    clock[0] = 400.0
    shown.made(4_999_500)
    shown.made(9_999_000)
    shown.console.print(shown._bar())
    row, phases = printed(shown).splitlines()[-2:]
    assert len(row) <= width
    assert len(phases) <= width - 2  # room for ^C
    assert "…" not in row + phases
    bar = re.match("[━╸╺]*", row)
    assert bar
    assert len(bar[0]) >= {80: 5, 120: 40}[width]


def test_the_bar_says_what_matters(clock: list[float]) -> None:
    shown = report(3000)
    shown.predicted = {"T_growth": np.array([175])}
    shown.record(seen(0, T_align=[-1]))
    clock[0] = 1.0
    shown.made(1000)
    shown.record(seen(1000, T_align=[88], loss=[0.49]))
    shown.console.print(shown._bar())
    row, phase = printed(shown).splitlines()[-2:]
    assert row.lstrip("━╸ ") == "1,000/3,000 1,000 steps/s loss 4.9e-01 at most 0:00:02"
    assert phase.strip() == "growth, predicted to end at 175"


def test_how_far_each_of_many_has_come(clock: list[float]) -> None:
    shown = report(3000)
    look = seen(
        1000,
        T_align=[-1, 8, 8, 8, 8, -1, 5],
        T_growth=[-1, -1, 9, 9, 9, -1, -1],
        T_converged=[-1, -1, -1, 11, 12, -1, -1],
        diverged=[False] * 5 + [True, False],
        going=[True] * 3 + [False] * 4,
        loss=[1, 2, 3, 4, 5, np.nan, np.inf],
    )
    shown.record(look)
    shown.console.print(shown._bar())
    row, phases = printed(shown).splitlines()
    assert "median loss 3.0e+00" in row
    assert phases.strip() == (
        "alignment 1, growth 1, refinement 1, converged 2, diverged 1, stationary 1"
    )


def test_no_time_is_left_beyond_the_limit(clock: list[float]) -> None:
    shown = report(10**9, seconds=60.0)
    shown.record(seen(0, loss=[0.5]))
    clock[0] = 10.0
    shown.made(10)
    assert shown._numbers(seen(10, loss=[0.5]))[-1] == "at most 0:00:50"


def test_the_time_left_counts_looks_and_iterations(clock: list[float]) -> None:
    """Three looks of two seconds at the first iterations, of half a second each; 97 iterations and
    one look are left."""
    going = Pace(steps=100, looks=4)
    going.made(0)
    for _ in range(3):
        clock[0] += 0.5
        going.made(1)
        clock[0] += 2.0
        going.look()
    assert going.rate == pytest.approx(3 / 5.5)  # until the third iteration was made
    assert going.left == pytest.approx(97 * 0.5 + 2.0)


def test_iterations_are_counted_before_they_are_looked_at(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a look takes must not hold the iterations before it."""
    calls: list[tuple[str, int]] = []
    made, record = ProgressReport.made, ProgressReport.record
    monkeypatch.setattr(
        ProgressReport, "made", lambda self, step: calls.append(("made", step)) or made(self, step)
    )
    monkeypatch.setattr(
        ProgressReport,
        "record",
        lambda self, look: calls.append(("look", look.step)) or record(self, look),
    )
    assert reludyn(*QUICK).code == 0
    looks = [i for i, (name, _) in enumerate(calls) if name == "look"]
    assert len(looks) == 6
    assert all(calls[i - 1] == ("made", calls[i][1]) for i in looks)


def test_the_pace_is_that_of_the_last_seconds(clock: list[float]) -> None:
    going = Pace(steps=10_000, looks=1)
    going.made(0)
    clock[0] = 100.0  # of compiling
    going.made(1)
    for _ in range(20):
        clock[0] += 0.5
        going.made(100)
    assert going.rate == pytest.approx(200.0)


# --- Lines above the bar ----------------------------------------------------------------------


def test_an_event_is_said_once_when_all_have_met_it() -> None:
    shown = report(300)
    shown.predicted = {"T_align": np.array([8, 9])}
    with shown:
        shown.record(seen(8, T_align=[8, -1]))
        assert "alignment ended" not in printed(shown)
        shown.record(seen(9, T_align=[8, 9]))
        shown.record(seen(20, T_align=[8, 9], T_growth=[20, -1]))
        assert "growth ended" not in printed(shown)
    said = [line for line in printed(shown).splitlines() if " ended at " in line]
    assert said == [
        "alignment ended at 8.5 (median of 2, 8 to 9; predicted 8.5)",
        "growth ended at 20 (median of 1 of 2, 20 to 20)",
    ]


def test_a_job_of_a_batch_has_its_own_clocks() -> None:
    look = seen(9, T_align=[1, 2, 3], T_growth=[4, -1, 5], diverged=[False, False, True])
    its_own = look.of(Share(slice(1, 3), slice(0, 1)))
    assert its_own.T_align.tolist() == [2, 3]
    assert its_own.diverged.tolist() == [False, True]
    assert its_own.phase.tolist() == [1, 2]


# --- Commands ---------------------------------------------------------------------------------

SHORT = ("trainer.steps=300", "figures=false", "logger=none")
LINES = [
    f"{what} at {T} (predicted {T})"
    for what, T in (("alignment ended", 86), ("growth ended", 203), ("converged", 269))
]


def test_a_pipe_has_the_closing_report_alone(fig3: Finished) -> None:
    assert fig3.err == ""
    first, *_, last = filter(str.strip, fig3.out.splitlines())
    assert first.split() == ["outcome", "global_minimum"]
    assert last.startswith("watch ")
    log = (fig3.folder / "reludyn.log").read_text()
    assert [line.partition("[INFO] ")[2] for line in log.splitlines()][-3:] == LINES
    clocks = (fig3.rows[0][f"T_{name}"] for name in ("align", "growth", "converged"))
    assert [*clocks] == ["86", "203", "269"]


def test_a_long_run_in_a_pipe_is_followed_by_its_log(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "EVERY", 0.0)
    finished = reludyn(*QUICK, "replicas=3")
    assert "steps/s" not in finished.out + finished.err
    log = (finished.folder / "reludyn.log").read_text()
    assert re.search(r"step 4/5, .*median loss 5.0e-01.*; alignment 3\n", log)


def test_a_terminal_shows_the_events(reludyn: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing else above the report: the bar goes away."""
    monkeypatch.setattr(
        run, "Console", partial(Console, force_terminal=True, width=80, color_system=None)
    )
    finished = reludyn(*SHORT)
    shown = screen(finished.out)
    assert shown[:3] == LINES
    assert shown[3].split() == ["outcome", "global_minimum"]


def test_the_prediction_is_made_once_before_training(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    for owner, name in ((expectations, "predict"), (Engine, "start")):
        original = getattr(owner, name)

        def noted(*arguments: Any, name: str = name, original: Any = original) -> Any:
            order.append(name)
            return original(*arguments)

        monkeypatch.setattr(owner, name, noted)
    assert reludyn(*QUICK).code == 0
    assert reludyn("-m", "hydra/launcher=fused", *QUICK, "seed=0,1").code == 0
    assert order == ["predict", "start"] * 2


@pytest.fixture
def loggers() -> Iterator[None]:
    """Hydra leaves them at DEBUG."""
    yield
    for name in ("reludyn.theory", "reludyn.experiment.results"):
        logging.getLogger(name).setLevel(logging.NOTSET)


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    ("verbose", "heard"),
    [
        ("false", False),
        ("true", True),
        ("[reludyn.experiment.results]", True),
        ("reludyn.theory", False),
    ],
)
def test_verbose_is_respected(reludyn: Command, loggers: None, verbose: str, heard: bool) -> None:
    finished = reludyn(*QUICK, f"hydra.verbose={verbose}")
    assert ("INFO: stopped after 5 steps: max_steps" in finished.err) is heard


@pytest.mark.slow
def test_a_real_terminal(tmp_path: Path) -> None:
    """No line is wrapped, and nothing is left of the bar."""
    ours, theirs = pty.openpty()
    many = ["replicas=30", "init.signs=random", "trainer.steps=400", *SHORT[1:]]
    environment = os.environ | {"COLUMNS": "80", "LINES": "40", "TERM": "xterm"}
    began = time.monotonic()
    running = subprocess.Popen(
        [COMMAND, *many], cwd=tmp_path, stdout=theirs, stderr=theirs, env=environment
    )
    os.close(theirs)
    out = b""
    while time.monotonic() < began + 60:
        try:
            out += os.read(ours, 2**16)
        except OSError:  # it has ended
            break
    os.close(ours)
    assert running.wait(10) == 0
    text = out.decode().replace("\r\n", "\n")
    assert all(len(CODES.sub("", part)) <= 80 for part in re.split("[\r\n]", text))
    lines = screen(text)
    assert lines[0].startswith("alignment ended at ")
    gone = ("loading PyTorch", "setting up", "steps/s", "writing the files")
    assert all(word in text for word in gone)
    assert not [line for line in lines for word in gone if word in line]


def screen(out: str) -> list[str]:
    """The lines that stand in a terminal in the end, but for the empty ones: cursor movements of
    rich are those up and to the beginning of a line, and that erase it."""
    lines, row = [""], 0
    for part in re.findall(r"\x1b\[\d*[A-Za-z]|\x1b\[[0-9;?]*[A-Za-z]|[\r\n]|[^\x1b\r\n]+", out):
        if part == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif part == "\x1b[1A":
            row -= 1
        elif part == "\x1b[2K":
            lines[row] = ""
        elif not part.startswith(("\x1b", "\r")):
            lines[row] += part
    return [line.rstrip() for line in lines if line.strip()]
