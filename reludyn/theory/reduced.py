"""Small-initialisation theory for one output: each neuron near its ray, or small.

The setting is r = 1, isotropic Gaussian inputs, any width k, and gradient descent on both layers
with step size mu. (Not in the paper.) All neurons feel each other through two numbers only. In
units of |a|, neuron i has V_i = |v_i|, and its w_i a part P_i along its own ray, +a for v_i > 0 and
-a for v_i < 0, and a part Q_i across. A ray has the amplitude G = sum V_j P_j over its neurons. For
neuron i, S is the amplitude of the others on its own ray, S' that of the opposite ray, and
theta_i = angle(P_i, Q_i). With phi(z) = odd z + even |z| each iteration adds mu times

    w_i:  V_i (h_i e + g_i u_i) - (odd^2 + even^2) V_i^2 w_i
    V_i:  |w_i| (h_i cos theta_i + g_i) - (odd^2 + even^2) |w_i|^2 V_i
    h_i = odd - odd^2 (S + S') + (2 even^2/pi) (S' - S) (pi/2 - theta_i)
    g_i = (2 even^2/pi) (S' - S) sin theta_i

with e the own ray, u_i = w_i/|w_i|. This is exact as long as each neuron is small or close to its
ray, so where growth begins after alignment: sigma << 1. While all are small (S = S' = 0) it is
linear: v_i + <w_i, a> grows as (1 + mu odd)^t, v_i - <w_i, a> decays as (1 - mu odd)^t and Q_i
stays; this part is skipped in closed form. Hence the basin rule: neuron i ends on the ray of
its effective sign, sign(v_i(0) + <w_i(0), a>/|a|).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from reludyn.dynamics.order_parameters import along_and_across, in_groups
from reludyn.dynamics.rays import ALIGNED, first_of, into_ray
from reludyn.network.activation import RELU, LeakyReLU
from reludyn.network.notation import PerReplica, against, of_replicas
from reludyn.network.student import ReLUStudent
from reludyn.numerics.kernels import norm, unit
from reludyn.numerics.sizes import BLOCK

LONGEST = 64  # iterations of small weights that are evaluated at once
LINEAR = 1e-3  # the size, in units of sqrt|a|, up to which the dynamics count as linear


class Rays(NamedTuple):
    """R students in units of sqrt|a|: v_i, and the parts of w_i along a and across, (R, k) each."""

    v: Tensor
    along: Tensor
    across: Tensor

    def map(self, change: Callable[[Tensor], Tensor]) -> Rays:
        """Return the rays with the same change applied to all three."""
        return Rays(*(change(x) for x in self))

    @property
    def own(self) -> Tensor:
        """P_i, the part of w_i along its own ray."""
        return torch.where(self.v < 0, -self.along, self.along)

    @property
    def angle(self) -> Tensor:
        """theta_i in [0, pi]."""
        return torch.atan2(self.across, self.own)

    def deciding(self, directions: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return theta and |v| of the neurons or sign groups that decide when phases end.

        For neurons they are (..., R, k) each; with `directions` (see `directions_across`), for the
        effective neurons of both sign groups, (..., R, 2). A group without neurons has an infinite
        |v|, and angle 0 unless there is no neuron at all.
        """
        if directions is None:
            return self.angle, self.v.abs()
        tiny, largest = torch.finfo(self.v.dtype).tiny, self.v.abs().amax(-1, keepdim=True)
        shares = torch.stack([self.v.relu(), (-self.v).relu()], -2)
        shares = shares / largest.clamp_min(tiny).unsqueeze(-1)
        along = (shares * self.own.unsqueeze(-2)).sum(-1)
        across = norm((shares * self.across.unsqueeze(-2)) @ directions)
        size = norm(shares)
        empty = torch.where(largest > 0, 0.0, math.pi)
        angle = torch.where(size > 0, torch.atan2(across, along), empty)
        return angle, torch.where(size > 0, largest * size, math.inf)


def directions_across(student: ReLUStudent, A: Tensor) -> Tensor | None:
    """Return unit vectors along the parts of w_i across a, (R, k, min(d, k)), up to a rotation.

    In the dynamics of this module they stay the same. None where sign groups do not matter
    (`in_groups`).
    """
    if not in_groups(1, student.width):
        return None
    ray = unit(A[..., :1, :])
    across = unit(student.W - (student.W * ray).sum(-1, keepdim=True) * ray)
    factor: Tensor = torch.linalg.qr(across.mT, mode="r").R
    return factor.mT


@dataclass(frozen=True)
class Theory:
    """Setting of the theory: |a|, the step size mu of both layers, the activation."""

    target_norm: PerReplica
    lr: PerReplica
    activation: LeakyReLU = RELU

    @property
    def mu(self) -> PerReplica:
        """Step size in units of 1/|a|."""
        return self.lr * self.target_norm

    @property
    def unit(self) -> PerReplica:
        """sqrt|a|, the unit of weights."""
        return self.target_norm**0.5

    def select(self, replicas: Tensor) -> Theory:
        """Return the setting of some replicas, given by their indices."""
        norm, lr = (of_replicas(x, replicas) for x in (self.target_norm, self.lr))
        return Theory(norm, lr, self.activation)

    def rays(self, student: ReLUStudent, A: Tensor) -> Rays:
        """Return the coordinates of students W (R, k, d), V (R, 1, k), A (1, d) or (R, 1, d)."""
        along, across = along_and_across(student.W, A[..., :1, :])
        unit = against(self.unit, along)
        return Rays(student.V[:, 0] / unit, along / unit, across / unit)

    def step(self, rays: Rays) -> Rays:
        """Return the rays after one iteration, by the formulas of this module."""
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
        """Return the rays after `steps` (R,) iterations of small weights: S = S' = 0."""
        mu, t = against(self.mu, rays.v) * self.activation.odd, steps.unsqueeze(-1).to(rays.v)
        growing = (rays.v + rays.along) * (1 + mu) ** t
        decaying = (rays.v - rays.along) * (1 - mu) ** t
        return Rays((growing + decaying) / 2, (growing - decaying) / 2, rays.across)

    def linear_steps(self, rays: Rays, steps: int) -> Tensor:
        """Return how many iterations, at most `steps`, all neurons remain small, (R,)."""
        size = torch.stack([rays.v.abs() + rays.along.abs(), rays.across]).amax((0, 2))
        growth = (against(self.mu, size) * self.activation.odd).log1p()
        t = ((math.log(LINEAR) - size.log()) / growth).floor().clamp(0, steps)
        return t.long()

    def first_aligned(self, rays: Rays, within: Tensor, directions: Tensor | None) -> Tensor:
        """Return the first iteration up to `within` (R,) with all neurons or groups aligned, (R,).

        It is -1 where there is none; the dynamics are linear. A neuron that is aligned stays so,
        hence bisection; sign groups change their members.
        """
        if directions is not None:
            return self._first_aligned_groups(rays, within, directions)

        def aligned(t: Tensor) -> Tensor:
            return (self.linear(rays, t).angle <= ALIGNED).all(-1)

        low, high = torch.full_like(within, -1), within  # aligned at high, not at low
        for _ in range(int(within.max() + 1).bit_length()):
            middle = (low + high) // 2
            now = (middle >= 0) & aligned(middle.clamp_min(0))
            low, high = torch.where(now, low, middle), torch.where(now, middle, high)
        return torch.where(aligned(within), high, -1)

    def _first_aligned_groups(self, rays: Rays, within: Tensor, directions: Tensor) -> Tensor:
        clock, last = torch.full_like(within, -1), int(within.max())
        block = max(1, min(LONGEST, BLOCK // rays.v.numel()))
        for start in range(0, last + 1, block):
            steps = torch.arange(start, min(start + block, last + 1)).unsqueeze(-1)
            steps = steps.expand(-1, len(within))
            theta, _ = self.linear(rays, steps).deciding(directions)
            clock = first_of(clock, steps, (theta <= ALIGNED).all(-1) & (steps <= within))
            if bool(((clock >= 0) | (within < start + block)).all()):
                break
        return clock

    def stuck(self, rays: Rays) -> Tensor:
        """Return whether all neurons end in one ray whose amplitude is that of the saddles, (R,).

        The amplitude of the saddles is odd/(odd^2 + even^2).
        """
        positive = rays.v >= 0
        one_ray = positive.all(-1) | positive.logical_not().all(-1)
        there = ((rays.v.abs() * rays.own).sum(-1) / self.activation.best_ray - 1).abs() < 1e-3
        squares = rays.v.square(), rays.along.square() + rays.across.square()
        return one_ray & there & into_ray(*squares, rays.angle)

    def rate(self, rays: Rays, across: bool = True) -> Tensor:
        """Return the slowest factor per iteration near the minimum at which the rays end, (R,).

        It is the largest |1 - mu |a| lambda| over the eigenvalues of the Hessian that are not zero.
        The eigenvalues across a (`across`: d > 1) are those of [[p A, -s sqrt(A B)], [-s sqrt(A B),
        p B]] with A, B the sums of V^2 over the two rays, p = odd^2 + even^2, s = odd^2 - even^2;
        those along a the same with the sums of V^2 + P^2. For ReLU p = 1/2, s = 0: 1 - mu |a|
        min(A, B)/2 for small mu.
        """
        squares = [rays.v.square(), rays.v.square() + rays.along.square()]
        values = [x for sums in squares[0 if across else 1 :] for x in self._pair(rays, sums)]
        factors = 1 - self.mu * torch.stack(values)
        return factors.abs().amax(0)

    def _pair(self, rays: Rays, squares: Tensor) -> tuple[Tensor, Tensor]:
        """Return both eigenvalues for the sums of these squares over each ray, (R,) each."""
        p, s = self.activation.square, self.activation.odd**2 - self.activation.even**2
        A = torch.where(rays.v >= 0, squares, 0.0).sum(-1)
        B = squares.sum(-1) - A
        root = ((p * (A - B) / 2).square() + s**2 * A * B).sqrt()
        return p * (A + B) / 2 - root, p * (A + B) / 2 + root

    def learned(self, rays: Rays) -> Tensor:
        """Return odd (G + G'), the part of a that the effective map odd V W has, (R,)."""
        return self.activation.odd * (rays.v.abs() * rays.own).sum(-1)

    def loss(self, rays: Rays) -> Tensor:
        """Return the loss for the amplitudes G, G' of the two rays, (R,).

        |a|^2 ((1 - odd (G + G'))^2 + even^2 (G - G')^2 + (odd^2 + even^2) sum V^2 Q^2) / 2
        """
        odd, even = self.activation.odd, self.activation.even
        V, amplitude = rays.v.abs(), rays.v.abs() * rays.own
        difference = (torch.where(rays.v < 0, -amplitude, amplitude)).sum(-1)
        across = (V * rays.across).square().sum(-1)
        squares = (1 - odd * amplitude.sum(-1)).square() + (even * difference).square()
        return self.target_norm**2 * (squares + self.activation.square * across) / 2
