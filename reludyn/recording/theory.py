"""What theory says at a look, beside what is measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from reludyn.risk import PopulationRisk
from reludyn.student import ReLUStudent
from reludyn.theory.bounds import STATEMENTS, Point, Sides
from reludyn.theory.predictions import Expected, Forecast
from reludyn.theory.spectrum import spectrum
from reludyn.training.engine import State

Array = NDArray[Any]
LAST = 5000  # the iteration up to which trajectories are predicted
LISTED = 100  # the number of different eigenvalues up to which all are kept


@dataclass(frozen=True)
class Beside:
    """Predictions and spectra of the first replicas, (R', ...) by name, and the statements of
    `reludyn.theory.bounds` of all replicas, by name; empty where not asked for."""

    predicted: Mapping[str, Array] = field(default_factory=dict)
    spectrum: Mapping[str, Array] = field(default_factory=dict)
    bounds: Mapping[str, Sides] = field(default_factory=dict)
    steps: Array = field(default_factory=lambda: np.empty(0))  # (R,) iterations of each replica


@dataclass(frozen=True)
class TheoryObserver:
    """Follows the predicted trajectory, and measures what theory speaks of."""

    forecast: Forecast | None  # of the first replicas
    hessian_of: PopulationRisk | None  # whose spectrum is computed
    first: int  # how many replicas
    inputs: int  # d
    checked: Checked | None = None

    def look(self, state: State) -> Beside:
        return Beside(
            {} if self.forecast is None else _predicted(self.forecast, int(state.steps.max())),
            {} if self.hessian_of is None else self._spectrum(self.hessian_of, state),
            {} if self.checked is None else self.checked.sides(state),
            state.steps.cpu().numpy(),
        )

    def _spectrum(self, risk: PopulationRisk, state: State) -> dict[str, Array]:
        student = state.student.map(lambda layer: layer[: self.first])
        found = spectrum(risk.hessian(student), self.inputs)
        columns = {
            "sharpness": found.sharpness,
            "smallest_eigenvalue": found.smallest,
            "negative_eigenvalues": found.negative(),
            "zero_eigenvalues": found.near_zero(),
        }
        if found.complete and found.values.shape[1] <= LISTED:
            columns |= {"eigenvalues": found.values, "multiplicity": found.multiplicity}
        return {name: x.cpu().numpy() for name, x in columns.items()}


@dataclass(frozen=True)
class Checked:
    """What the statements are checked on."""

    initial: ReLUStudent
    risk: PopulationRisk
    lr: float
    samples: int | None

    def sides(self, state: State) -> dict[str, Sides]:
        """All statements at a state, on the host; (R, 1) or (R, 2) each."""
        point = Point(
            state.student, state.previous, state.evaluation.gradient, self.initial, state.steps,
            state.clocks.align, state.clocks.growth, self.risk, self.lr, self.samples,
        )  # fmt: skip
        found = {name: sides(point) for name, sides in STATEMENTS.items()}
        return {
            name: Sides(*(x.cpu().view(len(x), -1) for x in sides)) for name, sides in found.items()
        }


def _predicted(forecast: Forecast, step: int) -> dict[str, Array]:
    expected = forecast.at(min(step, LAST))
    if step > LAST:
        expected = Expected(*(torch.full_like(x, np.nan) for x in expected))
    return {f"predicted_{name}": x.numpy() for name, x in expected._asdict().items()}
