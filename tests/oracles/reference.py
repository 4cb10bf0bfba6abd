"""Slow, independent oracles for one-hidden-layer ReLU networks that learn a linear map.

Student f(x) = V relu(W x), target y = A x, inputs x ~ N(0, I_d), population risk
L = 1/2 E|f(x) - A x|^2.  Written from the formulas alone: nothing here imports the package.

Notation used for shapes: k width, d inputs, r outputs, n samples.
W (k, d) has rows w_i, V (r, k) has columns v_i, A is (r, d).
Functions ending in `_mp` treat their float64 arguments as exact and work in `dps` digits.
Those with a `slope` s are of leaky ReLU, phi(z) = z for z > 0, s z otherwise; s = 0 is ReLU.
For it E[phi(p.x) phi(q.x)] = (1 - s)^2 F(p, q) + s p.q and E[phi(p.x) x] = (1 + s)/2 p.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from mpmath import mp, mpf
from numpy.typing import NDArray

Array = NDArray[np.float64]
Vector = Sequence[mpf]
Rows = list[list[mpf]]
Gradient = Callable[[Array, Array], tuple[Array, Array]]


# --- Kernels in high precision ----------------------------------------------------------------


def _exact(vectors: Array) -> Rows:
    """Rows of a float64 matrix as lists of mpf, without any rounding."""
    return [[mpf(float(entry)) for entry in row] for row in vectors]


def _norm_mp(p: Vector) -> mpf:
    """|p| in the current mpmath precision."""
    return mp.sqrt(mp.fdot(p, p))


def _unit_mp(p: Vector) -> list[mpf]:
    """p / |p|, and 0 for p = 0."""
    norm = _norm_mp(p)
    return [entry / norm for entry in p] if norm else list(p)


def _angle_mp(p: Vector, q: Vector) -> mpf:
    """Angle 2 atan2(|u - u'|, |u + u'|) with u = p/|p|, u' = q/|q|; pi/2 with a zero vector."""
    u, other = _unit_mp(p), _unit_mp(q)
    if not any(u) or not any(other):
        return mp.pi / 2
    difference = _norm_mp([a - b for a, b in zip(u, other, strict=True)])
    total = _norm_mp([a + b for a, b in zip(u, other, strict=True)])
    return 2 * mp.atan2(difference, total)


def _relu_kernel(p: Vector, q: Vector) -> mpf:
    """F(p, q) = |p||q| (sin t + (pi - t) cos t)/(2 pi)."""
    t = _angle_mp(p, q)
    return _norm_mp(p) * _norm_mp(q) * (mp.sin(t) + (mp.pi - t) * mp.cos(t)) / (2 * mp.pi)


def _abs_kernel(p: Vector, q: Vector) -> mpf:
    """E|p.x||q.x| = (2/pi)|p||q| (sin t + (pi/2 - t) cos t), t folded into [0, pi/2]."""
    t = _angle_mp(p, q)
    t = min(t, mp.pi - t)
    return 2 / mp.pi * _norm_mp(p) * _norm_mp(q) * (mp.sin(t) + (mp.pi / 2 - t) * mp.cos(t))


def relu_kernel_mp(p: Array, q: Array, dps: int = 60) -> mpf:
    """E[relu(p.x) relu(q.x)] for p, q (d,); 0 if either vector is 0."""
    with mp.workdps(dps):
        p_exact, q_exact = _exact(np.stack([p, q]))
        return +_relu_kernel(p_exact, q_exact)


def abs_kernel_mp(p: Array, q: Array, dps: int = 60) -> mpf:
    """E|p.x||q.x| for p, q (d,); 0 if either vector is 0."""
    with mp.workdps(dps):
        p_exact, q_exact = _exact(np.stack([p, q]))
        return +_abs_kernel(p_exact, q_exact)


# --- Population risk --------------------------------------------------------------------------


def population_loss_mp(
    W: Array, V: Array, A: Array, dps: int = 60, slope: float = 0.0
) -> tuple[mpf, mpf, mpf]:
    """(total, linear, rectification) of the population risk; W (k,d), V (r,k), A (r,d).

    total         = 1/2 sum_ij (v_i.v_j) F(w_i, w_j) - 1/2 sum_i v_i^T A w_i + 1/2 |A|_F^2
    linear        = 1/2 |A - V W/2|_F^2
    rectification = 1/8 sum_ij (v_i.v_j) E|w_i.x||w_j.x|

    for ReLU. The total does not use the parts, so total = linear + rectification is a check.
    """
    with mp.workdps(dps):
        s = mpf(slope)
        odd, even = (1 + s) / 2, (1 - s) / 2
        w, v, a = _exact(W), _exact(V.T), _exact(A)
        k, r, d = len(w), len(a), len(a[0])
        outputs, inputs, pairs = range(r), range(d), [(i, j) for i in range(k) for j in range(k)]

        quadratic = mp.fsum(
            mp.fdot(v[i], v[j])
            * ((1 - s) ** 2 * _relu_kernel(w[i], w[j]) + s * mp.fdot(w[i], w[j]))
            for i, j in pairs
        )
        cross = mp.fsum(v[i][c] * mp.fdot(a[c], w[i]) for i in range(k) for c in outputs)
        target = mp.fsum(mp.fdot(row, row) for row in a)
        total = quadratic / 2 - odd * cross + target / 2

        residual = [
            a[c][e] - odd * mp.fsum(v[i][c] * w[i][e] for i in range(k))
            for c in outputs
            for e in inputs
        ]
        linear = mp.fdot(residual, residual) / 2
        folded = mp.fsum(mp.fdot(v[i], v[j]) * _abs_kernel(w[i], w[j]) for i, j in pairs)
        return total, linear, even**2 / 2 * folded


def _gradient_mp(w: Rows, v: Rows, a: Rows, s: mpf | int = 0) -> tuple[Rows, Rows]:
    """Population gradients at the current precision; w rows w_i, v rows v_i, a rows of A."""
    odd, bent = (1 + s) / 2, (1 - s) ** 2
    k, r, d = len(w), len(a), len(a[0])
    norm = [_norm_mp(p) for p in w]
    u = [_unit_mp(p) for p in w]
    gw = [[-odd * mp.fsum(a[c][e] * v[i][c] for c in range(r)) for e in range(d)] for i in range(k)]
    gv = [[-odd * mp.fdot(a[c], w[i]) for c in range(r)] for i in range(k)]
    for i in range(k):
        for j in range(k):
            t = _angle_mp(w[i], w[j])
            sin_t, overlap = mp.sin(t), mp.fdot(v[i], v[j])
            along_u = bent * overlap * norm[j] * sin_t / (2 * mp.pi)
            along_w = overlap * (bent * (mp.pi - t) / (2 * mp.pi) + s)
            for e in range(d):
                gw[i][e] += along_u * u[i][e] + along_w * w[j][e]
            kernel = norm[i] * norm[j] * (sin_t + (mp.pi - t) * mp.cos(t)) / (2 * mp.pi)
            kernel = bent * kernel + s * mp.fdot(w[i], w[j])
            for c in range(r):
                gv[i][c] += kernel * v[j][c]
    return gw, gv


def population_gradient_mp(W: Array, V: Array, A: Array, dps: int = 60) -> tuple[Array, Array]:
    """`population_gradient` evaluated with `dps` digits and rounded once: gW (k,d), gV (r,k)."""
    with mp.workdps(dps):
        gw, gv = _gradient_mp(_exact(W), _exact(V.T), _exact(A))
        return np.array(gw, dtype=np.float64), np.array(gv, dtype=np.float64).T.copy()


def _angle(p: Array, q: Array) -> float:
    """Angle 2 atan2(|u - u'|, |u + u'|) of p, q (d,) in [0, pi]; pi/2 with a zero vector."""
    norm_p, norm_q = math.hypot(*p), math.hypot(*q)
    if norm_p == 0.0 or norm_q == 0.0:
        return math.pi / 2
    u, other = p / norm_p, q / norm_q
    return 2 * math.atan2(math.hypot(*(u - other)), math.hypot(*(u + other)))


def _relu_kernel_float(p: Array, q: Array) -> float:
    """F(p, q) = |p||q| (sin t + (pi - t) cos t)/(2 pi) in float64."""
    t = _angle(p, q)
    shape = math.sin(t) + (math.pi - t) * math.cos(t)
    return math.hypot(*p) * math.hypot(*q) * shape / (2 * math.pi)


def population_loss(W: Array, V: Array, A: Array) -> float:
    """1/2 sum_ij (v_i.v_j) F(w_i, w_j) - 1/2 sum_i v_i^T A w_i + 1/2 |A|_F^2.

    Absolute, not relative, accuracy: near a global minimum it may come out slightly negative.
    """
    k = W.shape[0]
    loss = 0.5 * float(np.sum(A * A))
    for i in range(k):
        loss -= 0.5 * float(V[:, i] @ A @ W[i])
        for j in range(k):
            loss += 0.5 * float(V[:, i] @ V[:, j]) * _relu_kernel_float(W[i], W[j])
    return loss


def population_gradient(W: Array, V: Array, A: Array) -> tuple[Array, Array]:
    """Gradients (gW (k,d), gV (r,k)) of the population risk, with u_i = w_i/|w_i| (0 if w_i = 0).

    gW_i = sum_j (v_i.v_j) (|w_j| sin t_ij u_i + (pi - t_ij) w_j)/(2 pi) - 1/2 A^T v_i
    gV_i = sum_j F(w_i, w_j) v_j - 1/2 A w_i

    At w_i = 0 the angle is pi/2, which amounts to relu'(0) = 1/2.
    """
    k = W.shape[0]
    gW, gV = np.zeros_like(W), np.zeros_like(V)
    for i in range(k):
        norm = math.hypot(*W[i])
        u = W[i] / norm if norm else np.zeros_like(W[i])
        gW[i] = -0.5 * A.T @ V[:, i]
        gV[:, i] = -0.5 * A @ W[i]
        for j in range(k):
            t = _angle(W[i], W[j])
            direction = math.hypot(*W[j]) * math.sin(t) * u + (math.pi - t) * W[j]
            gW[i] += float(V[:, i] @ V[:, j]) * direction / (2 * math.pi)
            gV[:, i] += _relu_kernel_float(W[i], W[j]) * V[:, j]
    return gW, gV


def monte_carlo_loss(
    W: Array, V: Array, A: Array, samples: int, rng: np.random.Generator, chunk: int = 100_000
) -> tuple[float, float]:
    """(mean, standard error of the mean) of 1/2 |V relu(W x) - A x|^2 over x ~ N(0, I_d)."""
    total = total_of_squares = 0.0
    for start in range(0, samples, chunk):
        x = rng.standard_normal((min(chunk, samples - start), W.shape[1]))
        residual = np.maximum(x @ W.T, 0.0) @ V.T - x @ A.T
        losses = 0.5 * np.sum(residual**2, axis=1)
        total += float(np.sum(losses))
        total_of_squares += float(np.sum(losses**2))
    mean = total / samples
    variance = max(total_of_squares / samples - mean**2, 0.0)
    return mean, math.sqrt(variance / (samples - 1))


# --- Empirical risk ---------------------------------------------------------------------------


def empirical_loss(W: Array, V: Array, X: Array, Y: Array) -> float:
    """L_n = 1/(2n) sum_i |V relu(W x_i) - y_i|^2; X (n,d), Y (n,r)."""
    residual = np.maximum(X @ W.T, 0.0) @ V.T - Y
    return float(np.sum(residual**2)) / (2 * X.shape[0])


def empirical_gradient(W: Array, V: Array, X: Array, Y: Array) -> tuple[Array, Array]:
    """Gradients (gW (k,d), gV (r,k)) of the empirical risk, relu'(0) = 0; X (n,d), Y (n,r).

    With e = V relu(W x) - y:  gV = mean of e relu(W x)^T,  gW = mean of (relu'(W x) * V^T e) x^T.
    """
    gW, gV = np.zeros_like(W), np.zeros_like(V)
    for x, y in zip(X, Y, strict=True):
        z = W @ x
        hidden = np.where(z > 0, z, 0.0)
        error = V @ hidden - y
        gV += np.outer(error, hidden)
        gW += np.outer((z > 0) * (V.T @ error), x)
    return gW / X.shape[0], gV / X.shape[0]


# --- Gradient descent -------------------------------------------------------------------------


def descend(
    W: Array, V: Array, gradient: Gradient, lr: float, steps: int, train_output: bool = True
) -> tuple[Array, Array]:
    """Joint gradient descent, both layers from the same iterate: W -= lr gW, V -= lr gV.

    Returns all iterates, Ws (steps+1,k,d) and Vs (steps+1,r,k); V stays put if not `train_output`.
    """
    Ws, Vs = [W.copy()], [V.copy()]
    for _ in range(steps):
        gW, gV = gradient(Ws[-1], Vs[-1])
        Ws.append(Ws[-1] - lr * gW)
        Vs.append(Vs[-1] - lr * gV if train_output else Vs[-1])
    return np.stack(Ws), np.stack(Vs)


def population_descent_mp(
    W: Array,
    V: Array,
    A: Array,
    lr: float,
    steps: int,
    dps: int = 50,
    slope: float = 0.0,
    train_output: bool = True,
) -> tuple[Array, Array]:
    """`descend` on the population risk with `dps` digits throughout, each iterate rounded once.

    `lr` is taken as the exact float64 given.  Returns Ws (steps+1,k,d) and Vs (steps+1,r,k).
    """
    with mp.workdps(dps):
        a, s = _exact(A), mpf(slope)
        return _descend_mp(W, V, lambda w, v: _gradient_mp(w, v, a, s), lr, steps, train_output)


def empirical_descent_mp(
    W: Array, V: Array, X: Array, Y: Array, lr: float, steps: int, dps: int = 50
) -> tuple[Array, Array]:
    """`population_descent_mp` on the empirical risk (ReLU) of X (n,d), Y (n,r)."""
    with mp.workdps(dps):
        x, y = _exact(X), _exact(Y)
        return _descend_mp(W, V, lambda w, v: _empirical_mp(w, v, x, y), lr, steps, True)


def _empirical_mp(w: Rows, v: Rows, x: Rows, y: Rows) -> tuple[Rows, Rows]:
    """`empirical_gradient` at the current precision; w rows w_i, v rows v_i."""
    gw, gv = ([[mpf(0)] * len(row) for row in rows] for rows in (w, v))
    for one, label in zip(x, y, strict=True):
        hidden = [max(mp.fdot(p, one), mpf(0)) for p in w]
        error = [
            mp.fdot(hidden, column) - t
            for column, t in zip(zip(*v, strict=True), label, strict=True)
        ]
        for i, h in enumerate(hidden):
            if h > 0:
                back = mp.fdot(v[i], error) / len(x)
                gw[i] = [g + back * entry for g, entry in zip(gw[i], one, strict=True)]
                gv[i] = [g + h * e / len(x) for g, e in zip(gv[i], error, strict=True)]
    return gw, gv


def _descend_mp(
    W: Array,
    V: Array,
    gradient: Callable[[Rows, Rows], tuple[Rows, Rows]],
    lr: float,
    steps: int,
    train_output: bool,
) -> tuple[Array, Array]:
    """`descend` at the current precision; the gradient takes and gives rows w_i and v_i."""
    w, v, rate = _exact(W), _exact(V.T), mpf(float(lr))
    Ws, Vs = [W.astype(np.float64)], [V.astype(np.float64)]
    for _ in range(steps):
        gw, gv = gradient(w, v)
        w, v = _step_mp(w, gw, rate), _step_mp(v, gv, rate) if train_output else v
        Ws.append(np.array(w, dtype=np.float64))
        Vs.append(np.array(v, dtype=np.float64).T)
    return np.stack(Ws), np.stack(Vs)


def _step_mp(rows: Rows, gradient: Rows, rate: mpf) -> Rows:
    """rows - rate * gradient, entry by entry."""
    return [
        [x - rate * g for x, g in zip(row, slope, strict=True)]
        for row, slope in zip(rows, gradient, strict=True)
    ]


# --- Observables ------------------------------------------------------------------------------


def angle_to_target(W: Array, V: Array, A: Array) -> Array:
    """(k,) angles between w_i and A^T v_i, in radians; pi/2 with a zero vector.

    For r = 1 the target direction is +a where v_i > 0 and -a where v_i < 0.
    """
    return np.array([_angle(w, A.T @ v) for w, v in zip(W, V.T, strict=True)])


def imbalance(W: Array, V: Array) -> Array:
    """(k,) values b_i = |w_i|^2 - |v_i|^2, conserved by gradient flow."""
    return np.sum(W**2, axis=1) - np.sum(V**2, axis=0)


def sign_groups(W: Array, V: Array) -> tuple[Array, Array]:
    """For r = 1: one neuron for each sign that some v_i has, W (g, d), V (1, g), with
    v = sign sqrt(sum v_i^2) and w = sum |v_i| w_i over the neurons with that sign."""
    rows, values = [], []
    for sign in (1, -1):
        members = [i for i in range(len(W)) if sign * V[0, i] > 0]
        if members:
            rows.append(sum(abs(V[0, i]) * W[i] for i in members))
            values.append(sign * math.sqrt(sum(V[0, i] ** 2 for i in members)))
    return np.array(rows), np.array([values])


def phase_times(
    Ws: Array, Vs: Array, A: Array, losses: Array, tolerance: float
) -> tuple[int | None, int | None, int | None]:
    """(T_align, T_growth, T_converged), None where never reached; Ws (T,k,d), Vs (T,r,k), A != 0.

    T_align      first step with max_i angle_to_target <= pi/20
    T_growth     first step >= T_align with min_i |v_i| >= sqrt(s)/4, s the smallest non-zero
                 singular value of A
    T_converged  first step with loss < tolerance; losses (T,)

    For r = 1 and k > 2 the neurons are those of `sign_groups` at each step.
    """
    if Vs.shape[1] == 1 and Vs.shape[2] > 2:
        grouped = [sign_groups(W, V) for W, V in zip(Ws, Vs, strict=True)]
        Ws, Vs = [W for W, _ in grouped], [V for _, V in grouped]
    singular = np.linalg.svd(A, compute_uv=False)
    smallest = float(np.min(singular[singular > singular[0] * max(A.shape) * np.finfo(float).eps]))
    angles = [float(np.max(angle_to_target(W, V, A))) for W, V in zip(Ws, Vs, strict=True)]
    sizes = [float(np.min(np.linalg.norm(V, axis=0))) for V in Vs]

    aligned = _first([angle <= math.pi / 20 for angle in angles])
    grown = None
    if aligned is not None:
        grown = _first([size >= math.sqrt(smallest) / 4 for size in sizes], start=aligned)
    return aligned, grown, _first([bool(loss < tolerance) for loss in losses])


def _first(flags: Sequence[bool], start: int = 0) -> int | None:
    """Index of the first true flag at or after `start`, None without one."""
    return next((i for i in range(start, len(flags)) if flags[i]), None)
