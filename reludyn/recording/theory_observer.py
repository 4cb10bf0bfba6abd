"""What theory says at a look, beside what is measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from reludyn.network.student import ReLUStudent
from reludyn.risk import PopulationRisk
from reludyn.theory.lemmas import STATEMENTS, Point, Sides
from reludyn.theory.predictions import Forecast
from reludyn.theory.spectrum import spectrum
from reludyn.training.engine import State

Array = NDArray[Any]
LAST = 5000  # the iteration up to which trajectories are predicted
LISTED = 100  # the number of different eigenvalues up to which all are kept


@dataclass(frozen=True)
class Beside:
    """Predictions and spectra of the first replicas, (R', ...) by name, and the statements of
    `reludyn.theory.lemmas` of all replicas, by name; empty where not asked for."""

    predicted: Mapping[str, Array] = field(default_factory=dict)
    spectrum: Mapping[str, Array] = field(default_factory=dict)
    bounds: Mapping[str, Sides] = field(default_factory=dict)


@dataclass(frozen=True)
class TheoryObserver:
    """Follows the predicted trajectory, and measures what theory speaks of."""

    forecast: Forecast | None  # of the replicas whose weights are kept
    hessian_of: PopulationRisk | None  # whose spectrum is computed
    kept: Tensor  # their indices
    inputs: int  # d
    checked: Checked | None = None

    def look(self, state: State, steps: Tensor) -> Beside:
        """Return what theory says at a look, which belongs at `steps` for each replica that is kept
        (on the host)."""
        return Beside(
            {} if self.forecast is None else _predicted(self.forecast, steps),
            {} if self.hessian_of is None else self._spectrum(self.hessian_of, state),
            {} if self.checked is None else self.checked.sides(state),
        )

    def _spectrum(self, risk: PopulationRisk, state: State) -> dict[str, Array]:
        student = state.student.map(lambda layer: layer[self.kept])
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
    """Run that the statements are checked on."""

    initial: ReLUStudent
    risk: PopulationRisk
    lr: float
    samples: int | None

    def sides(self, state: State) -> dict[str, Sides]:
        """Return all statements at a state, on the host; (R, 1) or (R, 2) each."""
        point = Point(
            state.student,
            state.previous,
            state.evaluation.gradient,
            self.initial,
            state.steps,
            state.clocks.align,
            state.clocks.growth,
            self.risk,
            self.lr,
            self.samples,
        )
        found = {name: sides(point) for name, sides in STATEMENTS.items()}
        return {
            name: Sides(*(x.cpu().view(len(x), -1) for x in sides)) for name, sides in found.items()
        }


def _predicted(forecast: Forecast, steps: Tensor) -> dict[str, Array]:
    expected, known = forecast.at(steps.clamp_max(LAST)), steps <= LAST
    columns = {name: x.where(_rows(known, x), np.nan) for name, x in expected._asdict().items()}
    return {f"predicted_{name}": x.numpy() for name, x in columns.items()}


def _rows(on: Tensor, x: Tensor) -> Tensor:
    return on.view(-1, *(1 for _ in x.shape[1:]))
