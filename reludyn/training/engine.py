"""The engine: advances all replicas many iterations between two looks, without host syncs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from reludyn.notation import Evaluation
from reludyn.optim.gradient_descent import GradientDescent
from reludyn.phases import Clocks, PhaseRule
from reludyn.risk import Risk
from reludyn.student import ReLUStudent

DIVERGED = 1e6  # times the initial loss or |A|^2 / 2, whichever is larger
COARSE = 1e6  # times eps |A|^2 / 2: below it the value that comes with the gradient is inexact


@dataclass(frozen=True)
class State:
    """R replicas after some iterations: every tensor lives on the device of the run."""

    student: ReLUStudent
    evaluation: Evaluation  # of the risk at `student`
    steps: Tensor  # (R,) iterations made by each replica
    running: Tensor  # (R,) false once a replica has stopped: it no longer moves
    diverged: Tensor  # (R,)
    stationary: Tensor  # (R,)
    clocks: Clocks
    ceiling: Tensor  # (R,) the loss above which a replica counts as diverged


class Engine:
    """Gradient descent on one risk, with its stopping rule.

    A replica stops at the first iterate whose loss is below `tolerance` (0: never), or above its
    ceiling, or not a number, or whose gradient has a norm below `gradient_tolerance` (0: never).
    Events are detected at every iteration, so they are exact whatever
    the spacing of the looks.
    """

    def __init__(
        self,
        risk: Risk,
        optimizer: GradientDescent,
        rule: PhaseRule,
        tolerance: float,
        gradient_tolerance: float = 0.0,
    ) -> None:
        self.risk, self.optimizer, self.rule = risk, optimizer, rule
        self.tolerance, self.gradient_tolerance = tolerance, gradient_tolerance
        self.coarse = tolerance >= COARSE * torch.finfo(rule.A.dtype).eps * rule.zero_loss

    def start(self, student: ReLUStudent) -> State:
        """Iteration 0."""
        R, device = student.replicas, student.W.device
        evaluation = self.risk.evaluate(student)
        never = torch.full((R,), -1, device=device)
        state = State(
            student,
            evaluation,
            steps=torch.zeros(R, dtype=torch.int64, device=device),
            running=torch.ones(R, dtype=torch.bool, device=device),
            diverged=torch.zeros(R, dtype=torch.bool, device=device),
            stationary=torch.zeros(R, dtype=torch.bool, device=device),
            clocks=Clocks(never, never, never),
            ceiling=DIVERGED * evaluation.loss.clamp_min(self.rule.zero_loss),
        )
        return self._seen(state, student, evaluation, state.steps)

    def advance(self, state: State, steps: int) -> State:
        """The state after `steps` further iterations of every replica that is still running."""
        for _ in range(steps):
            running = state.running.view(-1, 1, 1)
            moved = self.optimizer.step(state.student, state.evaluation.gradient)
            student = ReLUStudent(
                torch.where(running, moved.W, state.student.W),
                torch.where(running, moved.V, state.student.V),
            )
            state = self._seen(
                state, student, self.risk.evaluate(student), state.steps + state.running
            )
        return state

    def _seen(
        self, state: State, student: ReLUStudent, evaluation: Evaluation, steps: Tensor
    ) -> State:
        diverged = (evaluation.loss <= state.ceiling).logical_not()  # true for NaN
        converged = self._converged(student, evaluation)
        stationary = evaluation.gradient.norm() < self.gradient_tolerance
        return State(
            student,
            evaluation,
            steps,
            running=state.running & (converged | diverged | stationary).logical_not(),
            diverged=diverged,
            stationary=stationary & converged.logical_not(),
            clocks=self.rule.tick(state.clocks, steps, student, converged),
            ceiling=state.ceiling,
        )

    def _converged(self, student: ReLUStudent, evaluation: Evaluation) -> Tensor:
        if self.tolerance == 0:
            return torch.zeros_like(evaluation.loss, dtype=torch.bool)
        loss = evaluation.loss if self.coarse else self.risk.loss(student).total
        return loss < self.tolerance
