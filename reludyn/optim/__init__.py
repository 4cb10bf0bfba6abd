"""Update rules: how the weights move, given the gradient."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from reludyn.network.notation import Gradient, Own, of_replicas
from reludyn.network.student import ReLUStudent

Memory = dict[str, Any] | None  # what later steps depend on besides weights and gradient


@dataclass(frozen=True)
class StepSizes:
    """Step size lr of the hidden layer, output_lr of the output layer (None: the same), and which
    layers are trained: the others stay as they are. Sizes of each replica are float64."""

    lr: Own
    output_lr: Own | None = None
    train_hidden: bool = True
    train_output: bool = True

    @property
    def output(self) -> Own:
        return self.lr if self.output_lr is None else self.output_lr

    def take(self, replicas: Tensor) -> StepSizes:
        """Those of some replicas, by their indices."""
        output = None if self.output_lr is None else of_replicas(self.output_lr, replicas)
        return replace(self, lr=of_replicas(self.lr, replicas), output_lr=output)

    def norm(self, gradient: Gradient) -> Tensor:
        """Norm of the gradient of the layers that are trained, (R,)."""
        layers = zip(gradient, (self.train_hidden, self.train_output), strict=True)
        return torch.stack([x.square().sum((-2, -1)) for x, on in layers if on]).sum(0).sqrt()

    def trained(self, student: ReLUStudent, moved: ReLUStudent) -> ReLUStudent:
        """The moved layers that are trained, the others as they were."""
        W = moved.W if self.train_hidden else student.W
        return ReLUStudent(W, moved.V if self.train_output else student.V)


class UpdateRule(Protocol):
    """What the engine asks of an update rule: it acts on each replica alone."""

    @property
    def separable(self) -> bool:
        """Whether any replicas can be moved without the others: no memory, no common steps."""

    @property
    def sizes(self) -> StepSizes:
        """Of the two layers."""

    def time(self, step: int, before: Own) -> Own:
        """The time after iteration `step`, before its update, from that one iteration earlier: the
        sum of the step sizes of the hidden layer."""

    def step(self, student: ReLUStudent, gradient: Gradient) -> ReLUStudent:
        """One update of all replicas."""

    def snapshot(self) -> Memory:
        """A copy of the memory, of tensors and plain numbers."""

    def restore(self, memory: Memory) -> None:
        """Go on from a snapshot."""

    def take(self, replicas: Tensor) -> UpdateRule:
        """That of some replicas, of a separable rule."""

    def memory_of(self, memory: Memory, replicas: slice) -> Memory:
        """The part of a snapshot that belongs to some replicas."""
