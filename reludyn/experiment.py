"""An experiment: the parts that a config names, put together and run.

The one place where the rooms meet. `build` makes the parts, `run` trains them and leaves the files.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor

from reludyn import __version__
from reludyn.activation import LeakyReLU
from reludyn.data.covariance import Covariance, covariance_from_file, power_law
from reludyn.data.inputs import InputLaw, draw_samples
from reludyn.errors import ConfigError
from reludyn.files import claim
from reludyn.initialization import draw_students, replica_scales
from reludyn.memory import check_memory
from reludyn.notation import Loss
from reludyn.optim.gradient_descent import GradientDescent
from reludyn.phases import Outcome, PhaseRule, classify, contraction_rate
from reludyn.recording import run_files
from reludyn.recording.look import Look, Observer
from reludyn.recording.progress import ProgressReport
from reludyn.recording.report import print_report
from reludyn.recording.results import COLUMNS, Row, replica_rows, summarise
from reludyn.recording.system import describe
from reludyn.risk import AnisotropicRisk, EmpiricalRisk, PopulationRisk, Risk
from reludyn.settings import Config
from reludyn.student import InvariantSubspace, ReLUStudent
from reludyn.teacher import LinearTeacher, axis_teacher, random_teacher
from reludyn.training.checkpoint import save_checkpoint
from reludyn.training.engine import Engine, State
from reludyn.training.schedule import look_steps
from reludyn.training.trainer import StoppedBecause, stopped_because, train

log = logging.getLogger(__name__)
MINIMUM = 1e-8  # times the loss of the zero student: a global minimum, whatever the tolerance


@dataclass(frozen=True)
class Experiment:
    """The parts of a run, on the device and in the precision of the run."""

    config: Config
    seeds: range
    teacher: LinearTeacher
    student: ReLUStudent  # initial weights, in the coordinates of the run
    subspace: InvariantSubspace | None  # None: the coordinates of the run are those of R^d
    A: Tensor  # the teacher, in the coordinates of the run
    risk: Risk
    population: PopulationRisk | None  # closed form, if there is one, of the law of the inputs
    engine: Engine

    @property
    def device(self) -> torch.device:
        return self.A.device


def build(config: Config) -> Experiment:
    """The parts that the config names; raises ConfigError where they cannot be made."""
    data, device, dtype = config.data, pick_device(config.device), _DTYPES[config.precision]
    check_memory(config)
    seeds = range(config.seed, config.seed + config.replicas)
    activation = LeakyReLU(config.model.negative_slope)
    teacher, covariance = make_teacher(config), make_covariance(config)
    drawn = draw_students(config.init, seeds, config.model.width, teacher)
    subspace = None
    if data.name == "population" and covariance is None:
        subspace = InvariantSubspace.spanned(teacher, drawn)
        drawn = subspace.reduce(drawn)
    student = drawn.to(device, dtype)
    A = (teacher if subspace is None else subspace.teacher).A.to(device, dtype)

    population: PopulationRisk | None = PopulationRisk(A, activation)
    zero_loss = teacher.zero_loss
    if covariance is not None:
        population = AnisotropicRisk(A, covariance.colour, activation)
        zero_loss = LinearTeacher(covariance.colour(teacher.A)).zero_loss
    risk: Risk | None = population
    if data.name == "gaussian":
        sampled = seeds if data.seed is None else [data.seed]
        law = InputLaw(data.law, data.freedom, covariance)
        X, Y = draw_samples(teacher, data.samples, sampled, law, data.noise)
        risk = EmpiricalRisk(X.to(device, dtype), Y.to(device, dtype), activation)
        population = population if data.law == "gaussian" else None  # no other closed form
    assert risk is not None
    _check_tolerance(config, risk, zero_loss)
    model = config.model
    optimizer = GradientDescent(config.optimizer.lr, model.train_hidden, model.train_output)
    trainer = config.trainer
    engine = Engine(
        risk,
        optimizer,
        PhaseRule(teacher, A, zero_loss),
        trainer.tolerance,
        trainer.gradient_tolerance,
    )
    return Experiment(config, seeds, teacher, student, subspace, A, risk, population, engine)


def run(config: Config, digest: str, folder: Path) -> StoppedBecause:
    """Train, leave all files of a run in `folder` (DONE last), and print what came out."""
    began = time.perf_counter()
    console = Console()
    claim(folder)
    parts = build(config)
    log.info("reludyn %s, %s", __version__, describe(parts.device))
    state, reason, trajectory = follow(parts, folder, console)
    log.info("stopped after %d steps: %s", int(state.steps.max()), reason)

    basis = None if parts.subspace is None else parts.subspace.basis
    save_checkpoint(folder / "checkpoints" / "last.pt", state, basis, digest)
    arrays = trajectory.arrays(lambda W: _lift(parts, W), parts.teacher.A.numpy())
    run_files.write_npz(folder / "trajectory.npz", arrays)
    rows = results(parts, state, reason, arrays)
    run_files.write_csv(folder / "replicas.csv", COLUMNS, rows)
    pictures = draw(config, folder)
    summary = {
        "version": __version__,
        "experiment": config.name,
        "device": str(parts.device),
        "precision": config.precision,
        "wall_seconds": time.perf_counter() - began,
        "steps": int(state.steps.max()),
        "replicas": config.replicas,
        "stopped_because": reason,
        **summarise(rows),
        "loss_resolution": parts.risk.resolution,
    }
    run_files.write_json(folder / "summary.json", summary)
    if reason != "interrupted":
        run_files.write_done(folder, digest)
    print_report(console, folder, summary, rows, pictures)
    return reason


def follow(
    parts: Experiment, folder: Path, console: Console
) -> tuple[State, StoppedBecause, run_files.Trajectory]:
    """Train under the eyes of all instruments."""
    config, trainer = parts.config, parts.config.trainer
    looks = look_steps(trainer.steps, trainer.looks, trainer.spacing)
    beside = None if parts.population is parts.risk else parts.population
    observer = Observer(parts.risk, parts.A, trainer.keep_weights, beside)
    trajectory = run_files.Trajectory(len(looks), config.data.dim)
    with ExitStack() as stack:
        progress = ProgressReport(console, trainer.steps, config.replicas)
        instruments: list[Instrument] = [stack.enter_context(progress)]
        if config.logger.name == "tensorboard":
            from reludyn.recording.tensorboard import TensorBoard

            board = TensorBoard(folder / "tensorboard", parts.seeds, config.logger.replicas)
            instruments.append(stack.enter_context(closing(board)))
        instruments.append(trajectory)  # last: a look is complete once it is there

        def look(state: State) -> None:
            seen = observer.look(state)
            for instrument in instruments:
                instrument.record(seen)

        seconds = math.inf if trainer.max_seconds is None else trainer.max_seconds
        state, reason = train(parts.engine, parts.student, looks, look, seconds)
        if trajectory.last_step != int(state.steps.max()):  # interrupted before it was looked at
            look(state)
    return state, reason, trajectory


def results(
    parts: Experiment, state: State, reason: StoppedBecause, arrays: dict[str, NDArray[Any]]
) -> list[Row]:
    """The rows of replicas.csv."""
    loss = parts.risk.loss(state.student)
    rate = contraction_rate(
        arrays["step"], arrays["loss"], state.steps.cpu().numpy(), 2 * parts.engine.rule.zero_loss
    )
    given: dict[str, Sequence[object]] = {
        "seed": parts.seeds,
        "init_scale": replica_scales(parts.config.init, parts.config.replicas).tolist(),
        "stopped_because": stopped_because(state, reason),
    }
    if parts.population is not None and parts.population is not parts.risk:
        given["loss_population"] = parts.population.loss(state.student).total.tolist()
    return replica_rows(
        state.student, parts.A, parts.risk.activation, loss, state.clocks,
        outcomes(parts, state, loss), rate, given,
    )  # fmt: skip


class Instrument(Protocol):
    """Anything that takes looks."""

    def record(self, look: Look) -> None: ...


def make_teacher(config: Config) -> LinearTeacher:
    """The target of config.data; a random one depends on data.seed alone, so that all replicas and
    all seeds learn the same A."""
    data = config.data
    if data.target == "axis":
        return axis_teacher(data.outputs, data.dim, data.target_norm)
    return random_teacher(data.outputs, data.dim, data.target_norm, data.seed or 0)


def make_covariance(config: Config) -> Covariance | None:
    """The covariance of config.data; None is the identity."""
    data = config.data
    if data.covariance == "identity":
        return None
    if data.covariance == "power_law":
        return power_law(data.dim, data.covariance_exponent)
    return covariance_from_file(data.covariance_path, data.dim)


def pick_device(name: str) -> torch.device:
    """auto is CUDA where there is one."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device", name, "there is no CUDA device here", "Use device=auto or cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def outcomes(parts: Experiment, state: State, loss: Loss) -> list[Outcome]:
    """What each replica arrived at (`reludyn.phases.classify`)."""
    converged = (state.clocks.converged >= 0) | (
        loss.total <= MINIMUM * parts.engine.rule.zero_loss
    )
    samples = parts.config.data.samples
    sampling = 0.0 if samples is None else 3 * math.sqrt(parts.teacher.inputs / samples)
    return classify(
        state.student, state.evaluation, loss, converged, state.diverged, parts.A,
        parts.engine.rule.zero_loss, 1e-3 + sampling,
        parts.risk.activation,
    )  # fmt: skip


def draw(config: Config, folder: Path) -> list[Path]:
    """The pictures of the run, if any are asked for."""
    if not config.figures:
        return []
    from reludyn.figures.phases import draw_phases  # imports matplotlib

    return draw_phases(folder)


def _lift(parts: Experiment, W: NDArray[Any]) -> NDArray[Any]:
    """(T, R', k, m) -> (T, R', k, d)."""
    if parts.subspace is None:
        return W
    basis = parts.subspace.basis[: W.shape[1]].numpy().astype(W.dtype)
    lifted: NDArray[Any] = W @ basis.swapaxes(-1, -2)
    return lifted


def _check_tolerance(config: Config, risk: Risk, zero_loss: float) -> None:
    """Refuse a tolerance that rounding would never let happen, or that proves nothing."""
    tolerance, activation = config.trainer.tolerance, risk.activation
    if 0 < tolerance < risk.resolution:
        raise ConfigError(
            "trainer.tolerance", tolerance,
            f"must be 0 or at least {risk.resolution:.1e}, below which rounding rules the loss",
            "Use a larger tolerance, or 0 to go on until trainer.steps",
        )  # fmt: skip
    odd, even = activation.odd, activation.even
    stuck = zero_loss * even**2 / (odd**2 + even**2) if even else zero_loss
    if tolerance >= stuck:
        raise ConfigError(
            "trainer.tolerance", tolerance,
            f"must be below {stuck:.3g}, the loss of a student that is stuck",
            "With a small data.target_norm use a smaller tolerance",
        )  # fmt: skip


_DTYPES = {"float64": torch.float64, "float32": torch.float32}
