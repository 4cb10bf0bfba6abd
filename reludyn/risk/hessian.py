"""The Hessian of the population risk in closed form, for any k and r."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from reludyn.network.activation import RELU, LeakyReLU
from reludyn.network.notation import Gradient
from reludyn.network.student import ReLUStudent
from reludyn.numerics.kernels import norm, pairwise_angle, unit


def _unchanged(rows: Tensor) -> Tensor:
    return rows


@dataclass(frozen=True)
class Hessian:
    """Hessian H of L(W, V) = 1/2 E|V phi(W x) - A x|^2, x ~ N(0, I), at R students.

    Students are W (R, k, d), V (R, r, k). `H @ direction` is the derivative of the gradient (see
    `PopulationRisk`) along a direction W' (R, k, d), V' (R, r, k). With E = A - odd V W,
    S_ij = v_i.v_j, t_ij the angle of w_i and w_j, u_i = w_i/|w_i|, p_ij = u_j - cos t_ij u_i,
    D_ij = u_i.w'_j and primes for derivatives,

        S' = V'^T V + V^T V'          E' = -odd (V' W + V W')
        J_ij = (2/pi) |w_i||w_j| (sin t_ij + (pi/2 - t_ij) cos t_ij)
        K_ij = |w_j| sin t_ij u_i + (pi/2 - t_ij) w_j
        K'_ij = (|w_j|/|w_i|) sin t_ij (w'_i - D_ii u_i) + (pi/2 - t_ij) w'_j
                + sin t_ij D_jj u_i + p_ij x_ij
        x_ij = ((|w_j|/|w_i|) (D_ji - cos t_ij D_ii) + D_ij - cos t_ij D_jj) / sin t_ij
        J'_ij = (2/pi) (K_ij.w'_i + K_ji.w'_j)

        w_i: -odd (E'^T v_i + E^T v'_i) + (2 even^2/pi) sum_j (S'_ij K_ij + S_ij K'_ij)
        v_i: -odd (E' w_i + E w'_i) + even^2 sum_j (J_ij v'_j + J'_ij v_j)

    which for r = 1 is the paper's Hessian if its block v_l w_l reads
    v_l w_l - a/2 + sum_{i != l} v_i (|w_i| sin t u_l + (pi - t) w_i)/(2 pi). p_ij x_ij vanishes
    with sin t_ij: the risk is twice differentiable where neurons are parallel or antiparallel (the
    third derivative jumps), but not where some w_i is zero and others are not: see `exists`.
    """

    student: ReLUStudent
    A: Tensor  # (r, d)
    activation: LeakyReLU = RELU
    colour: Callable[[Tensor], Tensor] = _unchanged  # rows -> rows Sigma^{1/2}, of the inputs
    _residual: Tensor = field(init=False)
    _angle: Tensor = field(init=False)

    def __post_init__(self) -> None:
        residual = self.A - self.activation.odd * (self.student.V @ self.student.W)
        object.__setattr__(self, "_residual", residual)
        object.__setattr__(self, "_angle", pairwise_angle(self.student.W))

    @property
    def exists(self) -> Tensor:
        """Whether the risk is twice differentiable at each student, (R,).

        It is where weights are finite and no w_i is zero, and where all weights are zero.
        """
        zero = (self.student.W == 0).all(-1)
        origin = zero.all(-1) & (self.student.V == 0).all(-1).all(-1)
        finite = flatten(self.student).isfinite().all(-1)
        return (zero.any(-1).logical_not() | origin) & finite

    def __matmul__(self, direction: Gradient) -> Gradient:
        """Return H times a direction; further axes between R and k broadcast."""
        W, V = self.student
        dW, dV = self.colour(direction.W), direction.V
        odd, even, theta = self.activation.odd, self.activation.even, self._angle
        length, u = norm(W), unit(W)
        sine, cosine, complement = torch.sin(theta), torch.cos(theta), math.pi / 2 - theta

        S, dS = V.mT @ V, dV.mT @ V + V.mT @ dV
        D = u @ dW.mT
        radial = D.diagonal(dim1=-2, dim2=-1)  # D_ii
        per_length = torch.where(length > 0, 1 / length, 0.0)
        ratio = per_length.unsqueeze(-1) * length.unsqueeze(-2)  # |w_j| / |w_i|
        turn = ratio * (D.mT - cosine * radial.unsqueeze(-1)) + D - cosine * radial.unsqueeze(-2)
        x = S * torch.where(sine > 0, turn / sine, 0.0)
        along = (dS * sine) @ length.unsqueeze(-1) + (S * sine) @ radial.unsqueeze(-1)
        along = along - (x * cosine).sum(-1, keepdim=True)
        stiff = (S * sine * ratio).sum(-1, keepdim=True)
        turned = stiff * (dW - radial.unsqueeze(-1) * u) + along * u
        turned = turned + x @ u + (S * complement) @ dW + (dS * complement) @ W

        half = length.unsqueeze(-2) * (sine * radial.unsqueeze(-1) + complement * D.mT)
        area = length.unsqueeze(-1) * length.unsqueeze(-2)
        kernel = (2 / math.pi) * area * (sine + complement * cosine)
        dkernel = (2 / math.pi) * (half + half.mT)

        dresidual = -odd * (dV @ W + V @ dW)
        out_W = (2 * even**2 / math.pi) * turned
        out_W = out_W - odd * (V.mT @ dresidual + dV.mT @ self._residual)
        out_V = even**2 * (dV @ kernel + V @ dkernel)
        out_V = out_V - odd * (dresidual @ W.mT + self._residual @ dW.mT)
        return Gradient(self.colour(out_W), out_V)

    def matrix(self) -> Tensor:
        """Return H as a matrix (R, N, N), N = k d + r k: W row by row, then V row by row."""
        (R, k, d), r = self.student.W.shape, self.student.V.shape[1]
        basis = torch.eye(k * d + r * k).to(self.student.W)
        wide = Hessian(
            self.student.map(lambda x: x.unsqueeze(1)), self.A, self.activation, self.colour
        )
        product = wide @ unflatten(basis.expand(R, -1, -1), k, d)
        H = flatten(product)
        return (H + H.mT) / 2


def flatten(layers: ReLUStudent | Gradient) -> Tensor:
    """Return both layers as one vector (..., N): W row by row, then V row by row."""
    return torch.cat([layers.W.flatten(-2), layers.V.flatten(-2)], -1)


def unflatten(z: Tensor, k: int, d: int) -> Gradient:
    """Return the layers W (..., k, d) and V (..., r, k) of a vector (..., N)."""
    W, V = z[..., : k * d], z[..., k * d :]
    return Gradient(W.unflatten(-1, (k, d)), V.unflatten(-1, (-1, k)))
