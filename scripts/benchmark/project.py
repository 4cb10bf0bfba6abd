"""This project as a contender: the engine of a run, eager or compiled."""

from __future__ import annotations

from functools import partial

from reludyn.config.compose import configure
from reludyn.experiment.build import build
from reludyn.system.compiler import Compiled
from reludyn.system.errors import ConfigError
from scripts.benchmark.contender import Array, Prepare, Problem, Unavailable

ENGINES = ("eager", "compiled")


class Project:
    """`engine.advance` of the parts that a config names, in the coordinates they choose."""

    def __init__(self, engine: str, problem: Problem) -> None:
        case, self.replicas = problem.case, problem.case.replicas
        choice = f"trainer.engine={engine}"
        try:
            self.setup = build(configure(*case.overrides(problem.lr), choice))
        except ConfigError as error:
            if engine == "eager":
                raise
            raise Unavailable(str(error)) from error  # a case that it does not take
        self.start()
        self.advance(2)  # builds the program
        if engine == "compiled" and not Compiled.available:
            raise Unavailable("this machine cannot compile")
        self.start()

    def start(self) -> None:
        self.state = self.setup.engine.start(self.setup.student)

    def advance(self, steps: int) -> None:
        self.state = self.setup.engine.advance(self.state, steps)

    def weights(self) -> tuple[Array, Array]:
        student = self.state.student
        if self.setup.subspace is not None:
            student = self.setup.subspace.lift(student)
        return student.W.numpy(), student.V.numpy()


def engines() -> dict[str, Prepare]:
    """Return the engines, the faster one last."""
    return {f"reludyn {name}": partial(Project, name) for name in ENGINES}
