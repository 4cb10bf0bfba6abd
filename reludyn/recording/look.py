"""A look: the quantities seen at one iteration, as NumPy arrays on the host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reludyn.network.student import ReLUStudent
from reludyn.recording.moment import Moment
from reludyn.recording.observables import FULL
from reludyn.recording.quantities import CORE
from reludyn.recording.registry import Array
from reludyn.recording.theory_observer import Beside, TheoryObserver
from reludyn.risk import PopulationRisk, Risk
from reludyn.training.engine import State


@dataclass(frozen=True)
class Share:
    """Part of a batch that is one job: its replicas, and its place among those whose weights are
    kept."""

    replicas: slice
    kept: slice


def shares_of(counts: Sequence[int], keep: int) -> list[Share]:
    """Return the shares of jobs with these numbers of replicas, one after the other, each of which
    keeps the weights of its first few."""
    kept = [min(count, keep) for count in counts]
    pairs = zip(_slices(counts), _slices(kept), strict=True)
    return [Share(replicas, some) for replicas, some in pairs]


@dataclass(frozen=True)
class Look:
    """R replicas at one iteration; a replica that has stopped keeps its last values.

    steps, times, going, diverged (R,): the iterations that each has made, the time t it has reached
    (mu step, or the sum of its step sizes), whether it still runs, whether it has diverged.
    T_align, T_growth, T_converged (R,) are the iterations at which each event first held, -1: not
    yet. `measured` holds the quantities of the registry by name, each (R, ...), those of the core
    tier first; `beside` what theory says; W, V the weights of the replicas whose weights are kept,
    in the coordinates of the run.
    """

    steps: Array
    times: Array
    going: Array
    diverged: Array
    T_align: Array
    T_growth: Array
    T_converged: Array
    measured: Mapping[str, Array]
    beside: Beside
    W: Array
    V: Array

    @property
    def loss(self) -> Array:
        """Loss that descent follows, (R,)."""
        return self.measured["loss"]

    @property
    def step(self) -> int:
        """Iteration of the look: the last one that any replica has made."""
        return int(self.steps.max())

    @property
    def time(self) -> float:
        """Largest time that any replica has reached."""
        return float(self.times.max())

    @property
    def phase(self) -> Array:
        """Index into `reludyn.dynamics.phases.PHASES`, (R,)."""
        return (self.T_align >= 0).astype(int) + (self.T_growth >= 0)

    @property
    def running(self) -> int:
        """Number of replicas that still run."""
        return int(self.going.sum())

    @property
    def columns(self) -> dict[str, Array]:
        """Arrays by name, as `Look.of_columns` takes them."""
        return self._state | {**self.measured} | {**self.beside.predicted}

    @classmethod
    def of_columns(cls, columns: Mapping[str, Array]) -> Look:
        """Return the look that has these arrays; spectra and lemmas are not among them."""
        own = {each.name for each in fields(cls)}
        quantities = [name for name in (*CORE, *FULL) if name in columns]
        state: dict[str, Any] = {name: x for name, x in columns.items() if name in own}
        predicted = {name: x for name, x in columns.items() if name not in {*own, *quantities}}
        measured = {name: columns[name] for name in quantities}
        return cls(**state, measured=measured, beside=Beside(predicted))

    def of(self, share: Share) -> Look:
        """Return what one job of the batch sees."""
        kept = {"W": self.W[share.kept], "V": self.V[share.kept]}
        parts: dict[str, Any] = {name: x[share.replicas] for name, x in self._state.items()} | kept
        measured = {name: x[share.replicas] for name, x in self.measured.items()}
        predicted = {name: x[share.kept] for name, x in self.beside.predicted.items()}
        beside = replace(self.beside, predicted=predicted)
        return replace(self, **parts, measured=measured, beside=beside)

    @property
    def _state(self) -> dict[str, Array]:
        """Arrays that describe the state itself: progress, events, weights."""
        return {name: x for name, x in vars(self).items() if isinstance(x, np.ndarray)}


@dataclass(frozen=True)
class Observer:
    """Turns states into looks: the one place where results leave the device."""

    risk: Risk
    A: Tensor
    initial: ReLUStudent
    shares: Sequence[Share]
    population: PopulationRisk | None = None  # logged beside the risk
    full: bool = False  # whether the quantities of the full tier are measured
    test: Risk | None = None  # for loss_test, one of them
    theory: TheoryObserver | None = None
    kept: Tensor = field(init=False)  # indices of the replicas whose weights are kept

    def __post_init__(self) -> None:
        object.__setattr__(self, "kept", kept_replicas(self.shares, self.A.device))

    def look(self, state: State) -> Look:
        """Return what is seen at a state."""
        kept, steps = state.student.map(lambda layer: layer[self.kept]), _host(state.steps)
        return Look(
            steps=steps,
            times=_host(state.time),
            going=_host(state.running),
            diverged=_host(state.diverged),
            T_align=_host(state.clocks.align),
            T_growth=_host(state.clocks.growth),
            T_converged=_host(state.clocks.converged),
            measured=self._measured(state),
            beside=Beside() if self.theory is None else self.theory.look(state, self._at(steps)),
            W=_host(kept.W),
            V=_host(kept.V),
        )

    def _at(self, steps: Array) -> Tensor:
        """Return where the look of each replica that is kept belongs: its job's last iteration."""
        of_job = np.maximum.reduceat(steps, [share.replicas.start for share in self.shares])
        counts = [share.kept.stop - share.kept.start for share in self.shares]
        return torch.from_numpy(of_job.repeat(counts))

    def _measured(self, state: State) -> dict[str, Array]:
        moment = Moment(state, self.initial, self.A, self.risk, self.population, self.test)
        quantities = CORE | FULL if self.full else CORE
        measured = {name: quantity.measure(moment) for name, quantity in quantities.items()}
        return {name: _host(value) for name, value in measured.items() if value is not None}


def kept_replicas(shares: Sequence[Share], device: torch.device | None = None) -> Tensor:
    """Return the indices of the replicas whose weights are kept."""
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
