"""Gradient flow: the limit of small steps, by an adaptive integrator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torchdiffeq import odeint

from reludyn.network.notation import Gradient, PerReplica
from reludyn.network.student import ReLUStudent
from reludyn.optim import Memory, StepSizes
from reludyn.system.errors import StuckError

MOST_STEPS = 1000  # largest number of integrator steps within one iteration


@dataclass(frozen=True)
class GradientFlow:
    """Gradient flow dW/dt = -grad_W L, dV/dt = -(output_lr/lr) grad_V L over time lr per iteration.

    Iteration s of the flow therefore compares with iteration s of gradient descent, at t = lr s.
    Every iteration ends on a step of the integrator; nothing is interpolated. The error of a step
    is at most rtol times the weights of its replica (root mean square). All replicas take the same
    steps, as small as the replica that needs the smallest.
    """

    gradient: Callable[[ReLUStudent], Gradient]
    sizes: StepSizes
    rtol: float = 1e-10
    method: str = "dopri8"
    separable: ClassVar[bool] = False
    steady: ClassVar[bool] = False

    def memory(self, student: ReLUStudent) -> Memory:
        """Return no memory."""
        return ()

    def time(self, step: int, before: PerReplica) -> PerReplica:
        """Return lr step."""
        return self.sizes.lr * step

    def update(
        self, student: ReLUStudent, gradient: Gradient, memory: Memory, step: int
    ) -> tuple[ReLUStudent, Memory]:
        """Return the flow map over time lr. Raises StuckError where the flow is too stiff."""
        size = student.W[0].numel()
        start = torch.cat([student.W.flatten(1), student.V.flatten(1)], 1)
        finite = start.isfinite().all(1, keepdim=True)
        start = torch.where(finite, start, 0.0)  # a replica that diverged delays no other
        speeds = (
            self.sizes.train_hidden,
            self.sizes.train_output * self.sizes.output / self.sizes.lr,
        )

        def weights(y: Tensor) -> ReLUStudent:
            return ReLUStudent(y[:, :size].view_as(student.W), y[:, size:].view_as(student.V))

        def velocity(_: Tensor, y: Tensor) -> Tensor:
            W, V = self.gradient(weights(y))
            return -torch.cat([speeds[0] * W.flatten(1), speeds[1] * V.flatten(1)], 1)

        times = start.new_tensor([0.0, self.sizes.lr])
        options: dict[str, Any] = {
            "first_step": times[1],
            "step_t": times[1:],
            "max_num_steps": MOST_STEPS,
            "norm": lambda error: error.square().mean(1).sqrt().max(),
        }
        floor = self.rtol * start.square().mean(1, keepdim=True).sqrt()
        floor = floor.clamp_min(torch.finfo(floor.dtype).tiny)
        try:
            path = odeint(
                velocity,
                start,
                times,
                rtol=self.rtol,
                atol=floor,
                method=self.method,
                options=options,
            )
        except AssertionError as error:  # too many steps, or too small ones
            raise StuckError(
                "optimizer.rtol",
                self.rtol,
                f"{self.method} makes no progress: {error}. The flow is too stiff, or, on samples, "
                "its gradient jumps back and forth where a neuron rests on a sample",
                "Use a larger optimizer.rtol (1e-4), or a smaller optimizer.lr or init.scale",
            ) from error
        end = weights(torch.where(finite, path[-1], torch.nan))
        # exactly as they were where a layer is not trained: the path is interpolated at its end
        return self.sizes.trained(student, *end), memory

    def select(self, replicas: Tensor) -> GradientFlow:
        """Raise NotImplementedError: replicas share their steps, so none can be taken."""
        raise NotImplementedError
