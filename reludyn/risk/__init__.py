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
    """Risk, as the trainer uses it."""

    activation: LeakyReLU
    exact: bool  # whether `evaluate` returns the value as precisely as `loss` does

    @property
    def fixed(self) -> bool:
        """Whether all tensors that `evaluate` reads stay where they are on the device."""

    @property
    def group(self) -> int:
        """Number of replicas that are best advanced together through many steps."""

    @property
    def resolution(self) -> float:
        """Value below which the rounding of the weights or of `loss` dominates."""

    def evaluate(self, student: ReLUStudent) -> Evaluation:
        """Return value and gradient from one pass: the hot path."""

    def loss(self, student: ReLUStudent) -> Loss:
        """Return the value with its two parts, never negative."""

    def select(self, replicas: Tensor) -> Risk:
        """Return the risk of some replicas, given by their indices."""

    def switched(self, before: ReLUStudent, after: ReLUStudent) -> Tensor:
        """Return how likely an input activates a neuron in just one of two students, (R, k)."""


class Batches(Protocol):
    """Source of the gradients that stochastic descent follows."""

    @property
    def period(self) -> int:
        """Iterations between two checks of the risk itself against the tolerance."""

    def evaluate(self, student: ReLUStudent, step: int) -> Evaluation:
        """Return value (R,) and gradient on the rows of an iteration."""


__all__ = [
    "AnisotropicRisk",
    "Batches",
    "EmpiricalRisk",
    "FreshSamples",
    "MiniBatches",
    "PopulationRisk",
    "Risk",
]
