"""What a quantity is measured from: a state of training, and what it is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from reludyn.network.notation import Loss
from reludyn.network.student import ReLUStudent
from reludyn.risk import PopulationRisk, Risk
from reludyn.training.engine import State


@dataclass(frozen=True)
class Moment:
    """R replicas at one iteration, and what they are compared with."""

    state: State
    initial: ReLUStudent
    A: Tensor  # the teacher (r, d), or one per replica (R, r, d), in the coordinates of the run
    risk: Risk  # the one that descent follows
    population: PopulationRisk | None  # of a run on samples whose law has a closed form
    test: Risk | None  # of fresh samples without label noise, where the law of the inputs is known

    @property
    def student(self) -> ReLUStudent:
        """Weights W (R, k, d) and V (R, r, k)."""
        return self.state.student

    @cached_property
    def loss(self) -> Loss:
        """Loss that descent follows, and its two parts, (R,) each."""
        return self.risk.loss(self.student)
