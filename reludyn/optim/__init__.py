"""Update rules: how the weights move, given the gradient.

Each rule is a pure function of its input.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol, TypeVar

import torch
from torch import Tensor

from reludyn.network.notation import Gradient, PerReplica, against, of_replicas
from reludyn.network.student import ReLUStudent
from reludyn.optim.schedule import Schedule

Memory = Any  # nested tuples of tensors with a leading replica axis; () for a rule without memory
Rule = TypeVar("Rule", bound="SteppedRule")


@dataclass(frozen=True)
class StepSizes:
    """Step sizes lr of the hidden and output_lr of the output layer (None: the same as lr).

    Both are multiplied by a schedule. Layers that are not trained stay as they are. Step sizes that
    differ between replicas are float64, (R,).
    """

    lr: PerReplica
    output_lr: PerReplica | None = None
    train_hidden: bool = True
    train_output: bool = True
    schedule: Schedule = Schedule()

    @property
    def output(self) -> PerReplica:
        """Step size of the output layer."""
        return self.lr if self.output_lr is None else self.output_lr

    def select(self, replicas: Tensor) -> StepSizes:
        """Return the step sizes of some replicas, given by their indices."""
        output = None if self.output_lr is None else of_replicas(self.output_lr, replicas)
        return replace(self, lr=of_replicas(self.lr, replicas), output_lr=output)

    def norm(self, gradient: Gradient) -> Tensor:
        """Return the norm (R,) of the gradient of the layers that are trained."""
        layers = zip(gradient, (self.train_hidden, self.train_output), strict=True)
        return torch.stack([x.square().sum((-2, -1)) for x, on in layers if on]).sum(0).sqrt()

    def moved(self, student: ReLUStudent, direction: Gradient, step: int) -> ReLUStudent:
        """Return W - mu_t direction_W and V - mu'_t direction_V at iteration t = step."""
        factor = self.schedule(step)
        W = _moved(student.W, direction.W, factor * self.lr)
        return self.trained(student, W, _moved(student.V, direction.V, factor * self.output))

    def trained(self, student: ReLUStudent, W: Tensor, V: Tensor) -> ReLUStudent:
        """Return the new weights of the layers that are trained, the others as they were."""
        return ReLUStudent(
            W if self.train_hidden else student.W, V if self.train_output else student.V
        )

    def time(self, step: int, before: PerReplica) -> PerReplica:
        """Return the sum of the hidden layer's step sizes before iterate `step`.

        `before` is that sum one iteration earlier.
        """
        return before + self.schedule(step - 1) * self.lr


class UpdateRule(Protocol):
    """Update rule as the engine uses it: it acts on each replica alone."""

    @property
    def sizes(self) -> StepSizes:
        """Step sizes of the two layers."""

    @property
    def separable(self) -> bool:
        """Whether some replicas can be moved without the others."""

    @property
    def steady(self) -> bool:
        """Whether each update is the same function of weights and gradient, without a memory."""

    def memory(self, student: ReLUStudent) -> Memory:
        """Return the memory that the first update starts from."""

    def update(
        self, student: ReLUStudent, gradient: Gradient, memory: Memory, step: int
    ) -> tuple[ReLUStudent, Memory]:
        """Return weights and memory after the update from iterate `step` to the next one."""

    def time(self, step: int, before: PerReplica) -> PerReplica:
        """Return the time of iterate `step`: the sum of the hidden layer's step sizes before it.

        `before` is the time of one iteration earlier.
        """

    def select(self, replicas: Tensor) -> UpdateRule:
        """Return the rule of some replicas, given by their indices."""


@dataclass(frozen=True)
class SteppedRule:
    """Update rule in steps of given sizes, which moves each replica by itself."""

    sizes: StepSizes
    separable: ClassVar[bool] = True

    @property
    def steady(self) -> bool:
        """Whether each update is the same function of weights and gradient."""
        return False

    def time(self, step: int, before: PerReplica) -> PerReplica:
        """Return the sum of the step sizes."""
        return self.sizes.time(step, before)

    def select(self: Rule, replicas: Tensor) -> Rule:
        """Return the rule with the step sizes of some replicas."""
        return replace(self, sizes=self.sizes.select(replicas))


def _moved(x: Tensor, direction: Tensor, lr: PerReplica) -> Tensor:
    """Return x - lr direction, in one operation."""
    if isinstance(lr, Tensor):
        return torch.addcmul(x, against(lr, x).to(x), direction, value=-1)
    return x.sub(direction, alpha=lr)
