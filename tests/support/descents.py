"""Descents of a student by the engine, without a config."""

from __future__ import annotations

import torch

from reludyn.dynamics.phases import PhaseRule
from reludyn.network.activation import RELU, LeakyReLU
from reludyn.network.student import ReLUStudent
from reludyn.network.subspace import InvariantSubspace
from reludyn.network.teacher import LinearTeacher
from reludyn.optim import StepSizes
from reludyn.optim.gradient_descent import GradientDescent
from reludyn.risk import EmpiricalRisk, PopulationRisk
from reludyn.training.engine import Engine, State
from reludyn.training.trainer import train


def make_engine(
    teacher: LinearTeacher,
    risk: PopulationRisk | EmpiricalRisk | None = None,
    lr: float = 0.1,
    tolerance: float = 0.0,
    train_output: bool = True,
    A: torch.Tensor | None = None,
) -> Engine:
    A = teacher.A if A is None else A
    descent = GradientDescent(StepSizes(lr, train_output=train_output))
    return Engine(risk or PopulationRisk(A), descent, PhaseRule(teacher, A), tolerance)


def follow(engine: Engine, student: ReLUStudent, looks: list[int]) -> tuple[list[State], str]:
    states: list[State] = []
    _, reason = train(engine, engine.start(student), looks, 256, states.append)
    return states, reason


def trained(
    teacher: LinearTeacher,
    student: ReLUStudent,
    lr: float,
    tolerance: float,
    steps: int,
    activation: LeakyReLU = RELU,
) -> State:
    """What descent does, in the invariant subspace."""
    subspace = InvariantSubspace.spanned(teacher, student)
    A = subspace.teacher.A
    rule = PhaseRule(teacher, A)
    risk = PopulationRisk(A, activation)
    engine = Engine(risk, GradientDescent(StepSizes(lr)), rule, tolerance)
    return engine.advance(engine.start(subspace.reduce(student)), steps)
