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

NUMBERS = 2**22  # weights of all points whose loss is evaluated at once


class Plane(NamedTuple):
    """Plane origin + x one + y other through the space of weights: W (k, d), V (r, k) each."""

    origin: Gradient  # the point at x = y = 0
    one: Gradient  # the direction of x
    other: Gradient  # the direction of y


@undisturbed()
def loss_on_plane(risk: PopulationRisk, plane: Plane, x: Tensor, y: Tensor) -> Tensor:
    """Return the loss at the points origin + x one + y other of a plane, (X, Y).

    Args:
        risk: risk whose loss is evaluated; A (r, d).
        plane: origin and two directions, W (k, d) and V (r, k) each.
        x: coordinates along the first direction, (X,).
        y: coordinates along the second direction, (Y,).

    Returns:
        Losses (X, Y).

    Raises:
        ValueError: for weights that do not fit A.

    Examples:
        The plane v_1 w_1 = x a, |v_2| w_2 = y a for a = e_1 has a valley of saddles at x - y = 1.

        >>> import torch, reludyn
        >>> from reludyn.network.notation import Gradient
        >>> from reludyn.theory.landscape import Plane
        >>> V, e, still = torch.tensor([[1.0, -1.0]]), torch.eye(2), torch.zeros(1, 2)
        >>> origin = Gradient(torch.zeros(2, 2), V)
        >>> one = Gradient(torch.stack([e[0], 0 * e[0]]), still)
        >>> other = Gradient(torch.stack([0 * e[0], e[0]]), still)
        >>> risk = reludyn.PopulationRisk(e[:1])
        >>> x, y = torch.tensor([1.0, 2.0]), torch.tensor([-1.0, 1.0])
        >>> reludyn.loss_on_plane(risk, Plane(origin, one, other), x, y)
        tensor([[0.0000, 0.5000],
                [0.2500, 0.2500]])
    """
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
    """Return the loss at the points origin + x direction of a line, (X,).

    Args:
        risk: risk whose loss is evaluated; A (r, d).
        origin: the point at x = 0, W (k, d) and V (r, k).
        direction: direction of the line, W (k, d) and V (r, k).
        x: coordinates along the direction, (X,).

    Returns:
        Losses (X,).

    Raises:
        ValueError: for weights that do not fit A.

    Examples:
        >>> import torch, reludyn
        >>> from reludyn.network.notation import Gradient
        >>> W, V = torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), torch.tensor([[1.0, -1.0]])
        >>> risk = reludyn.PopulationRisk(torch.tensor([[1.0, 0.0]]))
        >>> origin, direction = Gradient(0 * W, V), Gradient(W, 0 * V)
        >>> reludyn.loss_on_line(risk, origin, direction, torch.tensor([0.0, 1.0, 2.0]))
        tensor([0.5000, 0.0000, 0.5000])
    """
    plane = Plane(origin, direction, direction)
    return loss_on_plane(risk, plane, x, torch.zeros(1).to(x))[:, 0]


def target_plane(A: Tensor) -> Plane:
    """Return the plane v_1 w_1 = x a, |v_2| w_2 = y a with v = (1, -1) sqrt|a|, for r = 1, k = 2.

    It is figure 1c of the paper. With ReLU the valley of loss |a|^2/4 is x - y = 1 where x y > 0,
    the minimum (1, -1); with a leaky ReLU of slope s they are x - y = (1 + s)/(1 + s^2) and
    (1, -1)/(1 + s).
    """
    a = A[0]
    unit = math.sqrt(float(norm(a)))
    W, V = torch.zeros(2, len(a)).to(a), a.new_tensor([[unit, -unit]])
    rows = torch.eye(2).to(a).unsqueeze(-1) * (a / unit)  # each neuron alone, (2, 2, d)
    still = torch.zeros_like(V)
    return Plane(Gradient(W, V), Gradient(rows[0], still), Gradient(rows[1], still))


def eigenvector_plane(risk: PopulationRisk, student: ReLUStudent) -> Plane:
    """Return the plane through the first student along two eigenvectors of the Hessian.

    They are those of the largest and of the smallest eigenvalue, both of length sqrt(s_1).
    """
    first = student.map(lambda layer: layer[:1])
    k, d = first.W.shape[1:]
    _, vectors = torch.linalg.eigh(risk.hessian(first).matrix()[0])
    unit = _unit(risk.A)
    one, other = (unflatten(unit * vectors[:, i], k, d) for i in (-1, 0))
    return Plane(Gradient(first.W[0], first.V[0]), one, other)


def random_plane(A: Tensor, student: ReLUStudent, seed: int) -> Plane:
    """Return the plane through the first student along two random orthogonal directions.

    Both have length sqrt(s_1).
    """
    origin = Gradient(student.W[0], student.V[0])
    k, d = origin.W.shape
    normal = stream(seed, "directions").standard_normal((len(flatten(origin)), 2))
    Q = torch.linalg.qr(torch.from_numpy(normal).to(A)).Q * _unit(A)
    return Plane(origin, unflatten(Q[:, 0], k, d), unflatten(Q[:, 1], k, d))


def _unit(A: Tensor) -> float:
    """Return sqrt(s_1), the root of the largest singular value of A."""
    return math.sqrt(float(torch.linalg.matrix_norm(A, ord=2)))
