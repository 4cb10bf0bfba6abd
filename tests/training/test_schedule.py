"""Where looks and stretches fall."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reludyn.config.compose import configure
from reludyn.experiment import cost
from reludyn.training.schedule import look_steps, stretch_ends


@given(
    st.lists(st.integers(0, 500), min_size=1, unique=True).map(sorted),
    st.integers(1, 600),
    st.integers(0, 500),
)
def test_stretches_end_at_the_same_places_wherever_a_run_begins(
    looks: list[int], stretch: int, after: int
) -> None:
    ends = list(stretch_ends(looks, stretch, 0))
    wanted = {x for x in range(1, looks[-1] + 1) if x in looks or x % stretch == 0}
    assert ends == sorted(wanted)
    assert list(stretch_ends(looks, stretch, after)) == [x for x in ends if x > after]


@pytest.mark.parametrize(
    "overrides",
    [
        "",
        "replicas=10000",
        "model.width=300",
        "optimizer=gradient_flow",
        "optimizer=adam",
        "data=stream data.samples=100000",
        "data=gaussian data.samples=100000",
        "data.dim=100000 data.covariance=power_law",
        "trainer.engine=compiled",
        "trainer.engine=compiled replicas=99",
    ],
)
def test_a_stretch_is_as_long_as_it_is_meant_to_be(overrides: str) -> None:
    config, cpu = configure(*overrides.split()), torch.device("cpu")
    length, seconds = (
        cost.stretch(config, cpu, cost.compiles(config, cpu)),
        cost.step_seconds(config, cpu),
    )
    meant = cost.COMPILED if cost.compiles(config, cpu) else cost.EAGER
    assert length == 1 or meant / 2 < length * seconds <= meant
    assert length.bit_count() == 1


@pytest.mark.parametrize(("steps", "looks"), [(10, 3), (1000, 7), (5, 5), (10**9, 600)])
def test_linear_looks_are_evenly_spaced(steps: int, looks: int) -> None:
    schedule = look_steps(steps, looks, "linear")
    assert len(schedule) == looks + 1
    assert (schedule[0], schedule[-1]) == (0, steps)
    assert {b - a for a, b in pairwise(schedule)} <= {steps // looks, -(-steps // looks)}


@pytest.mark.parametrize("steps", [1, 2, 10, 299, 3000, 10**9])
@pytest.mark.parametrize("looks", [1, 2, 5, 600, 5000])
def test_the_schedule_is_dense_then_sparse(steps: int, looks: int) -> None:
    schedule = look_steps(steps, looks)
    assert schedule[0] == 0
    assert schedule[-1] == steps
    assert all(a < b for a, b in pairwise(schedule))
    assert len(schedule) <= looks + 1
    dense = min(steps, looks // 2)
    assert schedule[: dense + 1] == list(range(dense + 1))
