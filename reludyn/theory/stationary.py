"""Stationary points of the population risk: what they are, and where they are.

Theorem 1 (r = 1, k = 2, v_1 > 0 > v_2): the only ones are the global minima v_1 w_1 = a,
|v_2| w_2 = -a and the non-strict saddles v_1 w_1 = (c + 1) a, |v_2| w_2 = c a with c > 0 or c < -1.
It leaves out output weights that vanish and signs that agree; the search below finds those points
as well.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from reludyn.dynamics.order_parameters import hidden_norms, output_norms, saddle_ratio
from reludyn.network.activation import LeakyReLU
from reludyn.network.notation import Gradient
from reludyn.network.student import ReLUStudent
from reludyn.numerics.kernels import abs_kernel, norm, unit
from reludyn.numerics.surroundings import undisturbed
from reludyn.risk import PopulationRisk
from reludyn.risk.hessian import flatten, unflatten
from reludyn.theory.spectrum import Spectrum, spectrum

Kind = Literal[
    "global_minimum",
    "local_minimum",
    "non_strict_saddle",
    "strict_saddle",
    "undecided",
    "not_stationary",
]
STATIONARY = 1e-7  # the largest gradient, in units of s^(3/2), with s = |a|
SETTLED = 1e-12  # the gradient, in these units, at which a search ends: less is rounding
DEAD = 1e-4  # a neuron is dead if its weights are below this in units of sqrt(s), |v||w| of s
ZERO = 1e-5  # eigenvalues below this, in units of the largest, count as zero
FLAT = 1e-3  # the same where a minimum is to be shown isolated up to symmetries
MARGIN = 1e3  # how much larger the square of an eigenvalue must be than the gradient
CERTAIN = 1e-9  # the largest gradient there, far below FLAT^2: no degenerate point is as near
LOWER = 1e-9  # the least decrease of the loss, in units of |A|^2 / 2, that is not rounding
PROBES = 32  # directions of each kind in which a lower point is looked for
DISTANCE = 0.1  # how far away the descents in these directions start, in units of sqrt(s)
DESCENT = 300  # iterations of these descents


@dataclass(frozen=True)
class StationaryPoints:
    """Verdicts on R points, and the evidence for each."""

    point: ReLUStudent  # the points, with zeros for weights that are zero up to rounding
    kind: list[Kind]  # R words
    reason: list[str]  # how each verdict is reached
    loss: Tensor  # (R,)
    gradient: Tensor  # (R,) its norm
    spectrum: Spectrum  # of the Hessian
    lower: Tensor  # (R,) lowest loss found nearby minus the loss; NaN without a search for it
    c: Tensor  # (R,) the parameter c of Theorem 1's saddles; else NaN
    theorem: list[bool]  # whether the point belongs to the two families of Theorem 1


@undisturbed()
def identify(
    risk: PopulationRisk, student: ReLUStudent, inputs: int | None = None
) -> StationaryPoints:
    """Decide what kind of stationary point each student is.

    First, weights that are zero for all purposes are set to zero: where |v_i||w_i| <= 1e-4 s, with
    s the largest singular value of A, each of w_i and v_i that is at most 1e-4 sqrt(s) long. No
    verdict depends on the direction that rounding leaves them. With the residual f - A x
    and g(u) = E[(f - A x) phi(u.x)], a neuron that starts at zero changes the loss by v.g(w) to the
    lowest order. At a stationary point v_i.g(w_i) = 0 for all neurons, so that tr(M^T A) = -2 L for
    M = odd V W - A, and g(u) - g(-u) = 2 odd M u: g vanishes for all u only where L does.

    In this order,

    - not_stationary: the gradient is larger than 1e-7 s^(3/2). Where w_i = 0 and v_i is not, the
      loss has no gradient in w_i, but a slope v_i.g(u) in each direction u: it counts as
      stationary as long as no slope that is tried is negative (the rows of W and A, M^T v_i, and
      their opposites);
    - global_minimum: the loss is zero (below 1e-9 |A|_F^2/2), and no loss is negative;
    - strict_saddle, where w_i = v_i = 0 for a neuron: along w = u, v = -g(u)/|g(u)| for the better
      of u and -u, u the first singular direction of M, the loss falls to second order by at least
      odd |M| > 0;
    - strict_saddle: an eigenvalue is below zero, by more than the Hessian may differ from that of
      the stationary point nearby: -sqrt(1000 sqrt(s) |grad L|) where |w_i| = |v_i| for each neuron,
      to which they are scaled. Otherwise zero eigenvalues prove nothing: rescaling a neuron makes
      one, so do rotations;
    - non_strict_saddle, where v_i = 0 for a neuron with w_i not zero, d >= 3: w_i turns freely, and
      arbitrarily near are directions with g(w) not zero (g is analytic between the rays of the
      w_j, so it would vanish everywhere), from where v_i = -e g(w) lowers the loss;
    - local_minimum, where r = 1 and all v_i have one sign: f = odd h + even g with |g| >= |h|, so
      L >= (|a|^2/2) even^2/(odd^2 + even^2), its value there, as long as the signs last;
    - local_minimum, where H has no more zero eigenvalues than symmetries (`symmetries`);
    - non_strict_saddle, where descent from one of 64 points 0.1 sqrt(s) away comes below the loss
      of the point: in random directions of the null space, and in random directions of W that leave
      the linear part V W as it is, along which Theorem 1's saddles fall to third order;
    - undecided, where it does not.

    (These verdicts are not in the paper, which counts points with signs that agree as saddles.)

    Args:
        risk: risk of a teacher A (r, m).
        student: points W (R, k, m), V (R, r, k).
        inputs: d, where the m coordinates are those of a subspace of R^d; None for d = m.

    Returns:
        Kind, reason and evidence for each point.

    Examples:
        >>> import torch, reludyn
        >>> W = torch.tensor([[[2.0, 0.0], [1.0, 0.0]]], dtype=torch.float64)  # c = 1
        >>> V = torch.tensor([[[1.0, -1.0]]], dtype=torch.float64)
        >>> risk = reludyn.PopulationRisk(torch.tensor([[1.0, 0.0]], dtype=torch.float64))
        >>> found = reludyn.identify(risk, reludyn.ReLUStudent(W, V))
        >>> found.kind, found.c.tolist()
        (['non_strict_saddle'], [1.0])
    """
    if inputs is not None and inputs > risk.A.shape[1]:  # room across, for descent
        risk = PopulationRisk(pad(risk.A, (0, 1)), risk.activation)
        student = student.map_hidden(lambda W: pad(W, (0, 1)))
    A, activation = risk.A, risk.activation
    scale, zero_loss = float(torch.linalg.matrix_norm(A, ord=2)), float(A.square().sum()) / 2
    point = _without_rounding(student, scale)
    no_w, no_v = hidden_norms(point) == 0, output_norms(point) == 0
    loss = risk.loss(student).total
    kink = no_w & ~no_v
    slope = _steepest(risk, point).where(kink, 0.0).amax(-1)
    of_W, of_V = risk.evaluate(student).gradient
    smooth = Gradient(of_W.masked_fill(kink.unsqueeze(-1), 0.0), of_V)
    gradient = torch.hypot(norm(flatten(smooth)), slope)
    stationary = gradient <= STATIONARY * scale**1.5
    minimum = loss <= LOWER * zero_loss
    gain = activation.odd * torch.linalg.matrix_norm(_linear_residual(risk, point), ord=2)
    dead = (no_w & no_v).any(-1) & (gain > ZERO * scale)
    hessian = risk.hessian(point)
    found = spectrum(hessian, inputs)
    balanced = _balanced(point)
    values = spectrum(risk.hessian(balanced)).values
    off = (MARGIN * math.sqrt(scale) * norm(flatten(risk.evaluate(balanced).gradient))).sqrt()
    strict = values[:, 0] < -torch.maximum(off, ZERO * values.abs().amax(-1))
    free = (no_v & ~no_w).any(-1) & (A.shape[1] >= 3)
    one_sign = torch.zeros_like(stationary)
    if len(A) == 1:
        v, value = point.V[:, 0], zero_loss * activation.even**2 / activation.square
        one_sign = (v > 0).all(-1) | (v < 0).all(-1)
        one_sign &= (loss - value).abs() <= LOWER * zero_loss
    exists = hessian.exists
    open_ = stationary & ~(minimum | dead | strict | free | one_sign) & exists
    isolated, lower = torch.zeros_like(stationary), torch.full_like(loss, math.nan)
    if open_.any():
        isolated[open_], lower[open_] = _nearby(risk, balanced.map(lambda x: x[open_]), scale)
        isolated &= gradient <= CERTAIN * scale**1.5
        lower -= loss

    kinds: list[Kind] = []
    reasons: list[str] = []
    for j in range(student.replicas):
        kind: Kind
        if not stationary[j]:
            kind, why = "not_stationary", f"gradient {float(gradient[j]):.1e}"
        elif minimum[j]:
            kind, why = "global_minimum", "the loss is zero"
        elif dead[j]:
            kind, why = "strict_saddle", f"a dead neuron can grow: -{float(gain[j]):.2g}"
        elif strict[j]:
            kind, why = "strict_saddle", f"eigenvalue {float(found.smallest[j]):.2g}"
        elif free[j]:
            kind, why = "non_strict_saddle", "a neuron with v_i = 0 can turn and then grow"
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
        c = saddle_ratio(point, A, activation).where(saddle, math.nan)
    family = minimum | (saddle & ((c > 0) | (c < -1)))
    theorem = _within_theorem(point, activation) & family
    return StationaryPoints(
        point, kinds, reasons, loss, gradient, found, lower, c, theorem.tolist()
    )


@undisturbed()
def find_stationary(risk: PopulationRisk, start: ReLUStudent, iterations: int = 200) -> ReLUStudent:
    """Find stationary points of any kind, one from each start.

    Levenberg-Marquardt iterations on |grad L|^2 / 2: z <- z - (H^2 + lambda I)^{-1} H grad L with
    the closed-form Hessian H, lambda of each replica falling where the norm of the gradient falls.
    A search may also end at a minimum of |grad L| that is not zero: `identify` then returns
    `not_stationary`.

    Args:
        risk: risk of a teacher A (r, d).
        start: weights W (R, k, d), V (R, r, k).
        iterations: largest number of iterations.

    Returns:
        Points W (R, k, d), V (R, r, k).

    Examples:
        >>> import torch, reludyn
        >>> W = torch.tensor([[[1.1, 0.1], [-0.9, 0.2]]], dtype=torch.float64)
        >>> V = torch.tensor([[[1.0, -1.0]]], dtype=torch.float64)
        >>> risk = reludyn.PopulationRisk(torch.tensor([[1.0, 0.0]], dtype=torch.float64))
        >>> found = reludyn.find_stationary(risk, reludyn.ReLUStudent(W, V))
        >>> bool(risk.loss(found).total < 1e-20)
        True
    """
    k, d = start.W.shape[1:]
    z = flatten(start)
    damping = torch.full_like(z[:, 0], 1.0)
    unit = float(torch.linalg.matrix_norm(risk.A, ord=2))
    root, point = math.sqrt(unit), start
    g = flatten(risk.evaluate(start).gradient)
    for _ in range(iterations):
        going = norm(g) > SETTLED * unit**1.5
        if not bool(going.any()):
            break
        values, vectors = torch.linalg.eigh(risk.hessian(point).matrix())
        slope = (vectors.mT @ g.unsqueeze(-1)).squeeze(-1)
        shift = root * (damping * norm(g)).unsqueeze(-1)  # in the units of H^2
        weights = values / (values.square() + shift)
        step = (vectors @ (weights * slope).unsqueeze(-1)).squeeze(-1)
        tried = ReLUStudent(*unflatten(z - step, k, d))
        new = flatten(risk.evaluate(tried).gradient)
        better = (norm(new) < norm(g)) & going
        damping = torch.where(better, damping / 4, damping * 8).clamp(1e-12, 1e6)
        z = torch.where(better.unsqueeze(-1), z - step, z)
        g = torch.where(better.unsqueeze(-1), new, g)
        point = ReLUStudent(*unflatten(z, k, d))
    return point


def symmetries(risk: PopulationRisk, student: ReLUStudent) -> Tensor:
    """Return directions in which the risk does not change at a stationary point, (R, G, N).

    They are the rescaling w'_i = w_i, v'_i = -v_i of each neuron, and rotations V' = Y V,
    W' = -W X with skew Y (r, r), X (d, d), Y A = A X.
    """
    W, V = student
    (_, k, d), r = W.shape, V.shape[1]
    each = torch.eye(k).to(W)
    scaled = Gradient(each.unsqueeze(-1) * W.unsqueeze(1), -each.unsqueeze(-2) * V.unsqueeze(1))
    X, Y = _skew(d).to(W), _skew(r).to(W)
    change = torch.cat([(Y @ risk.A).flatten(1), -(risk.A @ X).flatten(1)])  # of A, by each X and Y
    _, sizes, vectors = torch.linalg.svd(change.mT, full_matrices=True)
    kept = vectors[int((sizes > 1e-10 * sizes.max()).sum()) :]  # (G', r(r-1)/2 + d(d-1)/2)
    outputs, inputs = kept.split([len(Y), len(X)], 1)
    Y, X = torch.einsum("gs,sab->gab", outputs, Y), torch.einsum("gs,sab->gab", inputs, X)
    turned = Gradient(-(W.unsqueeze(1) @ X), Y @ V.unsqueeze(1))
    return torch.cat([flatten(scaled), flatten(turned)], 1)


def _without_rounding(student: ReLUStudent, scale: float) -> ReLUStudent:
    """Return the points with zeros for weights that are zero for all purposes: see `identify`."""
    sizes = hidden_norms(student), output_norms(student)
    adds_nothing = sizes[0] * sizes[1] <= DEAD * scale
    w, v = (adds_nothing & (size <= DEAD * math.sqrt(scale)) for size in sizes)
    return ReLUStudent(
        student.W.masked_fill(w.unsqueeze(-1), 0.0), student.V.masked_fill(v.unsqueeze(-2), 0.0)
    )


def _linear_residual(risk: PopulationRisk, student: ReLUStudent) -> Tensor:
    """Return M = odd V W - A, (R, r, d)."""
    return risk.activation.odd * (student.V @ student.W) - risk.A


def _steepest(risk: PopulationRisk, student: ReLUStudent) -> Tensor:
    """Return the largest of 0 and -v_i.g(u), (R, k), over directions u.

    The u are along +-w_j, +- the rows of A and +-M^T v_i, and
    v_i.g(u) = odd v_i^T M u + even^2 sum_j v_i.v_j J(w_j, u).
    """
    W, V = student
    M, S = _linear_residual(risk, student), V.mT @ V
    pulled = V.mT @ M  # (R, k, d): M^T v_i
    u = torch.cat([pulled, W, risk.A.expand(len(W), -1, -1)], 1)
    u = unit(torch.cat([u, -u], 1))  # (R, U, d)
    bent = abs_kernel(W.unsqueeze(2), u.unsqueeze(1))  # (R, k, U)
    odd, even = risk.activation.odd, risk.activation.even
    slopes = odd * pulled @ u.mT + even**2 * S @ bent
    return (-slopes).amax(-1).clamp_min(0)


def _within_theorem(student: ReLUStudent, activation: LeakyReLU) -> Tensor:
    """Return whether Theorem 1's hypotheses hold: ReLU, r = 1, k = 2, v_i of opposite signs."""
    if student.V.shape[1:] != (1, 2) or activation.negative_slope:
        return torch.zeros(student.replicas, dtype=torch.bool)
    return student.V[:, 0].prod(-1) < 0


def _balanced(student: ReLUStudent) -> ReLUStudent:
    """Return the same function with |w_i| = |v_i| for each neuron where neither is zero.

    The point is of the same kind, and descent from it is as quick for all neurons.
    """
    w, v = hidden_norms(student), output_norms(student)
    factor = torch.where((w > 0) & (v > 0), (v / w).sqrt(), 1.0)
    return ReLUStudent(student.W * factor.unsqueeze(-1), student.V / factor.unsqueeze(-2))


def _nearby(risk: PopulationRisk, student: ReLUStudent, scale: float) -> tuple[Tensor, Tensor]:
    """Return whether all zero eigenvalues come from symmetries, and the lowest loss nearby.

    Descent looks for it from points a little away in the null space: (R,) each.
    """
    k, d = student.W.shape[1:]
    values, vectors = torch.linalg.eigh(risk.hessian(student).matrix())
    flat = values.abs() <= FLAT * values.abs().amax(-1, keepdim=True)
    sizes = torch.linalg.svdvals(symmetries(risk, student))
    dimension = (sizes > ZERO * sizes.amax(-1, keepdim=True)).sum(-1)
    rng = np.random.default_rng(0)
    amounts = torch.from_numpy(rng.standard_normal((PROBES, 1, values.shape[-1]))).to(values)
    # projected: which basis of the null space `eigh` takes is a matter of rounding
    inside = (vectors.mT @ amounts.unsqueeze(-1)).squeeze(-1) * flat
    flattest = (vectors @ inside.unsqueeze(-1)).squeeze(-1)
    turns = unflatten(amounts, k, d).W
    same = turns - torch.linalg.pinv(student.V, rtol=ZERO) @ (student.V @ turns)
    turned = flatten(Gradient(same, torch.zeros_like(student.V).expand(PROBES, -1, -1, -1)))
    directions = torch.cat([flattest, turned.where(norm(turned).unsqueeze(-1) > ZERO, 0.0)])
    directions = unit(directions)
    z = flatten(student) + DISTANCE * math.sqrt(scale) * directions  # (2 PROBES, R, N)
    lr = (0.5 / values.abs().amax(-1)).expand(2 * PROBES, -1).reshape(-1, 1, 1)
    probe = ReLUStudent(*unflatten(z.flatten(0, 1), k, d))
    for _ in range(DESCENT):
        gradient = risk.evaluate(probe).gradient
        probe = ReLUStudent(probe.W - lr * gradient.W, probe.V - lr * gradient.V)
    lowest = risk.loss(probe).total.view(2 * PROBES, -1).amin(0)
    return flat.sum(-1) <= dimension, lowest


def _skew(n: int) -> Tensor:
    """Return a basis of the skew (n, n) matrices."""
    above = torch.triu_indices(n, n, 1)
    basis = torch.zeros(above.shape[1], n, n)
    places = torch.arange(above.shape[1])
    basis[places, above[0], above[1]], basis[places, above[1], above[0]] = 1.0, -1.0
    return basis
