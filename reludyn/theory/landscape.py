"""The loss along lines and on planes through the space of weights."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from reludyn.network.notation import Gradient
from reludyn.network.student import ReLUStudent
from reludyn.numerics.kernels import norm
from reludyn.numerics.random import stream
from reludyn.numerics.surroundings import undisturbed
from reludyn.risk import PopulationRisk
from reludyn.risk.hessian import flatten, unflatten

NUMBERS = 2**22  # weights that the points have whose loss is evaluated at once


class Plane(NamedTuple):
    """origin + x one + y other: W (k, d) and V (r, k) each."""

    origin: Gradient  # a point
    one: Gradient  # a direction
    other: Gradient  # another


@undisturbed()
def loss_on_plane(risk: PopulationRisk, plane: Plane, x: Tensor, y: Tensor) -> Tensor:
    """The loss at the points origin + x one + y other of a plane, for x (X,), y (Y,): (X, Y)."""
    k, d = plane.origin.W.shape
    origin, one, other = (flatten(layers) for layers in plane)
    rows = max(1, NUMBERS // (len(y) * len(origin)))
    losses = []
    for some in x.split(rows):
        z = origin + some.view(-1, 1, 1) * one + y.view(1, -1, 1) * other
        losses.append(risk.loss(ReLUStudent(*unflatten(z.flatten(0, 1), k, d))).total)
    return torch.cat(losses).view(len(x), len(y))


@undisturbed()
def loss_on_line(risk: PopulationRisk, origin: Gradient, direction: Gradient, x: Tensor) -> Tensor:
    """The loss at origin + x direction, W (k, d) and V (r, k) each, for x (X,): (X,)."""
    plane = Plane(origin, direction, direction)
    return loss_on_plane(risk, plane, x, torch.zeros(1).to(x))[:, 0]


def target_plane(A: Tensor) -> Plane:
    """v_1 w_1 = x a, |v_2| w_2 = y a with v = (1, -1) sqrt|a|, for r = 1, k = 2: figure 1c of the
    paper. With ReLU the valley of loss |a|^2/4 is x - y = 1 where x y > 0, the minimum (1, -1);
    with a leaky ReLU of slope s they are x - y = (1 + s)/(1 + s^2) and (1, -1)/(1 + s)."""
    a = A[0]
    unit = math.sqrt(float(norm(a)))
    W, V = torch.zeros(2, len(a)).to(a), a.new_tensor([[unit, -unit]])
    rows = torch.eye(2).to(a).unsqueeze(-1) * (a / unit)  # of each neuron alone, (2, 2, d)
    still = torch.zeros_like(V)
    return Plane(Gradient(W, V), Gradient(rows[0], still), Gradient(rows[1], still))


def eigenvector_plane(risk: PopulationRisk, student: ReLUStudent) -> Plane:
    """Around the first of the students, along the eigenvectors of the largest and of the smallest
    eigenvalue of the Hessian, both of length sqrt(s_1)."""
    first = student.map(lambda layer: layer[:1])
    k, d = first.W.shape[1:]
    _, vectors = torch.linalg.eigh(risk.hessian(first).matrix()[0])
    unit = _unit(risk.A)
    one, other = (unflatten(unit * vectors[:, i], k, d) for i in (-1, 0))
    return Plane(Gradient(first.W[0], first.V[0]), one, other)


def random_plane(A: Tensor, student: ReLUStudent, seed: int) -> Plane:
    """Around the first of the students, along two random orthogonal directions of length
    sqrt(s_1)."""
    origin = Gradient(student.W[0], student.V[0])
    k, d = origin.W.shape
    normal = stream(seed, "directions").standard_normal((len(flatten(origin)), 2))
    Q = torch.linalg.qr(torch.from_numpy(normal).to(A)).Q * _unit(A)
    return Plane(origin, unflatten(Q[:, 0], k, d), unflatten(Q[:, 1], k, d))


def _unit(A: Tensor) -> float:
    return math.sqrt(float(torch.linalg.matrix_norm(A, ord=2)))
