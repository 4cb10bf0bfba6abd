"""A look: the quantities seen at one iteration, as NumPy arrays on the host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from reludyn import order_parameters
from reludyn.kernels import pairwise_angle
from reludyn.risk import PopulationRisk, Risk
from reludyn.student import ReLUStudent
from reludyn.training.engine import State

Array = NDArray[Any]
WIDEST = 16  # the width up to which angles between all neurons are kept


@dataclass(frozen=True)
class Look:
    """R replicas at one iteration; a replica that has stopped keeps its last values.

    Losses (R,); norms, angles in radians and imbalance (R, k); angle_between (R, k, k) for k <= 16;
    phase (R,) indexes `reludyn.phases.PHASES`; W, V the weights of the first replicas, in the
    coordinates of the run.
    """

    step: int
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
    W: Array
    V: Array


class Observer:
    """Turns states into looks: the one place where results leave the device."""

    def __init__(
        self, risk: Risk, A: Tensor, keep_weights: int, population: PopulationRisk | None = None
    ) -> None:
        self.risk, self.A, self.keep_weights, self.population = risk, A, keep_weights, population

    def look(self, state: State) -> Look:
        student, loss = state.student, self.risk.loss(state.student)
        population = None if self.population is None else self.population.loss(student).total
        narrow = student.width <= WIDEST
        kept = ReLUStudent(student.W[: self.keep_weights], student.V[: self.keep_weights])
        return Look(
            step=int(state.steps.max()),
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
            W=_host(kept.W),
            V=_host(kept.V),
        )


def _host(x: Tensor) -> Array:
    array: Array = x.cpu().numpy()
    return array
