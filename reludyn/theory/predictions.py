"""Predictions from the initial weights alone: phase times, curves, basin, outcome, final rate.

For r = 1 they follow from the reduced dynamics of small weights (`reludyn.theory.reduced`) and are
complete. For r > 1 they are those of the early phase (`reludyn.theory.linear_phase`). The setting
is gradient descent with one step size mu on both layers, isotropic Gaussian inputs, and the limit
of infinitely many samples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from reludyn.dynamics.order_parameters import along_and_across
from reludyn.dynamics.rays import ALIGNED, GROWN, MINIMUM, first_time
from reludyn.network.activation import RELU, LeakyReLU
from reludyn.network.notation import PerReplica, against
from reludyn.network.outcomes import Outcome
from reludyn.network.student import ReLUStudent, check_layers
from reludyn.numerics.kernels import norm
from reludyn.numerics.surroundings import undisturbed
from reludyn.theory.linear_phase import SMALL, LinearPhase
from reludyn.theory.reduced import Rays, Theory, directions_across

HORIZON = 300.0  # how long the theory is followed after the linear part, in units of 1/|a|
DIVERGED = 1e6  # the loss, in units of |a|^2, from which descent has diverged
EVERY = 32  # iterations after which replicas that are done are put aside


@dataclass(frozen=True)
class Prediction:
    """Predictions for R replicas; for r > 1 only T_align and T_direction are known."""

    T_align: Tensor  # (R,) iterations; -1: not within the steps, or not known
    T_growth: Tensor  # (R,) as T_align
    T_converged: Tensor  # (R,) as T_align
    T_direction: Tensor  # (R, r) when singular direction j of A (a for r = 1) is half learned
    outcome: list[Outcome | None]  # R words, as in replicas.csv; None: not known
    signs: Tensor  # (R, k) the final sign of v_i, its basin; 0: not known
    saddle_c: Tensor  # (R,) c of a saddle (0: all neurons end on +a, -1: on -a); else NaN
    rate: Tensor  # (R,) slowest factor per iteration near a minimum; else NaN
    v_end: Tensor  # (R, k) v_i at the end, or as far as theory was followed; NaN: not known
    w_end: Tensor  # (R, k) the part of w_i along a, as v_end

    def of(self, replicas: slice) -> Prediction:
        """Return the prediction of some replicas."""
        return Prediction(**{name: column[replicas] for name, column in vars(self).items()})


@undisturbed()
def predict(
    student: ReLUStudent,
    A: Tensor,
    lr: PerReplica,
    tolerance: PerReplica,
    steps: int,
    activation: LeakyReLU = RELU,
) -> Prediction:
    """Predict phase times, outcome, basin and final rate from initial weights, without training.

    The prediction covers the given steps and, for r = 1, the time 300/|a| after the linear part;
    theory is that of small weights (`reludyn.theory.reduced`, `reludyn.theory.linear_phase`).

    Args:
        student: initial weights W (R, k, d), V (R, r, k).
        A: teacher (r, d), or (R, r, d): one per replica.
        lr: step size mu of both layers, one number or (R,).
        tolerance: loss below which a replica has converged, one number or (R,); 0: never.
        steps: iterations to predict.
        activation: phi, by default ReLU.

    Returns:
        Predictions for R replicas; times are in iterations, -1 where they are not reached.

    Raises:
        ValueError: for weights of other shapes, and for step sizes that are not positive.

    Examples:
        >>> import torch, reludyn
        >>> W = 1e-3 * torch.tensor([[[1.0, 2.0], [-2.0, 1.0]]], dtype=torch.float64)
        >>> V = 1e-3 * torch.tensor([[[1.0, -1.0]]], dtype=torch.float64)
        >>> A = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
        >>> student = reludyn.ReLUStudent(W, V)
        >>> prediction = reludyn.predict(student, A, lr=0.5, tolerance=1e-4, steps=200)
        >>> print(*prediction.outcome, prediction.signs.tolist())
        global_minimum [[1.0, -1.0]]
        >>> prediction.T_align, prediction.T_growth, prediction.T_converged
        (tensor([12]), tensor([25]), tensor([37]))
    """
    check_layers(student, A)
    if not bool((torch.as_tensor(lr, dtype=torch.float64) > 0).all()):
        raise ValueError(f"lr={lr}: must be > 0")
    if A.shape[-2] > 1:
        align, direction = LinearPhase(student, A, lr, activation).times(steps)
        never, unknown = torch.full_like(align, -1), torch.full(align.shape, math.nan)
        layer = torch.full(student.W.shape[:2], math.nan)
        names: list[Outcome | None] = [None] * len(align)
        signs = torch.zeros(student.W.shape[:2])
        return Prediction(
            align, never, never, direction, names, signs, unknown, unknown, layer, layer
        )
    theory = Theory(_target_norm(A), lr, activation)
    directions = directions_across(student, A)
    rays, across = theory.rays(student, A), A.shape[-1] > 1
    return _predict_rays(theory, rays, directions, tolerance, steps, across)


def _target_norm(A: Tensor) -> PerReplica:
    return float(norm(A[0])) if A.ndim == 2 else norm(A[:, 0])


def _predict_rays(
    theory: Theory,
    rays: Rays,
    directions: Tensor | None,
    tolerance: PerReplica,
    steps: int,
    across: bool,
) -> Prediction:
    """Predict by iterating the reduced dynamics, from where weights are no longer tiny.

    `across`: whether d > 1, so that there are directions across a.
    """
    t = theory.linear_steps(rays, steps)
    align = theory.first_aligned(rays, t, directions)
    growth, converged, half = (torch.full_like(t, -1) for _ in range(3))
    minimum, stuck, diverged = (torch.zeros_like(t, dtype=torch.bool) for _ in range(3))
    rays = theory.linear(rays, t)
    last = rays.map(torch.clone)  # where each replica came to
    left, whole = torch.arange(len(t)), theory  # the replicas that are still followed
    tolerances = against(tolerance, t).expand_as(t)
    reached = torch.maximum(tolerances, against(MINIMUM * theory.target_norm**2 / 2, t))
    horizon = (HORIZON / against(theory.mu, t)).ceil().expand_as(t)
    for iteration in range(int(min(steps, float(horizon.max()))) + 1):
        due = iteration <= horizon[left]
        if iteration % EVERY == 0 and not bool(due.all()):
            rays, t, left = Rays(*(x[due] for x in rays)), t[due], left[due]
            theory, due = whole.select(left), due[due]
        on, loss = (converged[left] < 0) & (t <= steps) & due, theory.loss(rays)
        theta, v = rays.deciding(None if directions is None else directions[left])
        align[left] = first_time(align[left], t, on & (theta <= ALIGNED).all(-1))
        grown = (v >= GROWN).all(-1) & (align[left] >= 0)
        growth[left] = first_time(growth[left], t, on & grown)
        half[left] = first_time(half[left], t, on & (theory.learned(rays) >= 1 / 2))
        converged[left] = first_time(converged[left], t, on & (loss < tolerances[left]))
        minimum[left] |= on & (loss < reached[left])
        if iteration % EVERY == 0:
            stuck[left] = theory.stuck(rays)
            for place, part in zip(last, rays, strict=True):
                place[left] = part
            gone = (loss <= DIVERGED * theory.target_norm**2).logical_not()  # or not a number
            diverged[left] = gone & (t <= steps)
            done = (converged[left] >= 0) | stuck[left] | gone | (t >= steps)
            done |= minimum[left] & (tolerances[left] == 0)
            if bool(done.all()):
                break
            going = done.logical_not()
            rays, t, left = Rays(*(x[going] for x in rays)), t[going], left[going]
            theory = whole.select(left)
        rays, t = theory.step(rays), t + 1
    names: list[Outcome | None] = [Outcome.UNCONVERGED] * len(minimum)
    for j in range(len(names)):
        if minimum[j]:
            names[j] = Outcome.GLOBAL_MINIMUM
        elif diverged[j]:
            names[j] = Outcome.DIVERGED
        elif stuck[j]:
            names[j] = Outcome.NON_STRICT_SADDLE
    stuck &= minimum.logical_not()
    rate = torch.where(minimum, whole.rate(last, across), math.nan)
    saddle_c = torch.where(stuck, torch.where(last.v[:, 0] < 0, -1.0, 0.0), math.nan)
    unit = against(whole.unit, last.v)
    return Prediction(
        align,
        growth,
        converged,
        half.unsqueeze(-1),
        names,
        last.v.sign(),
        saddle_c,
        rate,
        unit * last.v,
        unit * last.along,
    )


@undisturbed()
def effective_sign(student: ReLUStudent, A: Tensor) -> Tensor:
    """Return sign(v_i + w_i.a/|a|), which decides the ray on which neuron i ends, for r = 1.

    For small weights neuron i ends on the ray +a where it is +1, on -a where it is -1 (not in the
    paper; see `reludyn.theory.reduced`).

    Args:
        student: initial weights W (R, k, d), V (R, 1, k).
        A: teacher (1, d), or (R, 1, d): one per replica.

    Returns:
        Signs (R, k): -1, 0 or 1.

    Examples:
        >>> import torch, reludyn
        >>> student = reludyn.ReLUStudent(
        ...     torch.tensor([[[1.0, 0.0], [3.0, 0.0]]]), torch.tensor([[[1.0, -1.0]]])
        ... )
        >>> reludyn.effective_sign(student, torch.tensor([[1.0, 0.0]]))  # v_2 will change its sign
        tensor([[1., 1.]])
    """
    along, _ = along_and_across(student.W, A[..., :1, :])
    return torch.sign(student.V[:, 0] + along)


def stuck_by_signs(signs: Tensor) -> Tensor:
    """Return whether all signs (R, k) of a replica agree, (R,).

    With effective signs this is the basin rule: descent is stuck exactly then. With the signs of
    v_i(0) it is the rule of the paper's remark, which errs where v_i changes its sign. Both hold
    for small scales.
    """
    return (signs == signs[:, :1]).all(-1)


class Expected(NamedTuple):
    """Theory's trajectory at one iteration; NaN where the theory does not reach."""

    loss: Tensor  # (R,)
    w_norm: Tensor  # |w_i| (R, k)
    v_norm: Tensor  # |v_i| (R, k)
    angle_to_target: Tensor  # angle between w_i and A^T v_i, radians (R, k)
    learned: Tensor  # the part of each singular direction of A that is learned (R, r)


class Forecast(Protocol):
    """Trajectory without training, followed forwards."""

    def at(self, steps: Tensor) -> Expected:
        """Return the trajectory at an iteration of each replica, (R,).

        An iteration must not come before the last one that was asked for.
        """


@undisturbed()
def forecast(
    student: ReLUStudent, A: Tensor, lr: PerReplica, activation: LeakyReLU = RELU
) -> Forecast:
    """Return the theory's trajectory from initial weights, to be followed without training.

    Args:
        student: initial weights W (R, k, d), V (R, r, k).
        A: teacher (r, d), or (R, r, d): one per replica.
        lr: step size mu of both layers, one number or (R,).
        activation: phi, by default ReLU.

    Returns:
        Trajectory whose `at(steps)` has losses, norms and angles at iterations (R,), in radians.

    Raises:
        ValueError: for weights of other shapes.

    Examples:
        >>> import torch, reludyn
        >>> W = 1e-3 * torch.tensor([[[1.0, 2.0], [-2.0, 1.0]]], dtype=torch.float64)
        >>> V = 1e-3 * torch.tensor([[[1.0, -1.0]]], dtype=torch.float64)
        >>> A = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
        >>> path = reludyn.forecast(reludyn.ReLUStudent(W, V), A, lr=0.5)
        >>> [f"{float(path.at(torch.tensor([t])).loss):.2f}" for t in (0, 20, 40)]
        ['0.50', '0.49', '0.00']
    """
    check_layers(student, A)
    if A.shape[-2] > 1:
        return _EarlyForecast(LinearPhase(student, A, lr, activation))
    theory = Theory(_target_norm(A), lr, activation)
    begin = torch.zeros(student.replicas, dtype=torch.long)
    return _RaysForecast(theory, theory.rays(student, A), begin)


@dataclass
class _RaysForecast:
    """Forecast for r = 1: one step of the reduced dynamics per iteration."""

    theory: Theory
    rays: Rays
    steps: Tensor  # (R,) the iterations that each replica has made

    @undisturbed()
    def at(self, steps: Tensor) -> Expected:
        ahead = steps > self.steps
        first = int(self.steps[ahead].min()) if ahead.any() else int(steps.max())
        for made in range(first, int(steps.max())):
            moves = ((self.steps <= made) & (made < steps)).unsqueeze(-1)
            after = self.theory.step(self.rays)
            pairs = zip(after, self.rays, strict=True)
            self.rays = Rays(*(torch.where(moves, new, old) for new, old in pairs))
        self.steps, rays, unit = steps, self.rays, against(self.theory.unit, self.rays.v)
        w = unit * torch.hypot(rays.along, rays.across)
        learned = self.theory.learned(rays).unsqueeze(-1)
        return Expected(self.theory.loss(rays), w, unit * rays.v.abs(), rays.angle, learned)


@dataclass
class _EarlyForecast:
    """Forecast for r > 1, valid as long as weights are small.

    The loss is |A|_F^2/2 - odd sum_i v_i^T A w_i.
    """

    phase: LinearPhase

    @undisturbed()
    def at(self, steps: Tensor) -> Expected:
        small = self.phase.at(steps.unsqueeze(-1))
        learned = self.phase.learned(small)[:, 0]
        s = torch.linalg.svdvals(self.phase.A)
        loss = s.square().sum(-1) / 2 - (learned * s.square()).sum(-1)
        neurons = [x[:, 0] for x in (small.w_norm, small.v_norm, small.angle)]
        known = (torch.maximum(*neurons[:2]) <= SMALL * s[..., :1].sqrt()).all(-1)
        w, v, angle = (x.where(known.unsqueeze(-1), math.nan) for x in neurons)
        return Expected(loss.where(known, math.nan), w, v, angle, learned / (1 + learned))
