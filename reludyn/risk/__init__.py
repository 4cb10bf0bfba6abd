"""Risks: what gradient descent minimises, with value and gradient in closed form."""

from __future__ import annotations

from typing import Protocol

from reludyn.activation import LeakyReLU
from reludyn.notation import Evaluation, Loss
from reludyn.risk.empirical import EmpiricalRisk
from reludyn.risk.population import AnisotropicRisk, PopulationRisk
from reludyn.student import ReLUStudent


class Risk(Protocol):
    """What the trainer asks of a risk."""

    activation: LeakyReLU

    @property
    def resolution(self) -> float:
        """The value below which rounding rules, of the weights or of `loss`."""

    def evaluate(self, student: ReLUStudent) -> Evaluation:
        """Value and gradient in one pass: the hot path."""

    def loss(self, student: ReLUStudent) -> Loss:
        """Value with its two parts, never negative."""


__all__ = ["AnisotropicRisk", "EmpiricalRisk", "PopulationRisk", "Risk"]
