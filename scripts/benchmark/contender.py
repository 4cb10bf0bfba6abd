"""Input and duties of every contender."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from reludyn.config.compose import configure
from reludyn.experiment.build import build
from reludyn.network.initialization import draw_students
from reludyn.risk import EmpiricalRisk
from scripts.benchmark.cases import Case

Array = NDArray[Any]


class Unavailable(Exception):
    """Error of a contender that cannot take part here; the message gives the reason."""


@dataclass(frozen=True)
class Problem:
    """Initial weights W (R, k, d), V (R, r, k), the step size mu, and what is learned from:
    A (r, d) for the population risk; samples X (n, d), Y (n, r), or X (R, n, d), Y (R, n, r) where
    each replica has its own. All float64."""

    case: Case
    lr: float
    W: Array
    V: Array
    data: tuple[Array, ...]

    @property
    def axis(self) -> int | None:
        """Axis of replicas in the data, for torch.func.vmap."""
        return 0 if self.case.own else None

    def data_of(self, replica: int) -> tuple[Array, ...]:
        """Return the data of one replica."""
        return tuple(x[replica] for x in self.data) if self.case.own else self.data


class Training(Protocol):
    """Contender that is ready: descent on both layers from the weights of the problem."""

    replicas: int  # the first so many are trained

    def start(self) -> None:
        """Go back to the initial weights."""

    def advance(self, steps: int) -> None:
        """Take further steps and wait until they are complete."""

    def weights(self) -> tuple[Array, Array]:
        """Return W (replicas, k, d) and V (replicas, r, k)."""


Prepare = Callable[[Problem], Training]  # raises Unavailable


def make_problem(case: Case, lr: float) -> Problem:
    """Return the weights and the samples with which this project trains."""
    setup = build(configure(*case.overrides(lr)))
    student = draw_students(setup.seeds, case.k, setup.teacher, **asdict(setup.config.init))
    data: tuple[Array, ...] = (setup.teacher.A.numpy(),)
    if case.n is not None:
        risk = setup.objective.risk
        assert isinstance(risk, EmpiricalRisk)
        (whole,) = risk.samples.chunks(case.n)
        # row after row, as a script would draw them
        both = tuple(np.ascontiguousarray(x.numpy()) for x in whole)
        data = both if case.own else tuple(x[0] for x in both)
    return Problem(case, lr, student.W.numpy(), student.V.numpy(), data)


def difference(one: Training, other: Training) -> float:
    """Return max |W - W'| / max |W'| over the replicas that both train, for the worse layer."""
    count = min(one.replicas, other.replicas)
    pairs = [(a[:count], b[:count]) for a, b in zip(one.weights(), other.weights(), strict=True)]
    return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs)
