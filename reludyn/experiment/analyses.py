"""A survey around a run: stationary points from its weights, the loss on a plane, margins."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from reludyn.experiment.build import Setup
from reludyn.experiment.memory import hessian_size
from reludyn.network.student import ReLUStudent
from reludyn.network.subspace import InvariantSubspace
from reludyn.numerics.sizes import CHUNK
from reludyn.recording.replica_rows import numbers, sign_patterns
from reludyn.risk import EmpiricalRisk, PopulationRisk
from reludyn.theory.landscape import (
    Plane,
    eigenvector_plane,
    loss_on_plane,
    random_plane,
    target_plane,
)
from reludyn.theory.lemmas import lemma_8_margin, lemma_13_margin
from reludyn.theory.stationary import StationaryPoints, find_stationary, identify
from reludyn.training.engine import State

COLUMNS = (
    "start",
    "replica",
    "seed",
    "kind",
    "theorem_1",
    "c",
    "loss",
    "gradient_norm",
    "smallest_eigenvalue",
    "sharpness",
    "negative_eigenvalues",
    "zero_eigenvalues",
    "lower_nearby",
    "signs",
    "reason",
)
IMAGES = 10  # that are reconstructed
ANGLES = 1001  # of the tabulated functions
Arrays = dict[str, NDArray[Any]]
Row = Mapping[str, object]


@dataclass(frozen=True)
class Points:
    """The rows of stationary_points.csv, and in their order kind, eigenvalues, multiplicity."""

    rows: list[Row]
    arrays: Arrays


def stationary_points(setup: Setup, state: State) -> Points:
    """Return the points that a search comes to from the initial and from the final weights, in the
    population limit, with float64 on the CPU; replicas that diverged have no final weights."""
    going = state.diverged.cpu().logical_not()
    final = _host(state.student).map(lambda layer: layer[going])
    starts: dict[str, tuple[ReLUStudent, Sequence[int]]] = {
        "initial": (_host(setup.student), range(len(going))),
        "final": (final, torch.nonzero(going).flatten().tolist()),
    }
    block = max(1, CHUNK // hessian_size(setup.config) ** 2)
    rows: list[Row] = []
    found = []
    for start, (student, replicas) in starts.items():
        for b, some in enumerate(student.split(block) if replicas else []):
            points, identified = _search(setup, some)
            of = replicas[b * block : (b + 1) * block]
            rows += _rows(start, of, setup.seeds, points, identified)
            found.append(identified)
    spectra = [points.spectrum for points in found]
    return Points(
        rows,
        {
            "kind": np.array([kind for points in found for kind in points.kind]),
            "eigenvalues": torch.cat([spectrum.values for spectrum in spectra]).numpy(),
            "multiplicity": torch.cat([spectrum.multiplicity for spectrum in spectra]).numpy(),
        },
    )


def plane(setup: Setup, state: State) -> Arrays:
    """The arrays of plane.npz: x, y, loss (X, Y) at origin + x one + y other, and these three, W
    (k, d) and V (r, k) each. The population risk; around the first replica that did not diverge.
    Empty where all did and the plane goes through their weights."""
    A, theory = setup.A.cpu().double(), setup.config.theory
    going = state.diverged.cpu().logical_not()
    final = _host(state.student).map(lambda layer: layer[going])
    if theory.plane != "targets" and final.replicas == 0:
        return {}
    risk = PopulationRisk(A, setup.objective.risk.activation)
    chosen = _plane(theory.plane, risk, final, setup.config.seed)
    x = torch.linspace(-theory.extent, theory.extent, theory.grid, dtype=torch.float64)
    arrays = {"x": x, "y": x, "loss": loss_on_plane(risk, chosen, x, x)}
    basis = torch.eye(A.shape[1]).double() if setup.subspace is None else setup.subspace.basis[0]
    for name, layers in chosen._asdict().items():
        arrays |= {f"{name}_W": layers.W @ basis.mT, f"{name}_V": layers.V}
    return {name: x.numpy() for name, x in arrays.items()}


def reconstructions(setup: Setup, state: State) -> Arrays:
    """The arrays of reconstructions.npz: inputs (m, d), targets and outputs (m, r) of replica 0 for
    the first images."""
    risk = setup.objective.risk
    assert isinstance(risk, EmpiricalRisk)
    X, Y = next(iter(risk.samples.chunks(IMAGES)))
    outputs = state.student.map(lambda layer: layer[:1])(X[:1], risk.activation)
    arrays = {"inputs": X[0], "targets": Y[0], "outputs": outputs[0]}
    return {name: x.cpu().double().numpy() for name, x in arrays.items()}


def margins() -> Arrays:
    """The arrays of margins.npz: theta in [0, pi], and the functions of figures 4 and 5."""
    theta = torch.linspace(0, math.pi, ANGLES, dtype=torch.float64)
    arrays = {"theta": theta, "lemma_8": lemma_8_margin(theta), "lemma_13": lemma_13_margin(theta)}
    return {name: x.numpy() for name, x in arrays.items()}


def _plane(name: str, risk: PopulationRisk, final: ReLUStudent, seed: int) -> Plane:
    if name == "targets":
        return target_plane(risk.A)
    if name == "eigenvectors":
        return eigenvector_plane(risk, final)
    return random_plane(risk.A, final, seed)


def _search(setup: Setup, start: ReLUStudent) -> tuple[ReLUStudent, StationaryPoints]:
    """Stationary points from these starts, in the coordinates of their span."""
    A = setup.A.cpu().double()
    if setup.subspace is None:
        subspace = InvariantSubspace.spanned(setup.teacher, start)
        A, start = subspace.teacher.A, subspace.reduce(start)
    risk = PopulationRisk(A, setup.objective.risk.activation)
    points = find_stationary(risk, start)
    return points, identify(risk, points, setup.teacher.inputs)


def _counts(values: torch.Tensor) -> list[int | None]:
    return [None if x is None else int(x) for x in numbers(values)]


def _host(student: ReLUStudent) -> ReLUStudent:
    return student.to("cpu", torch.float64)


def _rows(
    start: str,
    replicas: Sequence[int],
    seeds: Sequence[int],
    points: ReLUStudent,
    found: StationaryPoints,
) -> list[Row]:
    R, r = points.replicas, points.V.shape[1]
    columns: dict[str, Sequence[object]] = {
        "start": [start] * R,
        "replica": replicas,
        "seed": [seeds[j] for j in replicas],
        "kind": found.kind,
        "theorem_1": found.theorem,
        "c": numbers(found.c),
        "loss": numbers(found.loss),
        "gradient_norm": numbers(found.gradient),
        "smallest_eigenvalue": numbers(found.spectrum.smallest),
        "sharpness": numbers(found.spectrum.sharpness),
        "negative_eigenvalues": _counts(found.spectrum.negative()),
        "zero_eigenvalues": _counts(found.spectrum.near_zero()),
        "lower_nearby": numbers(found.lower),
        "signs": sign_patterns(found.point.V[:, 0]) if r == 1 else [None] * R,
        "reason": found.reason,
    }
    return [{name: columns[name][j] for name in COLUMNS} for j in range(R)]
