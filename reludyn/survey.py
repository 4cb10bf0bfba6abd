"""A survey of the landscape: stationary points from the initial weights of a run, and a plane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reludyn.assembly import Experiment
from reludyn.memory import CHUNK, hessian_size
from reludyn.recording.results import numbers, sign_patterns
from reludyn.risk import PopulationRisk
from reludyn.student import InvariantSubspace, ReLUStudent
from reludyn.theory.landscape import (
    eigenvector_plane,
    loss_on_plane,
    random_plane,
    target_plane,
)
from reludyn.theory.stationary import StationaryPoints, find_stationary, identify

COLUMNS = (
    "start", "replica", "seed", "kind", "theorem_1", "c", "loss", "gradient_norm",
    "smallest_eigenvalue", "sharpness", "negative_eigenvalues", "zero_eigenvalues",
    "lower_nearby", "signs", "reason",
)  # fmt: skip
Arrays = dict[str, NDArray[Any]]
Row = Mapping[str, object]


def survey(parts: Experiment, final: ReLUStudent, diverged: Tensor) -> tuple[list[Row], Arrays]:
    """The rows of stationary_points.csv and the arrays of landscape.npz: x, y, loss (X, Y) on the
    plane origin + x one + y other (W (k, d), V (r, k) each), and of the points, in the order of the
    rows, kind, eigenvalues and multiplicity. The search starts from the initial and from the final
    weights of the run, in the population limit, with float64 on the CPU."""
    A, initial, final = parts.A.cpu().double(), _host(parts.student), _host(final)
    risk, plane = PopulationRisk(A, parts.objective.risk.activation), parts.config.theory.plane
    if plane == "targets":
        chosen = target_plane(A)
    elif plane == "eigenvectors":
        chosen = eigenvector_plane(risk, final)
    else:
        chosen = random_plane(A, final, parts.config.seed)
    extent, grid = parts.config.theory.extent, parts.config.theory.grid
    x = torch.linspace(-extent, extent, grid, dtype=torch.float64)
    arrays = {"x": x, "y": x, "loss": loss_on_plane(risk, chosen, x, x)}
    basis = torch.eye(A.shape[1]).double() if parts.subspace is None else parts.subspace.basis[0]
    for name, layers in chosen._asdict().items():
        arrays |= {f"{name}_W": layers.W @ basis.mT, f"{name}_V": layers.V}

    going = diverged.cpu().logical_not()
    rows: list[Row] = []
    found = []
    ended = final.map(lambda layer: layer[going])
    replicas = torch.nonzero(going).flatten().tolist()
    starts = {"initial": (initial, range(len(going))), "final": (ended, replicas)}
    for start, (student, of) in starts.items():
        block = max(1, CHUNK // hessian_size(parts.config) ** 2)
        for first, some in enumerate(student.split(block)):
            points, identified = _search(parts, some)
            these = of[first * block : (first + 1) * block]
            rows += _rows(start, these, parts.seeds, points, identified)
            found.append(identified)
    arrays["eigenvalues"] = torch.cat([points.spectrum.values for points in found])
    arrays["multiplicity"] = torch.cat([points.spectrum.multiplicity for points in found])
    kinds = {"kind": np.array([kind for points in found for kind in points.kind])}
    return rows, kinds | {name: x.numpy() for name, x in arrays.items()}


def _search(parts: Experiment, start: ReLUStudent) -> tuple[ReLUStudent, StationaryPoints]:
    """Stationary points from these starts, in the coordinates of their span."""
    A = parts.A.cpu().double()
    if parts.subspace is None:
        subspace = InvariantSubspace.spanned(parts.teacher, start)
        A, start = subspace.teacher.A, subspace.reduce(start)
    risk = PopulationRisk(A, parts.objective.risk.activation)
    points = find_stationary(risk, start)
    return points, identify(risk, points, parts.teacher.inputs)


def _host(student: ReLUStudent) -> ReLUStudent:
    return student.to("cpu", torch.float64)


def _rows(
    start: str, replicas: Sequence[int], seeds: Sequence[int], points: ReLUStudent,
    found: StationaryPoints,
) -> list[Row]:  # fmt: skip
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
        "negative_eigenvalues": found.spectrum.negative().tolist(),
        "zero_eigenvalues": found.spectrum.near_zero().tolist(),
        "lower_nearby": numbers(found.lower),
        "signs": sign_patterns(points.V[:, 0]) if r == 1 else [None] * R,
        "reason": found.reason,
    }
    return [{name: columns[name][j] for name in COLUMNS} for j in range(R)]
