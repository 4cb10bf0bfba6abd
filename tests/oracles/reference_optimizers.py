"""Slow, independent oracles for optimisers, step sizes, gradient flow and observables.

Companion of `reference.py`, with its notation: W (k, d) has rows w_i, V (r, k) has columns v_i,
A is (r, d), n samples X (n, d), Y (n, r).  float64, written from published formulas alone:
nothing here imports the package.  `flow` needs SciPy.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from tests.oracles.reference import Array, Gradient

# --- Optimisers -------------------------------------------------------------------------------


def momentum(
    W: Array,
    V: Array,
    gradient: Gradient,
    lrs: Sequence[float],
    output_lrs: Sequence[float],
    beta: float,
    steps: int,
    nesterov: bool = False,
) -> tuple[Array, Array]:
    """Gradient descent with momentum; each parameter p, with gradient g_t, has its own buffer b_t.

    b_1 = g_1, b_t = beta b_{t-1} + g_t, then
    p -= lr_t b_t (heavy ball) or p -= lr_t (g_t + beta b_t) (Nesterov).

    Iteration t (from 0) steps W by lrs[t] and V by output_lrs[t], both from the same iterate.
    beta = 0 is plain gradient descent.  Returns all iterates, Ws (steps+1,k,d), Vs (steps+1,r,k).
    Source: documentation of torch.optim.SGD (dampening 0).
    """
    Ws, Vs = [W.copy()], [V.copy()]
    bW, bV = np.zeros_like(W), np.zeros_like(V)
    for t in range(steps):
        gW, gV = gradient(Ws[-1], Vs[-1])
        bW, bV = beta * bW + gW, beta * bV + gV
        stepW, stepV = (gW + beta * bW, gV + beta * bV) if nesterov else (bW, bV)
        Ws.append(Ws[-1] - lrs[t] * stepW)
        Vs.append(Vs[-1] - output_lrs[t] * stepV)
    return np.stack(Ws), np.stack(Vs)


def adam(
    W: Array,
    V: Array,
    gradient: Gradient,
    lrs: Sequence[float],
    output_lrs: Sequence[float],
    beta1: float,
    beta2: float,
    eps: float,
    steps: int,
) -> tuple[Array, Array]:
    """Adam; all operations entry by entry, t = 1, 2, ... and m_0 = s_0 = 0.

    m_t = beta1 m_{t-1} + (1 - beta1) g_t,  s_t = beta2 s_{t-1} + (1 - beta2) g_t^2,
    p -= lr_t m^/(sqrt(s^) + eps)  with  m^ = m_t/(1 - beta1^t),  s^ = s_t/(1 - beta2^t).

    Iteration t (from 0) steps W by lrs[t] and V by output_lrs[t], both from the same iterate.
    Returns all iterates, Ws (steps+1,k,d) and Vs (steps+1,r,k).
    Source: Kingma & Ba (ICLR 2015), algorithm 1; documentation of torch.optim.Adam.
    """
    Ws, Vs = [W.copy()], [V.copy()]
    mW, mV, sW, sV = np.zeros_like(W), np.zeros_like(V), np.zeros_like(W), np.zeros_like(V)
    for t in range(steps):
        gW, gV = gradient(Ws[-1], Vs[-1])
        mW, mV = beta1 * mW + (1 - beta1) * gW, beta1 * mV + (1 - beta1) * gV
        sW, sV = beta2 * sW + (1 - beta2) * gW**2, beta2 * sV + (1 - beta2) * gV**2
        first, second = 1 - beta1 ** (t + 1), 1 - beta2 ** (t + 1)
        Ws.append(Ws[-1] - lrs[t] * (mW / first) / (np.sqrt(sW / second) + eps))
        Vs.append(Vs[-1] - output_lrs[t] * (mV / first) / (np.sqrt(sV / second) + eps))
    return np.stack(Ws), np.stack(Vs)


# --- Step sizes -------------------------------------------------------------------------------


def constant(lr: float, warmup: int, steps: int) -> Array:
    """(steps,) step sizes of iterations 0 .. steps-1: linear warm-up, then lr.

    lr (t + 1)/(warmup + 1) for t < warmup, lr from t = warmup on.
    """
    return np.array([lr * (t + 1) / (warmup + 1) if t < warmup else lr for t in range(steps)])


def cosine(lr: float, warmup: int, steps: int) -> Array:
    """(steps,) step sizes of iterations 0 .. steps-1: linear warm-up, then half a cosine.

    lr (t + 1)/(warmup + 1) for t < warmup, then lr (1 + cos(pi (t - warmup)/(steps - warmup)))/2:
    exactly lr at t = warmup, and 0 would be reached at t = steps.
    Source: Loshchilov & Hutter (ICLR 2017), equation 5 with eta_min = 0 and no restart.
    """
    rates = []
    for t in range(steps):
        if t < warmup:
            rates.append(lr * (t + 1) / (warmup + 1))
        else:
            rates.append(lr * (1 + math.cos(math.pi * (t - warmup) / (steps - warmup))) / 2)
    return np.array(rates)


# --- Gradient flow ----------------------------------------------------------------------------


def flow(
    W: Array,
    V: Array,
    gradient: Gradient,
    times: Sequence[float],
    rtol: float = 1e-12,
    output_ratio: float = 1.0,
) -> tuple[Array, Array]:
    """Gradient flow dW/dt = -gW, dV/dt = -output_ratio gV from (W, V) at times[0] = 0.

    Conserves |w_i|^2 - |v_i|^2/output_ratio.  Returns Ws (len(times),k,d), Vs (len(times),r,k).

    DOP853 with an absolute tolerance of rtol times the root mean square of the initial weights,
    so that small initial weights are followed as accurately as large ones.  Every time is the
    end of an integration of its own: no interpolation.  The tolerances bound the error of a step;
    the gradient should be smooth along the path (the empirical ReLU risk has kinks).
    """
    from scipy.integrate import solve_ivp

    if times[0] != 0:
        raise ValueError(f"times[0] must be 0, not {times[0]}")
    size = math.sqrt(float(np.mean(np.concatenate([W.ravel(), V.ravel()]) ** 2))) or 1.0

    def velocity(_: float, state: Array) -> Array:
        gW, gV = gradient(state[: W.size].reshape(W.shape), state[W.size :].reshape(V.shape))
        return -np.concatenate([gW.ravel(), output_ratio * gV.ravel()])

    states = [np.concatenate([W.ravel(), V.ravel()])]
    for start, end in pairwise(times):
        solution = solve_ivp(
            velocity, (start, end), states[-1], method="DOP853", rtol=rtol, atol=rtol * size
        )
        if not solution.success:
            raise RuntimeError(solution.message)
        states.append(solution.y[:, -1])
    Ws = np.stack([state[: W.size].reshape(W.shape) for state in states])
    Vs = np.stack([state[W.size :].reshape(V.shape) for state in states])
    return Ws, Vs


# --- Leaky ReLU -------------------------------------------------------------------------------


def _leaky(z: float, slope: float) -> tuple[float, float]:
    """(phi(z), phi'(z)): (z, 1) for z > 0, (slope z, slope) otherwise."""
    return (z, 1.0) if z > 0 else (slope * z, slope)


def empirical_loss_leaky(W: Array, V: Array, X: Array, Y: Array, slope: float) -> float:
    """1/(2n) sum_s |V phi(W x_s) - y_s|^2, phi(z) = z for z > 0, slope z otherwise."""
    total = 0.0
    for x, y in zip(X, Y, strict=True):
        hidden = np.array([_leaky(float(w @ x), slope)[0] for w in W])
        total += float(np.sum((V @ hidden - y) ** 2))
    return total / (2 * X.shape[0])


def empirical_gradient_leaky(
    W: Array, V: Array, X: Array, Y: Array, slope: float
) -> tuple[Array, Array]:
    """Gradients (gW (k,d), gV (r,k)) of `empirical_loss_leaky`, phi'(0) = slope.

    With e = V phi(W x) - y:  gW_i = mean of (v_i.e) phi'(w_i.x) x,  gV_i = mean of phi(w_i.x) e.
    """
    gW, gV = np.zeros_like(W), np.zeros_like(V)
    for x, y in zip(X, Y, strict=True):
        units = [_leaky(float(w @ x), slope) for w in W]
        error = V @ np.array([value for value, _ in units]) - y
        for i, (value, derivative) in enumerate(units):
            gW[i] += float(V[:, i] @ error) * derivative * x
            gV[:, i] += value * error
    return gW / X.shape[0], gV / X.shape[0]


# --- Observables ------------------------------------------------------------------------------


def _norm(p: Array) -> float:
    """Frobenius norm, with neither overflow nor underflow of the squares."""
    return math.hypot(*p.ravel())


def _split(p: Array, direction: Array) -> tuple[float, float]:
    """(p.t, |p - (p.t) t|) with t = direction/|direction|; (0, |p|) for direction 0."""
    norm = _norm(direction)
    if norm == 0.0:
        return 0.0, _norm(p)
    t = direction / norm
    along = float(p @ t)
    return along, _norm(p - along * t)


def observables(
    W: Array, V: Array, W0: Array, V0: Array, Wp: Array, Vp: Array, A: Array, gW: Array, gV: Array
) -> dict[str, float | Array]:
    """What is measured at (W, V), started from (W0, V0), previously (Wp, Vp), gradients (gW, gV).

    gradient_hidden = |gW|_F, update_hidden = |W - Wp|_F, distance_hidden = |W - W0|_F, and the same
    with V for `output`;  Q = W W^T (k,k), M = W A^T (k,r).

    With t_i = A^T v_i/|A^T v_i| (0 if A^T v_i = 0):
    effective_along  (k,)  |v_i| (w_i.t_i)
    effective_across (k,)  |v_i| |w_i - (w_i.t_i) t_i|

    For r = 1 only, with p = sum over v_i > 0 of |v_i| w_i and q the same over v_i < 0:
    group_along  (2,)  p.a/|a|, q.a/|a|  (q tends to -a, so the second is negative there)
    group_across (2,)  norms of the rest of p, q

    The two `across` have an absolute accuracy of about 1e-16 times the norm of what they split.
    """
    k, r = W.shape[0], V.shape[0]
    Q, M = np.zeros((k, k)), np.zeros((k, r))
    along, across = np.zeros(k), np.zeros(k)
    for i in range(k):
        for j in range(k):
            Q[i, j] = float(W[i] @ W[j])
        for c in range(r):
            M[i, c] = float(W[i] @ A[c])
        size = _norm(V[:, i])
        component, rest = _split(W[i], A.T @ V[:, i])
        along[i], across[i] = size * component, size * rest
    result: dict[str, float | Array] = {
        "gradient_hidden": _norm(gW),
        "gradient_output": _norm(gV),
        "update_hidden": _norm(W - Wp),
        "update_output": _norm(V - Vp),
        "distance_hidden": _norm(W - W0),
        "distance_output": _norm(V - V0),
        "Q": Q,
        "M": M,
        "effective_along": along,
        "effective_across": across,
    }
    if r == 1:
        groups = np.zeros((2, W.shape[1]))
        for i in range(k):
            if V[0, i] != 0:
                groups[0 if V[0, i] > 0 else 1] += abs(V[0, i]) * W[i]
        parts = [_split(group, A[0]) for group in groups]
        result["group_along"] = np.array([part[0] for part in parts])
        result["group_across"] = np.array([part[1] for part in parts])
    return result


def pattern_change_monte_carlo(
    W: Array, Wp: Array, samples: int, rng: np.random.Generator, chunk: int = 100_000
) -> tuple[Array, Array]:
    """(k,) fractions of x ~ N(0, I_d) with sign(w_i.x) != sign(w'_i.x), (k,) standard errors.

    The expectation is angle(w_i, w'_i)/pi; with exactly one zero vector the fraction is 1.
    A fraction of 0 or 1 has the standard error 0.
    """
    changed = np.zeros(W.shape[0])
    for start in range(0, samples, chunk):
        x = rng.standard_normal((min(chunk, samples - start), W.shape[1]))
        changed += np.sum(np.sign(x @ W.T) != np.sign(x @ Wp.T), axis=0)
    fraction = changed / samples
    return fraction, np.sqrt(fraction * (1 - fraction) / (samples - 1))
