"""Update rules of torch.optim and its step size schedules, on all replicas at once."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, SequentialLR

from reludyn.network.notation import Gradient, Own
from reludyn.network.student import ReLUStudent
from reludyn.optim import Memory, StepSizes

Make = Callable[[list[dict[str, Any]]], Optimizer]  # from two groups of parameters, W and V
Plan = Callable[[Optimizer], LRScheduler]


class TorchDescent:
    """An optimizer of torch.optim whose state has the axes of the weights, W (R, k, d) and
    V (R, r, k): each replica has its own, since SGD and Adam act on every entry alone.

    The step sizes of the two layers are those of the two groups; `plan` makes their schedule, which
    advances once an iteration.
    """

    separable = False

    def __init__(
        self, student: ReLUStudent, sizes: StepSizes, make: Make, plan: Plan | None = None
    ) -> None:
        self.sizes, self.parameters = sizes, student.map(torch.clone)
        self.optimizer = make(
            [
                {"params": [self.parameters.W], "lr": sizes.lr},
                {"params": [self.parameters.V], "lr": sizes.output},
            ]
        )
        self.schedule = None if plan is None else plan(self.optimizer)

    def time(self, step: int, before: Own) -> Own:
        """The sum of the step sizes so far."""
        return before + float(self.optimizer.param_groups[0]["lr"])

    def step(self, student: ReLUStudent, gradient: Gradient) -> ReLUStudent:
        """One update of all replicas."""
        for parameter, value, slope in zip(self.parameters, student, gradient, strict=True):
            parameter.copy_(value)
            parameter.grad = slope
        self.optimizer.step()
        if self.schedule is not None:
            self.schedule.step()
        return self.sizes.trained(student, self.parameters.map(torch.clone))

    def snapshot(self) -> Memory:
        """The state dictionaries of optimizer and schedule."""
        schedule = None if self.schedule is None else self.schedule.state_dict()
        return deepcopy({"optimizer": self.optimizer.state_dict(), "schedule": schedule})

    def restore(self, memory: Memory) -> None:
        """Go on from a snapshot."""
        assert memory is not None
        copy = deepcopy(memory)
        self.optimizer.load_state_dict(copy["optimizer"])
        if self.schedule is not None:
            self.schedule.load_state_dict(copy["schedule"])

    def take(self, replicas: Tensor) -> TorchDescent:
        """The state of the optimizer is that of all replicas: none can be taken."""
        raise NotImplementedError

    def memory_of(self, memory: Memory, replicas: slice) -> Memory:
        """With the state of these weights; what is not of a replica (steps, schedule) stays."""
        assert memory is not None
        state = {
            layer: {
                name: x[replicas].clone() if isinstance(x, Tensor) and x.ndim == 3 else x
                for name, x in entries.items()
            }
            for layer, entries in memory["optimizer"]["state"].items()
        }
        return memory | {"optimizer": memory["optimizer"] | {"state": state}}


def schedule(name: str, warmup: int, steps: int) -> Plan | None:
    """Step size of iteration t as a multiple of lr; None: always 1.

    Warm-up: (t + 1)/(warmup + 1) for t < warmup. Then constant: 1; cosine:
    (1 + cos(pi (t - warmup)/(steps - warmup)))/2, zero at t = steps.
    """
    if name == "constant" and warmup == 0:
        return None

    def plan(optimizer: Optimizer) -> LRScheduler:
        parts: list[LRScheduler] = []
        if warmup > 0:
            parts.append(LinearLR(optimizer, 1 / (warmup + 1), 1.0, warmup))
        if name == "cosine":
            parts.append(CosineAnnealingLR(optimizer, steps - warmup))
        return parts[0] if len(parts) == 1 else SequentialLR(optimizer, parts, [warmup])

    return plan
