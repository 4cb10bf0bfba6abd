"""This project as a contender: the engine of a run, eager or compiled."""

from __future__ import annotations

from dataclasses import fields
from functools import partial

from reludyn.api import configure
from reludyn.assembly import build
from reludyn.benchmark.contender import Array, Prepare, Problem, Unavailable
from reludyn.errors import ConfigError
from reludyn.settings import Trainer

CHOICE = any(field.name == "engine" for field in fields(Trainer))  # whether trainer.engine exists


class Project:
    """`engine.advance` of the parts that a config names, in the coordinates they choose."""

    def __init__(self, engine: str, problem: Problem) -> None:
        case, self.replicas = problem.case, problem.case.replicas
        words = [f"trainer.engine={engine}"] if CHOICE else []
        try:
            self.parts = build(configure(*case.overrides(problem.lr), *words))
            self.start()
            self.advance(1)  # a program is compiled when it is first needed
        except ConfigError as error:
            if engine == "eager":
                raise
            # no compiler, or a case that it does not take
            raise Unavailable(str(error)) from error
        self.start()

    def start(self) -> None:
        self.state = self.parts.engine.start(self.parts.student)

    def advance(self, steps: int) -> None:
        self.state = self.parts.engine.advance(self.state, steps)

    def weights(self) -> tuple[Array, Array]:
        student = self.state.student
        if self.parts.subspace is not None:
            student = self.parts.subspace.lift(student)
        return student.W.numpy(), student.V.numpy()


def engines() -> dict[str, Prepare]:
    """The engines that there are, the faster one last."""
    names = ("eager", "compiled") if CHOICE else ("eager",)
    return {f"reludyn {name}": partial(Project, name) for name in names}
