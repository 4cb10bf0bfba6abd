"""A look: the quantities seen at one iteration, as NumPy arrays on the host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reludyn.dynamics import order_parameters
from reludyn.network.student import ReLUStudent
from reludyn.numerics.kernels import pairwise_angle
from reludyn.recording.observables import FULL, WIDEST, Moment
from reludyn.recording.theory_observer import Beside, TheoryObserver
from reludyn.risk import PopulationRisk, Risk
from reludyn.training.engine import State

Array = NDArray[Any]


@dataclass(frozen=True)
class Share:
    """What belongs to one job of a batch: its replicas, and its place among those whose weights
    are kept."""

    replicas: slice
    kept: slice


def shares_of(counts: Sequence[int], keep: int) -> list[Share]:
    """Of jobs with these numbers of replicas, one after the other, each of which keeps the weights
    of its first few."""
    kept = [min(count, keep) for count in counts]
    pairs = zip(_slices(counts), _slices(kept), strict=True)
    return [Share(replicas, some) for replicas, some in pairs]


@dataclass(frozen=True)
class Look:
    """R replicas at one iteration; a replica that has stopped keeps its last values.

    steps, times, going, diverged (R,): the iterations that each has made, the time t it has reached
    (mu step, or the sum of its step sizes), whether it goes on, whether it has diverged. Losses
    (R,); norms, angles in radians and imbalance (R, k); angle_between (R, k, k) for k <= 16;
    T_align, T_growth, T_converged (R,) the iterations at which each event first held, -1: not yet;
    `full` holds the observables of the full tier by name, each (R, ...); `beside` what theory says;
    W, V the weights of the replicas whose weights are kept, in the coordinates of the run.
    """

    steps: Array
    times: Array
    going: Array
    diverged: Array
    loss: Array
    loss_linear: Array
    loss_rectification: Array
    loss_population: Array | None  # of a run on samples whose law has a closed form
    w_norm: Array
    v_norm: Array
    angle_to_target: Array
    angle_between: Array | None
    imbalance: Array
    T_align: Array
    T_growth: Array
    T_converged: Array
    full: Mapping[str, Array]
    beside: Beside
    W: Array
    V: Array

    @property
    def step(self) -> int:
        """Where the look belongs: the last iteration that any replica has made."""
        return int(self.steps.max())

    @property
    def time(self) -> float:
        return float(self.times.max())

    @property
    def phase(self) -> Array:
        """Index into `reludyn.dynamics.phases.PHASES`, (R,)."""
        return (self.T_align >= 0).astype(int) + (self.T_growth >= 0)

    @property
    def running(self) -> int:
        """How many replicas go on."""
        return int(self.going.sum())

    @property
    def columns(self) -> dict[str, Array]:
        """All arrays by name, as `Look.of_columns` takes them."""
        own = {name: x for name, x in vars(self).items() if isinstance(x, np.ndarray)}
        return own | {**self.full} | {**self.beside.predicted}

    @classmethod
    def of_columns(cls, columns: Mapping[str, Array]) -> Look:
        """Return the look that has these arrays; spectra and lemmas are not among them."""
        own: dict[str, Any] = {each.name: columns.get(each.name) for each in fields(cls)}
        beside = {name: x for name, x in columns.items() if name not in {*own, *FULL}}
        full = {name: x for name, x in columns.items() if name in FULL}
        return cls(**own | {"full": full, "beside": Beside(beside)})

    def of(self, share: Share) -> Look:
        """What one job of the batch sees."""
        parts: dict[str, Any] = {
            name: x[share.replicas] for name, x in vars(self).items() if isinstance(x, np.ndarray)
        }
        predicted = {name: x[share.kept] for name, x in self.beside.predicted.items()}
        parts |= {
            "W": self.W[share.kept],
            "V": self.V[share.kept],
            "full": {name: x[share.replicas] for name, x in self.full.items()},
            "beside": replace(self.beside, predicted=predicted),
        }
        return replace(self, **parts)


@dataclass(frozen=True)
class Observer:
    """Turns states into looks: the one place where results leave the device."""

    risk: Risk
    A: Tensor
    initial: ReLUStudent
    shares: Sequence[Share]
    population: PopulationRisk | None = None  # logged beside the risk
    full: bool = False  # whether the observables of the full tier are measured
    test: Risk | None = None  # for loss_test, one of them
    theory: TheoryObserver | None = None
    kept: Tensor = field(init=False)  # indices of the replicas whose weights are kept

    def __post_init__(self) -> None:
        object.__setattr__(self, "kept", kept_replicas(self.shares, self.A.device))

    def look(self, state: State) -> Look:
        student, loss = state.student, self.risk.loss(state.student)
        population = None if self.population is None else self.population.loss(student).total
        narrow = student.width <= WIDEST
        kept, steps = student.map(lambda layer: layer[self.kept]), _host(state.steps)
        return Look(
            steps=steps,
            times=_host(state.time),
            going=_host(state.running),
            diverged=_host(state.diverged),
            loss=_host(loss.total),
            loss_linear=_host(loss.linear),
            loss_rectification=_host(loss.rectification),
            loss_population=None if population is None else _host(population),
            w_norm=_host(order_parameters.hidden_norms(student)),
            v_norm=_host(order_parameters.output_norms(student)),
            angle_to_target=_host(order_parameters.angle_to_target(student, self.A)),
            angle_between=_host(pairwise_angle(student.W)) if narrow else None,
            imbalance=_host(order_parameters.imbalance(student)),
            T_align=_host(state.clocks.align),
            T_growth=_host(state.clocks.growth),
            T_converged=_host(state.clocks.converged),
            full=self._full(state),
            beside=Beside() if self.theory is None else self.theory.look(state, self._at(steps)),
            W=_host(kept.W),
            V=_host(kept.V),
        )

    def _at(self, steps: Array) -> Tensor:
        """Where the look of each replica that is kept belongs: its job's last iteration."""
        of_job = np.maximum.reduceat(steps, [share.replicas.start for share in self.shares])
        counts = [share.kept.stop - share.kept.start for share in self.shares]
        return torch.from_numpy(of_job.repeat(counts))

    def _full(self, state: State) -> dict[str, Array]:
        if not self.full:
            return {}
        moment = Moment(state, self.initial, self.A, self.risk, self.test)
        measured = {name: observable.measure(moment) for name, observable in FULL.items()}
        return {name: _host(value) for name, value in measured.items() if value is not None}


def kept_replicas(shares: Sequence[Share], device: torch.device | None = None) -> Tensor:
    """The indices of the replicas whose weights are kept."""
    starts = ((s.replicas.start, s.kept.stop - s.kept.start) for s in shares)
    return torch.tensor(
        [first + j for first, n in starts for j in range(n)], device=device, dtype=torch.long
    )


def _slices(counts: Sequence[int]) -> list[slice]:
    ends = list(accumulate(counts))
    return [slice(end - count, end) for end, count in zip(ends, counts, strict=True)]


def _host(x: Tensor) -> Array:
    array: Array = x.cpu().numpy()
    return array
