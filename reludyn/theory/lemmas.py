"""The paper's lemmas as measurable statements: left side <= right side where hypotheses hold.

The setting is r = 1, k = 2, ReLU, x ~ N(0, I), and gradient descent with one step size mu.
Notation: V_i = |v_i|, s_i = sign v_i, theta_i the angle of w_i to s_i a, h_i = V_i w_i - s_i a,
b_i = |w_i|^2 - v_i^2. All statements need output weights of opposite signs; each names its other
hypotheses, where "small weights" are those of `Point.small_start`. Where the paper only states O(.)
or "a constant", the constant is chosen and stated here. Nothing is required of mu and n, whose
bounds the paper does not name either: a violation at a large step size or with few samples means
that they are beyond these bounds. (The caption of the paper's figure 1 swaps w_1 and w_2: here
s_i a is the target of w_i, so w_1 goes to a where v_1 > 0.)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from reludyn.dynamics.order_parameters import (
    along_and_across,
    angle_to_target,
    effective_weight_error,
    imbalance,
)
from reludyn.dynamics.rays import ALIGNED, GROWN
from reludyn.network.notation import Gradient
from reludyn.network.student import ReLUStudent
from reludyn.numerics.kernels import angle, norm
from reludyn.risk import PopulationRisk

PL = 0.05  # Lemma 8
H = 20.0  # Lemma 13
DRIFT = 6.0  # Lemma 3
LARGEST = 2.0  # Lemmas 4 and 5, in units of sqrt|a|
UNBALANCED = 1 / 4  # Lemma 4, in units of |a|
CONTRACTION = PL * GROWN**2 / 4  # Theorem 2
START = 1 / 40  # "small weights", in units of sqrt|a|: sigma_0 of Theorem 2
RESOLVED = 1e4  # times the resolution of the loss: below it both sides are rounding


@dataclass(frozen=True)
class Point:
    """R iterates, with all of their past that the statements need."""

    student: ReLUStudent  # W (R, 2, d), V (R, 1, 2)
    previous: ReLUStudent  # one iteration earlier
    gradient: Gradient  # the one that descent follows from `student`
    initial: ReLUStudent
    step: Tensor  # (R,) iterations
    T_align: Tensor  # (R,) -1: not yet
    T_growth: Tensor
    risk: PopulationRisk
    lr: float
    samples: int | None  # n, where the gradient is that of n samples

    @cached_property
    def a(self) -> Tensor:
        """Target (d,), the one row of A."""
        return self.risk.A[0]

    @cached_property
    def size(self) -> float:
        """|a|."""
        return float(norm(self.a))

    @cached_property
    def V(self) -> Tensor:
        """|v_i|, (R, 2)."""
        return self.student.V[:, 0].abs()

    @cached_property
    def loss(self) -> Tensor:
        """Population risk L, (R,)."""
        return self.risk.loss(self.student).total

    @cached_property
    def slope(self) -> Tensor:
        """Population gradient grad_W L, (R, 2, d)."""
        return self.risk.evaluate(self.student).gradient.W

    @cached_property
    def h_squares(self) -> Tensor:
        """|h_i|^2, (R, 2)."""
        v = self.student.V[:, 0].unsqueeze(-1)
        return (v.abs() * self.student.W - v.sign() * self.a).square().sum(-1)

    @cached_property
    def opposite(self) -> Tensor:
        """Whether v_1 and v_2 have opposite signs, (R,)."""
        return self.student.V[:, 0].prod(-1) < 0

    @cached_property
    def obtuse(self) -> Tensor:
        """Opposite signs, angle(w_1, w_2) > pi/2, and a loss above rounding: (R,)."""
        W = self.student.W
        resolved = self.loss > RESOLVED * self.risk.resolution
        return self.opposite & (angle(W[:, 0], W[:, 1]) > math.pi / 2) & resolved

    @cached_property
    def started(self) -> tuple[Tensor, Tensor, Tensor]:
        """u_i = V_i + P_i, |q_i| = |V_i - P_i| and Q_i at the start, (R, 2) each.

        They are in units of sqrt|a|; P_i is the part of w_i along s_i a, Q_i the part across.
        """
        v, unit = self.initial.V[:, 0], math.sqrt(self.size)
        along, across = along_and_across(self.initial.W, self.a)
        own = v.sign() * along
        return (v.abs() + own) / unit, (v.abs() - own).abs() / unit, across / unit

    @cached_property
    def small_start(self) -> Tensor:
        """Whether the weights were small at the start, (R,).

        They are at most sqrt|a|/40, and the v_i have opposite signs, which are those of
        v_i + <w_i, a>/|a| too.
        """
        u, q, across = self.started
        size = torch.stack([u, q, across]).amax((0, 2))
        return (size <= START) & (u > 0).all(-1) & (self.initial.V[:, 0].prod(-1) < 0)


class Sides(NamedTuple):
    """Two sides, left <= right where `applies`: (R,) each, or (R, 2), one per neuron."""

    left: Tensor
    right: Tensor
    applies: Tensor


STATEMENTS: dict[str, Callable[[Point], Sides]] = {}


def statement(name: str) -> Callable[[Callable[[Point], Sides]], Callable[[Point], Sides]]:
    """Register a statement under its name."""

    def register(sides: Callable[[Point], Sides]) -> Callable[[Point], Sides]:
        STATEMENTS[name] = sides
        return sides

    return register


@statement("lemma_3")
def lemma_3(point: Point) -> Sides:
    """The imbalance drifts by at most 6 mu^2 (v_i^2 + |w_i|^2)(|h_1|^2 + |h_2|^2).

    The drift in an iteration is mu^2 (|grad_w_i|^2 - (grad_v_i)^2).
    """
    grad_W, grad_V = point.gradient
    drift = grad_W.square().sum(-1) - grad_V[:, 0].square()
    sizes = point.student.W.square().sum(-1) + point.V.square()
    right = DRIFT * sizes * point.h_squares.sum(-1, keepdim=True)
    applies = point.opposite.unsqueeze(-1).expand_as(right)
    return Sides(point.lr**2 * drift.abs(), point.lr**2 * right, applies)


@statement("lemma_4")
def lemma_4(point: Point) -> Sides:
    """theta_i <= pi/20 from T_align on, where v_i <= 2 sqrt|a| and |b_i| <= |a|/4."""
    theta = angle_to_target(point.student, point.risk.A)
    aligned = (point.T_align >= 0) & (point.T_align < point.step) & point.opposite
    bounded = point.V.amax(-1) <= LARGEST * math.sqrt(point.size)
    balanced = imbalance(point.student).abs().amax(-1) <= UNBALANCED * point.size
    applies = (aligned & bounded & balanced).unsqueeze(-1).expand_as(theta)
    return Sides(theta, torch.full_like(theta, ALIGNED), applies)


@statement("lemma_5_upper")
def lemma_5_upper(point: Point) -> Sides:
    """|v_i|, |w_i| <= 2 sqrt|a|, from small weights."""
    left = torch.maximum(point.V, norm(point.student.W))
    right = torch.full_like(left, LARGEST * math.sqrt(point.size))
    return Sides(left, right, point.small_start.unsqueeze(-1).expand_as(left))


@statement("lemma_5_lower")
def lemma_5_lower(point: Point) -> Sides:
    """|v_i|, |w_i| >= beta sqrt|a|, from small weights.

    The paper leaves beta to the initialisation. Here it is half of the smallest of |v_i(0)|,
    v_i(0) + s_i <w_i(0), a>/|a| and |w_i(0)|; where w_i(0) points away from s_i a only its part
    across a counts, since the part along a turns round.
    """
    least = torch.minimum(point.V, norm(point.student.W))
    u, _, across = point.started
    unit, v = math.sqrt(point.size), point.initial.V[:, 0].abs()
    away = u < v / unit  # P_i < 0
    hidden = torch.where(away, unit * across, norm(point.initial.W))
    beta = torch.stack([v, unit * u, hidden]).amin((0, 2)).unsqueeze(-1) / 2
    return Sides(beta.expand_as(least), least, point.small_start.unsqueeze(-1).expand_as(least))


@statement("lemma_6")
def lemma_6(point: Point) -> Sides:
    """Alignment ends by mu |a| T_align = O(1), from small weights.

    The bound is the linear phase's own time, at most
    1 + max_i ln((2 Q_i / tan(pi/20) + |q_i|) / u_i) / ln(1 + mu |a|/2) iterations, on the
    population risk (on samples small weights turn to another direction than a). Left: T_align, or
    the iterations so far without alignment; both times mu |a|.
    """
    return _clock(point, point.T_align, _alignment(point))


@statement("lemma_7")
def lemma_7(point: Point) -> Sides:
    """Growth ends by mu |a| T_growth = O(ln(sqrt|a|/sigma)), from small weights.

    The bound is the larger of Lemma 6's time and 1 + max_i ln(1/u_i) / ln(1 + mu |a|/2)
    iterations, when the linear phase would have brought v_i to sqrt|a|/2. Hypotheses and left side
    are as in lemma_6.
    """
    u, _, _ = point.started
    growth = 1 + (-u.log()).amax(-1) / math.log1p(point.lr * point.size / 2)
    return _clock(point, point.T_growth, torch.maximum(_alignment(point), growth))


@statement("lemma_7_size")
def lemma_7_size(point: Point) -> Sides:
    """|v_i| >= sqrt|a|/4 from T_growth on, from small weights."""
    grown = (point.T_growth >= 0) & (point.T_growth < point.step) & point.small_start
    left = torch.full_like(point.V, GROWN * math.sqrt(point.size))
    return Sides(left, point.V, grown.unsqueeze(-1).expand_as(left))


@statement("lemma_8")
def lemma_8(point: Point) -> Sides:
    """0.05 min(v_1^2, v_2^2) L <= |grad_w1 L|^2 + |grad_w2 L|^2 (Polyak-Lojasiewicz).

    L is the population risk. Hypothesis: angle(w_1, w_2) > pi/2.
    """
    slope = point.slope.square().sum((-2, -1))
    return Sides(PL * point.V.square().amin(-1) * point.loss, slope, point.obtuse)


@statement("lemma_11")
def lemma_11(point: Point) -> Sides:
    """|grad_{w_i} L_n - grad_{w_i} L| <= |v_i| delta (|h_1| + |h_2|) on n samples.

    The paper has delta = O(sqrt(d/n)) up to logarithms; here it is 2 sqrt(d/n) + d/n, the deviation
    of the largest eigenvalue of a sample covariance.
    """
    left = norm(point.gradient.W - point.slope)
    if point.samples is None:
        never = torch.zeros_like(left, dtype=torch.bool)
        return Sides(left, torch.full_like(left, math.nan), never)
    ratio = len(point.a) / point.samples
    sizes = point.h_squares.sqrt().sum(-1, keepdim=True)
    applies = point.opposite.unsqueeze(-1).expand_as(left)
    return Sides(left, point.V * (2 * math.sqrt(ratio) + ratio) * sizes, applies)


@statement("lemma_13")
def lemma_13(point: Point) -> Sides:
    """|h_1|^2 + |h_2|^2 <= 20 L, where angle(w_1, w_2) > pi/2."""
    return Sides(point.h_squares.sum(-1), H * point.loss, point.obtuse)


@statement("theorem_2")
def theorem_2(point: Point) -> Sides:
    """E = |diag(|v|) W - [s_1 a, s_2 a]^T|_F shrinks by 1 - c mu |a| per iteration.

    It holds from T_growth on, from small weights. The paper leaves c open; here it is 0.05/64, the
    order to which Lemmas 7 and 8 contract the loss. (Measured: c between 1/2 and 1.)
    """
    A = point.risk.A
    now, before = (effective_weight_error(x, A) for x in (point.student, point.previous))
    moved = (point.student.W != point.previous.W).any(-1).any(-1)  # false once it has stopped
    applies = (point.T_growth >= 0) & (point.T_growth < point.step) & point.small_start & moved
    return Sides(now, (1 - CONTRACTION * point.lr * point.size) * before, applies & point.obtuse)


def _alignment(point: Point) -> Tensor:
    """Return Lemma 6's bound on the number of iterations, (R,)."""
    u, q, across = point.started
    growth = math.log1p(point.lr * point.size / 2)
    times = ((2 * across / math.tan(ALIGNED) + q) / u).log() / growth
    return 1 + times.amax(-1).clamp_min(0)


def _clock(point: Point, clock: Tensor, latest: Tensor) -> Sides:
    """Return both sides of a bound on a clock, in units of 1/(mu |a|)."""
    passed = torch.where(clock >= 0, clock, point.step).to(latest)
    time = point.lr * point.size
    exact = torch.full_like(point.small_start, point.samples is None)
    return Sides(time * passed, time * latest, point.small_start & exact)


def lemma_8_margin(theta: Tensor) -> Tensor:
    """Return min over a of |grad_w1 L|^2 + |grad_w2 L|^2 - 0.05 L at given angles, (T,) -> (T,).

    v = (1, -1), and w_1, w_2 have length one and that angle. It is figure 4 of the paper; Lemma 8
    claims that it is >= 0 from pi/2 on. As a function of a it is quadratic, m |a|^2 + b.a + c with
    m = (1 - 0.05)/2, and its minimum c - |b|^2/(4 m) lies in the span of w_1 and w_2.
    """
    zero, one = torch.zeros_like(theta), torch.ones_like(theta)
    W = torch.stack([torch.stack([one, zero], -1), torch.stack([theta.cos(), theta.sin()], -1)], 1)
    V = torch.tensor([[[1.0, -1.0]]]).to(theta).expand(len(theta), 1, 2)
    student, sums = ReLUStudent(W, V), V.squeeze(1).unsqueeze(-1)
    still = PopulationRisk(torch.zeros(1, 2).to(theta))  # a = 0
    loss, gradient = still.evaluate(student)
    b = ((PL / 2) * sums * W - sums * gradient.W).sum(1)
    c = gradient.W.square().sum((1, 2)) - PL * loss
    return c - b.square().sum(-1) / (2 * (1 - PL))


def lemma_13_margin(theta: Tensor) -> Tensor:
    """Return (1/4 - 1/20) - ((pi (1/2 + 2/20) - t) cos t + sin t)/(2 pi) at angles t, (T,) -> (T,).

    It is figure 5 of the paper; Lemma 13 claims that it is >= 0 from pi/2 on.
    """
    c = 1 / H
    turned = (math.pi * (1 / 2 + 2 * c) - theta) * theta.cos() + theta.sin()
    return 1 / 4 - c - turned / (2 * math.pi)
