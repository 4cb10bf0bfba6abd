"""The engine: advances all replicas many iterations between two looks, without host syncs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from reludyn.notation import Evaluation, Gradient
from reludyn.optim import Memory, UpdateRule
from reludyn.phases import Clocks, PhaseRule
from reludyn.risk import Batches, Risk
from reludyn.student import ReLUStudent

Layers = ReLUStudent | Gradient
DIVERGED = 1e6  # times the initial loss or |A|^2 / 2, whichever is larger
COARSE = 1e6  # times eps |A|^2 / 2: below it the value that comes with the gradient is inexact


@dataclass(frozen=True)
class State:
    """R replicas after some iterations: every tensor lives on the device of the run."""

    student: ReLUStudent
    previous: ReLUStudent  # one iteration earlier; `student` itself where a replica did not move
    evaluation: Evaluation  # of the risk at `student`, or of the batch of this iteration
    step: int  # iterations made by the replicas that are running
    memory: Memory  # of the update rule
    steps: Tensor  # (R,) iterations made by each replica
    time: Tensor  # (R,) the sum of their step sizes, t = mu step for a constant one; float64
    running: Tensor  # (R,) false once a replica has stopped: it no longer moves
    diverged: Tensor  # (R,)
    stationary: Tensor  # (R,)
    clocks: Clocks
    ceiling: Tensor  # (R,) the loss above which a replica counts as diverged


class Engine:
    """Descent on one risk by one update rule, with its stopping rule.

    A replica stops at the first iterate whose loss is below `tolerance` (0: never), or above its
    ceiling, or not a number, or whose gradient has a norm below `gradient_tolerance` (0: never).
    Events are detected at every iteration, so they are exact whatever the spacing of the looks;
    where descent follows batches, the loss of the whole risk is compared with the tolerance every
    `batches.period` iterations.
    """

    def __init__(
        self,
        risk: Risk,
        optimizer: UpdateRule,
        rule: PhaseRule,
        tolerance: float,
        gradient_tolerance: float = 0.0,
        batches: Batches | None = None,
    ) -> None:
        self.risk, self.optimizer, self.rule, self.batches = risk, optimizer, rule, batches
        self.tolerance, self.gradient_tolerance = tolerance, gradient_tolerance
        self.exact = (
            risk.exact or tolerance >= COARSE * torch.finfo(rule.A.dtype).eps * rule.zero_loss
        )

    def start(self, student: ReLUStudent) -> State:
        """Iteration 0."""
        R, device = student.replicas, student.W.device
        evaluation = self._evaluate(student, 0)
        never = torch.full((R,), -1, device=device)
        state = State(
            student,
            student,
            evaluation,
            step=0,
            memory=self.optimizer.snapshot(),
            steps=torch.zeros(R, dtype=torch.int64, device=device),
            time=torch.zeros(R, dtype=torch.float64, device=device),
            running=torch.ones(R, dtype=torch.bool, device=device),
            diverged=torch.zeros(R, dtype=torch.bool, device=device),
            stationary=torch.zeros(R, dtype=torch.bool, device=device),
            clocks=Clocks(never, never, never),
            ceiling=DIVERGED * evaluation.loss.clamp_min(self.rule.zero_loss),
        )
        return self._seen(state, student, evaluation, 0, state.steps, state.time)

    def advance(self, state: State, steps: int) -> State:
        """The state after `steps` further iterations of every replica that is still running."""
        self.optimizer.restore(state.memory)
        for _ in range(steps):
            time = torch.where(state.running, state.time + self.optimizer.lr, state.time)
            moved = self.optimizer.step(state.student, state.evaluation.gradient)
            student = ReLUStudent(*_where(state.running, moved, state.student))
            step, made = state.step + 1, state.steps + state.running
            evaluation = self._evaluate(student, step)
            if self.batches is not None:  # a replica that has stopped keeps its last values
                old = state.evaluation
                loss = torch.where(state.running, evaluation.loss, old.loss)
                layers = _where(state.running, evaluation.gradient, old.gradient)
                evaluation = Evaluation(loss, Gradient(*layers))
            state = self._seen(state, student, evaluation, step, made, time)
        return replace(state, memory=self.optimizer.snapshot())

    def _evaluate(self, student: ReLUStudent, step: int) -> Evaluation:
        if self.batches is None:
            return self.risk.evaluate(student)
        return self.batches.evaluate(student, step)

    def _seen(
        self,
        state: State,
        student: ReLUStudent,
        evaluation: Evaluation,
        step: int,
        steps: Tensor,
        time: Tensor,
    ) -> State:
        """The state at a new iterate, with the events that hold there."""
        diverged = state.running & (evaluation.loss <= state.ceiling).logical_not()  # or NaN
        converged = state.running & self._converged(student, evaluation, step)
        stationary = state.running & self._stationary(evaluation)
        return replace(
            state,
            student=student,
            previous=state.student,
            evaluation=evaluation,
            step=step,
            steps=steps,
            time=time,
            running=state.running & (converged | diverged | stationary).logical_not(),
            diverged=state.diverged | diverged,
            stationary=state.stationary | (stationary & converged.logical_not()),
            clocks=self.rule.tick(state.clocks, steps, student, converged),
        )

    def _converged(self, student: ReLUStudent, evaluation: Evaluation, step: int) -> Tensor:
        if self.tolerance == 0 or (self.batches is not None and step % self.batches.period):
            return torch.zeros_like(evaluation.loss, dtype=torch.bool)
        if self.batches is None and self.exact:
            return evaluation.loss < self.tolerance
        return self.risk.loss(student).total < self.tolerance

    def _stationary(self, evaluation: Evaluation) -> Tensor:
        if self.gradient_tolerance == 0:
            return torch.zeros_like(evaluation.loss, dtype=torch.bool)
        return self.optimizer.sizes.norm(evaluation.gradient) < self.gradient_tolerance


def _where(running: Tensor, new: Layers, old: Layers) -> Iterator[Tensor]:
    """Both layers: the new ones of the replicas that are running, the old ones of the others."""
    on = running.view(-1, 1, 1)
    return (torch.where(on, a, b) for a, b in zip(new, old, strict=True))
