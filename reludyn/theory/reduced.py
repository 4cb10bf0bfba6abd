"""Small-initialisation theory for one output: each neuron near its ray, or small.

r = 1, isotropic Gaussian inputs, any width k, gradient descent on both layers with step size mu.
(Not in the paper.) All neurons feel each other through two numbers only. In units of |a|, neuron i
has V_i = |v_i|, and its w_i a part P_i along its own ray, +a for v_i > 0 and -a for v_i < 0, and a
part Q_i across. With the amplitudes G of the two rays, G = sum V_j P_j over their neurons, S_i that
of the others on its own ray, S'_i that of the opposite ray, theta_i = angle(P_i, Q_i) and
phi(z) = odd z + even |z|, each iterate moves by mu times

    w_i:  V_i (h_i e + g_i u_i) - (odd^2 + even^2) V_i^2 w_i
    V_i:  |w_i| (h_i cos theta_i + g_i) - (odd^2 + even^2) |w_i|^2 V_i

    h_i = odd - odd^2 (S + S') + (2 even^2/pi) (S' - S) (pi/2 - theta_i)
    g_i = (2 even^2/pi) (S' - S) sin theta_i

with e the own ray, u_i = w_i/|w_i|. It is exact as long as each neuron is small or close to its
ray, so where growth begins after alignment: sigma << 1. While all are small (S = S' = 0) it is
linear: v_i + <w_i, a> grows as (1 + mu odd)^t, v_i - <w_i, a> decays as (1 - mu odd)^t and Q_i
stays; this part is jumped over in closed form. Hence the basin rule: neuron i ends on the ray of
its effective sign, sign(v_i(0) + <w_i(0), a>/|a|).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from reludyn.activation import RELU, LeakyReLU
from reludyn.notation import Own, against, of_replicas
from reludyn.order_parameters import along_and_across
from reludyn.student import ReLUStudent
from reludyn.theory.rays import ALIGNED, into_ray

LINEAR = 1e-3  # the size, in units of sqrt|a|, up to which the dynamics count as linear


class Rays(NamedTuple):
    """R students in units of sqrt|a|: v_i and the parts of w_i along a and across, (R, k) each."""

    v: Tensor
    along: Tensor
    across: Tensor

    def map(self, change: Callable[[Tensor], Tensor]) -> Rays:
        """The same change to all three."""
        return Rays(*(change(x) for x in self))

    @property
    def own(self) -> Tensor:
        """P_i, the part of w_i along its own ray."""
        return torch.where(self.v < 0, -self.along, self.along)

    @property
    def angle(self) -> Tensor:
        """theta_i in [0, pi]."""
        return torch.atan2(self.across, self.own)


@dataclass(frozen=True)
class Theory:
    """The setting: |a|, the step size mu of both layers, the activation."""

    target_norm: Own
    lr: Own
    activation: LeakyReLU = RELU

    @property
    def mu(self) -> Own:
        """The step size in units of 1/|a|."""
        return self.lr * self.target_norm

    @property
    def unit(self) -> Own:
        """sqrt|a|, the unit of weights."""
        return self.target_norm**0.5

    def take(self, replicas: Tensor) -> Theory:
        """That of some replicas, by their indices."""
        norm, lr = (of_replicas(x, replicas) for x in (self.target_norm, self.lr))
        return Theory(norm, lr, self.activation)

    def rays(self, student: ReLUStudent, A: Tensor) -> Rays:
        """The coordinates of a student, W (R, k, d), V (R, 1, k), for A (1, d) or (R, 1, d)."""
        along, across = along_and_across(student.W, A[..., :1, :])
        unit = against(self.unit, along)
        return Rays(student.V[:, 0] / unit, along / unit, across / unit)

    def step(self, rays: Rays) -> Rays:
        """One iteration, as in the formulas of this module."""
        odd, bend = self.activation.odd, 2 * self.activation.even**2 / math.pi
        square = self.activation.square
        V, P, Q, theta = rays.v.abs(), rays.own, rays.across, rays.angle
        positive = rays.v >= 0
        amplitude = V * P
        plus = torch.where(positive, amplitude, 0.0).sum(-1, keepdim=True)
        minus = amplitude.sum(-1, keepdim=True) - plus
        others = torch.where(positive, plus, minus) - amplitude  # S
        opposite = torch.where(positive, minus, plus)  # S'
        length = torch.hypot(P, Q)
        sine, cosine = torch.sin(theta), torch.cos(theta)
        tilt = bend * (opposite - others)
        h = odd - odd**2 * (others + opposite) + tilt * (math.pi / 2 - theta)
        g = tilt * sine
        dV = length * (h * cosine + g) - square * length**2 * V
        dP = V * (h + g * cosine) - square * V**2 * P
        dQ = V * g * sine - square * V**2 * Q
        mu, sign = against(self.mu, V), torch.where(positive, 1.0, -1.0)
        return Rays(sign * (V + mu * dV), sign * (P + mu * dP), (Q + mu * dQ).clamp_min(0))

    def linear(self, rays: Rays, steps: Tensor) -> Rays:
        """The iterate after so many steps, (R,), of small weights: S = S' = 0, no squares."""
        mu, t = against(self.mu, rays.v) * self.activation.odd, steps.unsqueeze(-1).to(rays.v)
        growing = (rays.v + rays.along) * (1 + mu) ** t
        decaying = (rays.v - rays.along) * (1 - mu) ** t
        return Rays((growing + decaying) / 2, (growing - decaying) / 2, rays.across)

    def linear_steps(self, rays: Rays, steps: int) -> Tensor:
        """How many iterations, at most `steps`, all neurons remain small: (R,)."""
        size = torch.stack([rays.v.abs() + rays.along.abs(), rays.across]).amax((0, 2))
        growth = (against(self.mu, size) * self.activation.odd).log1p()
        t = ((math.log(LINEAR) - size.log()) / growth).floor().clamp(0, steps)
        return t.long()

    def first_aligned(self, rays: Rays, within: Tensor) -> Tensor:
        """The first iteration up to `within`, (R,), at which linear dynamics have aligned all
        neurons; -1: none. An aligned neuron stays so, hence by bisection."""

        def aligned(t: Tensor) -> Tensor:
            return (self.linear(rays, t).angle <= ALIGNED).all(-1)

        low, high = torch.full_like(within, -1), within  # aligned at high, not at low
        for _ in range(int(within.max() + 1).bit_length()):
            middle = (low + high) // 2
            now = (middle >= 0) & aligned(middle.clamp_min(0))
            low, high = torch.where(now, low, middle), torch.where(now, middle, high)
        return torch.where(aligned(within), high, -1)

    def stuck(self, rays: Rays) -> Tensor:
        """Whether all neurons are on one ray, on their way into it, and its amplitude is that of
        the saddles, odd/(odd^2 + even^2): (R,)."""
        positive = rays.v >= 0
        one_ray = positive.all(-1) | positive.logical_not().all(-1)
        there = ((rays.v.abs() * rays.own).sum(-1) / self.activation.best_ray - 1).abs() < 1e-3
        squares = rays.v.square(), rays.along.square() + rays.across.square()
        return one_ray & there & into_ray(*squares, rays.angle)

    def rate(self, rays: Rays, across: bool = True) -> Tensor:
        """Slowest factor an iteration near the minimum at which the rays end, (R,): the largest
        |1 - mu |a| lambda| over the eigenvalues of the Hessian that are not zero. Those across a
        (`across`: d > 1) are those of [[p A, -s sqrt(A B)], [-s sqrt(A B), p B]] with A, B the
        sums of V^2 over the two rays, p = odd^2 + even^2, s = odd^2 - even^2; those along a the
        same with the sums of V^2 + P^2. For ReLU p = 1/2, s = 0: 1 - mu |a| min(A, B)/2 for small
        mu."""
        squares = [rays.v.square(), rays.v.square() + rays.along.square()]
        values = [x for sums in squares[0 if across else 1 :] for x in self._pair(rays, sums)]
        factors = 1 - self.mu * torch.stack(values)
        return factors.abs().amax(0)

    def _pair(self, rays: Rays, squares: Tensor) -> tuple[Tensor, Tensor]:
        """Both eigenvalues for the sums of these squares over each ray, (R,) each."""
        p, s = self.activation.square, self.activation.odd**2 - self.activation.even**2
        A = torch.where(rays.v >= 0, squares, 0.0).sum(-1)
        B = squares.sum(-1) - A
        root = ((p * (A - B) / 2).square() + s**2 * A * B).sqrt()
        return p * (A + B) / 2 - root, p * (A + B) / 2 + root

    def learned(self, rays: Rays) -> Tensor:
        """odd (G + G'), the part of a that the effective map odd V W has: (R,)."""
        return self.activation.odd * (rays.v.abs() * rays.own).sum(-1)

    def loss(self, rays: Rays) -> Tensor:
        """|a|^2 (1/2 (1 - odd (G + G'))^2 + even^2/2 (G - G')^2 + (odd^2 + even^2)/2 sum V^2 Q^2),
        with G, G' the amplitudes of the two rays: (R,)."""
        odd, even = self.activation.odd, self.activation.even
        V, amplitude = rays.v.abs(), rays.v.abs() * rays.own
        difference = (torch.where(rays.v < 0, -amplitude, amplitude)).sum(-1)
        across = (V * rays.across).square().sum(-1)
        squares = (1 - odd * amplitude.sum(-1)).square() + (even * difference).square()
        return self.target_norm**2 * (squares + self.activation.square * across) / 2
