"""Risks: what descent minimises, and estimates of their gradient from a part of the samples."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from reludyn.network.activation import LeakyReLU
from reludyn.network.notation import Evaluation, Loss
from reludyn.network.student import ReLUStudent
from reludyn.risk.empirical import EmpiricalRisk
from reludyn.risk.population import AnisotropicRisk, PopulationRisk
from reludyn.risk.stochastic import FreshSamples, MiniBatches


class Risk(Protocol):
    """What the trainer asks of a risk."""

    activation: LeakyReLU
    exact: bool  # whether the value that comes with the gradient is as good as that of `loss`

    @property
    def fixed(self) -> bool:
        """Whether all that `evaluate` reads stays where it is on the device."""

    @property
    def group(self) -> int:
        """Replicas that are best advanced together through many steps."""

    @property
    def resolution(self) -> float:
        """The value below which rounding rules, of the weights or of `loss`."""

    def evaluate(self, student: ReLUStudent) -> Evaluation:
        """Value and gradient in one pass: the hot path."""

    def loss(self, student: ReLUStudent) -> Loss:
        """Value with its two parts, never negative."""

    def take(self, replicas: Tensor) -> Risk:
        """That of some replicas, by their indices."""

    def switched(self, before: ReLUStudent, after: ReLUStudent) -> Tensor:
        """Probability, for each neuron (R, k), that an input activates it in one student and not in
        the other."""


class Batches(Protocol):
    """What stochastic descent follows instead of the gradient of the whole risk."""

    @property
    def period(self) -> int:
        """Iterations between two checks of the risk itself against the tolerance."""

    def evaluate(self, student: ReLUStudent, step: int) -> Evaluation:
        """Value (R,) and gradient on the rows of an iteration."""


__all__ = [
    "AnisotropicRisk",
    "Batches",
    "EmpiricalRisk",
    "FreshSamples",
    "MiniBatches",
    "PopulationRisk",
    "Risk",
]
