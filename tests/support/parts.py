"""Parts of a run, made without a configuration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from reludyn.data.laws import InputLaw
from reludyn.data.layouts import Resident
from reludyn.data.samples import Source
from reludyn.network.activation import RELU, LeakyReLU
from reludyn.network.initialization import draw_students
from reludyn.network.student import ReLUStudent
from reludyn.network.teacher import LinearTeacher, axis_teacher
from reludyn.risk import EmpiricalRisk


def drawn(
    name: str,
    seeds: Sequence[int],
    k: int,
    d: int,
    r: int,
    scale: float,
    signs: str = "random",
    teacher: LinearTeacher | None = None,
    **others: Any,
) -> ReLUStudent:
    """Students of an initialisation, without a configuration."""
    return draw_students(seeds, k, teacher or axis_teacher(r, d), name, scale, signs, **others)


def sampled(
    teacher: LinearTeacher,
    n: int,
    seeds: Sequence[int],
    law: InputLaw | None = None,
    noise: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """X and Y of standard Gaussian inputs, or of another law."""
    samples = Source(teacher, law or InputLaw(), seeds, noise).draw(n)
    return samples.X, samples.Y


def empirical_risk(X: Tensor, Y: Tensor, activation: LeakyReLU = RELU) -> EmpiricalRisk:
    """Of samples in memory."""
    return EmpiricalRisk(Resident(X, Y), activation)
