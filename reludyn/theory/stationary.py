"""Stationary points of the population risk: what they are, and where they are.

Theorem 1 (r = 1, k = 2, v_1 > 0 > v_2): only the global minima v_1 w_1 = a, |v_2| w_2 = -a and the
non-strict saddles v_1 w_1 = (c + 1) a, |v_2| w_2 = c a with c > 0 or c < -1. It leaves out output
weights that vanish and signs that agree; the search below finds those points as well.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from reludyn.activation import LeakyReLU
from reludyn.kernels import norm
from reludyn.notation import Gradient
from reludyn.order_parameters import saddle_ratio
from reludyn.risk import PopulationRisk
from reludyn.risk.hessian import flatten, unflatten
from reludyn.student import ReLUStudent
from reludyn.surroundings import undisturbed
from reludyn.theory.spectrum import Spectrum, spectrum

Kind = Literal[
    "global_minimum", "local_minimum", "non_strict_saddle", "strict_saddle", "undecided",
    "not_stationary",
]  # fmt: skip
STATIONARY = 1e-7  # the largest gradient, in units of s^(3/2), with s = |a|
ZERO = 1e-5  # the largest eigenvalue, in units of the largest of all, that counts as zero
LOWER = 1e-9  # a decrease of the loss, in units of |A|^2 / 2, that is no rounding
PROBES = 32  # directions in which a lower point is looked for
DISTANCE = 0.1  # how far away they start, in units of sqrt(s)
DESCENT = 300  # iterations that they descend


@dataclass(frozen=True)
class StationaryPoints:
    """What R points are, and the evidence."""

    kind: list[Kind]  # R words
    reason: list[str]  # how each verdict is reached
    loss: Tensor  # (R,)
    gradient: Tensor  # (R,) its norm
    spectrum: Spectrum  # of the Hessian
    lower: Tensor  # (R,) lowest loss found nearby minus the loss; NaN where it was not looked for
    c: Tensor  # (R,) of Theorem 1's saddles; else NaN
    theorem: list[bool]  # whether the point belongs to the two families of Theorem 1


@undisturbed()
def identify(
    risk: PopulationRisk, student: ReLUStudent, inputs: int | None = None
) -> StationaryPoints:
    """What the points W (R, k, m), V (R, r, k) are; `inputs` = d as in `spectrum`.

    In this order,

    - not_stationary: the gradient is larger than 1e-7 s^(3/2), s the largest singular value of A;
    - global_minimum: the loss is zero (below 1e-9 |A|_F^2/2), and no loss is negative;
    - strict_saddle: an eigenvalue is below zero. Otherwise zero eigenvalues prove nothing:
      rescaling a neuron makes one, so do rotations;
    - local_minimum, where r = 1 and all v_i have one sign: f = odd h + even g with |g| >= |h|, so
      L >= (|a|^2/2) even^2/(odd^2 + even^2), its value there, as long as the signs last;
    - local_minimum, where H has no more zero eigenvalues than symmetries (`symmetries`);
    - non_strict_saddle, where descent from one of 32 points 0.1 sqrt(s) away, in random directions
      of the null space, comes below the loss of the point;
    - undecided, where it does not.

    (These verdicts are not in the paper, which counts points with signs that agree as saddles.)
    """
    if inputs is not None and inputs > risk.A.shape[1]:  # room across, for descent
        risk = PopulationRisk(pad(risk.A, (0, 1)), risk.activation)
        student = student.map_hidden(lambda W: pad(W, (0, 1)))
    A, activation = risk.A, risk.activation
    unit, zero_loss = float(torch.linalg.matrix_norm(A, ord=2)), float(A.square().sum()) / 2
    loss = risk.loss(student).total
    gradient = norm(flatten(risk.evaluate(student).gradient))
    hessian = risk.hessian(student)
    found = spectrum(hessian, inputs)
    stationary = gradient <= STATIONARY * unit**1.5
    minimum = loss <= LOWER * zero_loss
    strict = found.negative(ZERO) > 0
    one_sign = torch.zeros_like(stationary)
    if len(A) == 1:
        v, value = student.V[:, 0], zero_loss * activation.even**2 / activation.square
        one_sign = (v > 0).all(-1) | (v < 0).all(-1)
        one_sign &= (loss - value).abs() <= LOWER * zero_loss
    exists = hessian.exists
    open_ = stationary & ~(minimum | strict | one_sign) & exists
    isolated, lower = torch.zeros_like(stationary), torch.full_like(loss, math.nan)
    if open_.any():
        isolated[open_], lower[open_] = _nearby(risk, student.map(lambda x: x[open_]), unit)
        lower -= loss

    kinds: list[Kind] = []
    reasons: list[str] = []
    for j in range(student.replicas):
        kind: Kind
        if not stationary[j]:
            kind, why = "not_stationary", f"gradient {float(gradient[j]):.1e}"
        elif minimum[j]:
            kind, why = "global_minimum", "the loss is zero"
        elif strict[j]:
            kind, why = "strict_saddle", f"eigenvalue {float(found.smallest[j]):.2g}"
        elif one_sign[j]:
            kind, why = "local_minimum", "all v_i of one sign: no lower loss while they keep it"
        elif isolated[j]:
            kind, why = "local_minimum", "all zero eigenvalues come from symmetries"
        elif lower[j] < -LOWER * zero_loss:
            kind, why = "non_strict_saddle", f"descent nearby falls by {-float(lower[j]):.2g}"
        elif not exists[j]:
            kind, why = "undecided", "the risk is not twice differentiable here"
        else:
            kind, why = "undecided", "no negative eigenvalue, nothing lower found nearby"
        kinds.append(kind)
        reasons.append(why)
    saddle = torch.tensor([kind == "non_strict_saddle" for kind in kinds])
    c = torch.full_like(loss, math.nan)
    if len(A) == 1:
        c = saddle_ratio(student, A, activation).where(saddle, math.nan)
    family = minimum | (saddle & ((c > 0) | (c < -1)))
    theorem = _within_theorem(student, activation) & family
    return StationaryPoints(kinds, reasons, loss, gradient, found, lower, c, theorem.tolist())


@undisturbed()
def find_stationary(risk: PopulationRisk, start: ReLUStudent, iterations: int = 200) -> ReLUStudent:
    """Stationary points of any kind, one from each start W (R, k, d), V (R, r, k).

    Levenberg-Marquardt iterations on |grad L|^2 / 2: z <- z - (H^2 + lambda I)^{-1} H grad L with
    the closed-form Hessian H, lambda of each replica falling where the norm of the gradient falls.
    What ends elsewhere (a minimum of |grad L| that is not zero) is `not_stationary`.
    """
    k, d = start.W.shape[1:]
    z = flatten(start)
    damping = torch.full_like(z[:, 0], 1.0)
    root = math.sqrt(float(torch.linalg.matrix_norm(risk.A, ord=2)))
    point = start
    g = flatten(risk.evaluate(start).gradient)
    for _ in range(iterations):
        values, vectors = torch.linalg.eigh(risk.hessian(point).matrix())
        slope = (vectors.mT @ g.unsqueeze(-1)).squeeze(-1)
        shift = root * (damping * norm(g)).unsqueeze(-1)  # in the units of H^2
        weights = values / (values.square() + shift)
        step = (vectors @ (weights * slope).unsqueeze(-1)).squeeze(-1)
        tried = ReLUStudent(*unflatten(z - step, k, d))
        new = flatten(risk.evaluate(tried).gradient)
        better = norm(new) < norm(g)
        damping = torch.where(better, damping / 4, damping * 8).clamp(1e-12, 1e6)
        z = torch.where(better.unsqueeze(-1), z - step, z)
        g = torch.where(better.unsqueeze(-1), new, g)
        point = ReLUStudent(*unflatten(z, k, d))
    return point


def symmetries(risk: PopulationRisk, student: ReLUStudent) -> Tensor:
    """Directions in which the risk does not change at a stationary point, (R, G, N): rescaling
    w'_i = w_i, v'_i = -v_i of each neuron, and rotations V' = Y V, W' = -W X with skew Y (r, r), X
    (d, d), Y A = A X."""
    W, V = student
    (_, k, d), r = W.shape, V.shape[1]
    each = torch.eye(k).to(W)
    scaled = Gradient(each.unsqueeze(-1) * W.unsqueeze(1), -each.unsqueeze(-2) * V.unsqueeze(1))
    X, Y = _skew(d).to(W), _skew(r).to(W)
    change = torch.cat([(Y @ risk.A).flatten(1), -(risk.A @ X).flatten(1)])  # of A, by each
    _, sizes, vectors = torch.linalg.svd(change.mT, full_matrices=True)
    kept = vectors[int((sizes > 1e-10 * sizes.max()).sum()) :]  # (G', r(r-1)/2 + d(d-1)/2)
    outputs, inputs = kept.split([len(Y), len(X)], 1)
    Y, X = torch.einsum("gs,sab->gab", outputs, Y), torch.einsum("gs,sab->gab", inputs, X)
    turned = Gradient(-(W.unsqueeze(1) @ X), Y @ V.unsqueeze(1))
    return torch.cat([flatten(scaled), flatten(turned)], 1)


def _within_theorem(student: ReLUStudent, activation: LeakyReLU) -> Tensor:
    """Theorem 1's hypotheses: ReLU, k = 2, output weights of opposite signs, none (nearly) zero."""
    if student.V.shape[1:] != (1, 2) or activation.negative_slope:
        return torch.zeros(student.replicas, dtype=torch.bool)
    v = student.V[:, 0]
    return (v[:, 0] * v[:, 1] < 0) & (v.abs().amin(-1) > 1e-6 * v.abs().amax(-1))


def _nearby(risk: PopulationRisk, student: ReLUStudent, unit: float) -> tuple[Tensor, Tensor]:
    """Whether all zero eigenvalues come from symmetries, and the lowest loss that descent finds
    from points a little away in the null space: (R,) each."""
    k, d = student.W.shape[1:]
    values, vectors = torch.linalg.eigh(risk.hessian(student).matrix())
    flat = values.abs() <= ZERO * values.abs().amax(-1, keepdim=True)
    sizes = torch.linalg.svdvals(symmetries(risk, student))
    dimension = (sizes > ZERO * sizes.amax(-1, keepdim=True)).sum(-1)
    rng = np.random.default_rng(0)
    amounts = torch.from_numpy(rng.standard_normal((PROBES, *values.shape))).to(values)
    directions = (vectors @ (amounts * flat).unsqueeze(-1)).squeeze(-1)
    directions = directions / norm(directions).unsqueeze(-1)
    z = flatten(student) + DISTANCE * math.sqrt(unit) * directions  # (PROBES, R, N)
    lr = (0.5 / values.abs().amax(-1)).expand(PROBES, -1).reshape(-1, 1, 1)
    probe = ReLUStudent(*unflatten(z.flatten(0, 1), k, d))
    for _ in range(DESCENT):
        gradient = risk.evaluate(probe).gradient
        probe = ReLUStudent(probe.W - lr * gradient.W, probe.V - lr * gradient.V)
    lowest = risk.loss(probe).total.view(PROBES, -1).amin(0)
    return flat.sum(-1) <= dimension, lowest


def _skew(n: int) -> Tensor:
    """A basis of the skew (n, n) matrices."""
    above = torch.triu_indices(n, n, 1)
    basis = torch.zeros(above.shape[1], n, n)
    places = torch.arange(above.shape[1])
    basis[places, above[0], above[1]], basis[places, above[1], above[0]] = 1.0, -1.0
    return basis
