"""Pictures while a run goes on."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import reludyn as package
from reludyn.config.compose import configure
from reludyn.experiment import live_picture
from reludyn.experiment.live_picture import LivePicture
from reludyn.figures import in_progress
from tests.support.boards import events
from tests.support.commands import Command, reludyn_in

CLOCKS = ("T_align", "T_growth", "T_converged")


@pytest.mark.slow
def test_a_run_shows_its_picture_before_its_end(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_picture, "FIRST", 0.0)
    run = reludyn_in(
        reludyn, "run", "figures=true", "logger=tensorboard", "trainer.steps=40", "replicas=2"
    )
    assert run.code == 0, run.err
    seen: dict[str, list[int]] = {}
    for event in events(run.where / "tensorboard"):
        for value in event.summary.value:
            if value.HasField("image"):
                seen.setdefault(value.tag, []).append(event.step)
    assert set(seen) == {"figure/phases", "figure/fan"}
    assert seen["figure/phases"] == [0, 40]
    assert seen["figure/fan"] == [40]


def test_pictures_become_rarer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A day has a dozen: the first after a minute, each later one after as long again."""
    now, times = 0.0, []
    monkeypatch.setattr(live_picture, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr("reludyn.figures.in_progress", lambda *_: times.append(now))
    picture = LivePicture(configure(), lambda *_: None, dict)
    look: Any = SimpleNamespace(step=0, loss=[1.0], **dict.fromkeys(CLOCKS, np.array([-1])))
    for minute in range(24 * 60):
        now = 60.0 * minute
        picture.record(look)
    assert times[0] == 60
    assert len(times) < 12
    assert all(later == 2 * earlier for earlier, later in pairwise(times))


@pytest.mark.parametrize(("picture", "name"), [("all", "phases"), ("polar", "polar")])
def test_a_picture_of_what_is_there_so_far(picture: str, name: str) -> None:
    drawn = in_progress(package.train("trainer.steps=3"), picture)
    assert drawn is not None
    assert drawn[0] == name


@pytest.mark.parametrize("picture", ["none", "animation", "stuck"])
def test_what_has_no_picture_before_its_end(picture: str) -> None:
    assert in_progress(package.train("trainer.steps=3"), picture) is None
