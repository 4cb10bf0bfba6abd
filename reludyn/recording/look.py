"""A look: the quantities seen at one iteration, as NumPy arrays on the host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from reludyn import order_parameters
from reludyn.kernels import pairwise_angle
from reludyn.recording.observables import FULL, WIDEST, Moment
from reludyn.recording.theory import Beside, TheoryObserver
from reludyn.risk import PopulationRisk, Risk
from reludyn.student import ReLUStudent
from reludyn.training.engine import State

Array = NDArray[Any]


@dataclass(frozen=True)
class Look:
    """R replicas at one iteration; a replica that has stopped keeps its last values.

    Losses (R,); norms, angles in radians and imbalance (R, k); angle_between (R, k, k) for k <= 16;
    phase (R,) indexes `reludyn.phases.PHASES`; `full` holds the observables of the full tier by
    name, each (R, ...); `beside` what theory says; W, V the weights of the first replicas, in the
    coordinates of the run.
    """

    step: int
    time: float  # mu step, or the sum of the step sizes where they change
    running: int  # how many replicas go on
    loss: Array
    loss_linear: Array
    loss_rectification: Array
    loss_population: Array | None  # of a run on samples whose law has a closed form
    w_norm: Array
    v_norm: Array
    angle_to_target: Array
    angle_between: Array | None
    imbalance: Array
    phase: Array
    full: Mapping[str, Array]
    beside: Beside
    W: Array
    V: Array


@dataclass(frozen=True)
class Observer:
    """Turns states into looks: the one place where results leave the device."""

    risk: Risk
    A: Tensor
    initial: ReLUStudent
    keep_weights: int
    population: PopulationRisk | None = None  # logged beside the risk
    full: bool = False  # whether the observables of the full tier are measured
    test: Risk | None = None  # for loss_test, one of them
    theory: TheoryObserver | None = None

    def look(self, state: State) -> Look:
        student, loss = state.student, self.risk.loss(state.student)
        population = None if self.population is None else self.population.loss(student).total
        narrow = student.width <= WIDEST
        kept = student.map(lambda layer: layer[: self.keep_weights])
        return Look(
            step=int(state.steps.max()),
            time=float(state.time.max()),
            running=int(state.running.sum()),
            loss=_host(loss.total),
            loss_linear=_host(loss.linear),
            loss_rectification=_host(loss.rectification),
            loss_population=None if population is None else _host(population),
            w_norm=_host(order_parameters.hidden_norms(student)),
            v_norm=_host(order_parameters.output_norms(student)),
            angle_to_target=_host(order_parameters.angle_to_target(student, self.A)),
            angle_between=_host(pairwise_angle(student.W)) if narrow else None,
            imbalance=_host(order_parameters.imbalance(student)),
            phase=_host(state.clocks.phase),
            full=self._full(state),
            beside=Beside() if self.theory is None else self.theory.look(state),
            W=_host(kept.W),
            V=_host(kept.V),
        )

    def _full(self, state: State) -> dict[str, Array]:
        if not self.full:
            return {}
        moment = Moment(state, self.initial, self.A, self.risk, self.test)
        measured = {name: observable.measure(moment) for name, observable in FULL.items()}
        return {name: _host(value) for name, value in measured.items() if value is not None}


def _host(x: Tensor) -> Array:
    array: Array = x.cpu().numpy()
    return array
