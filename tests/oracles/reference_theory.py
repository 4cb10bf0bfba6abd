"""Oracles for the theory: the Hessian block by block, the lemmas' two sides neuron by neuron.

Written from the formulas alone, as tests/oracles/reference.py: nothing here imports the package.
W (k, d) has rows w_i, V (r, k) columns v_i, A is (r, d).
"""

from __future__ import annotations

import math

import numpy as np
from mpmath import mp, mpf
from numpy.typing import NDArray

from tests.oracles import reference
from tests.oracles.reference import _angle, _exact, _gradient_mp

Array = NDArray[np.float64]


# --- The Hessian ------------------------------------------------------------------------------


def hessian_blocks(W: Array, V: Array, A: Array) -> Array:
    """(N, N), N = k d + r k, of the population risk with ReLU; W row by row, then V row by row.

    With E[relu relu] = F and t the angle of w_l and w_m, u = w/|w|, P_l = I - u_l u_l^T:
    w_l w_l: (v_l.v_l) I/2 + sum_{i != l} (v_l.v_i)|w_i|/(2 pi |w_l|) (sin t P_l + P_l u_i u_i^T P_l
             / sin t)
    w_l w_m: (v_l.v_m)/(2 pi) [(pi - t) I + sin t u_l u_m^T + P_l u_m u_l^T P_m / sin t]
    v_l v_m: F(w_l, w_m) I_r
    v_l w_m: v_m grad_{w_m} F(w_m, w_l)^T, and for l = m also sum_i v_i grad_{w_l} F(w_l, w_i)^T
             - A/2
    """
    (k, d), r = W.shape, V.shape[0]
    H = np.zeros((k * d + r * k, k * d + r * k))

    def w(i: int) -> slice:
        return slice(i * d, (i + 1) * d)

    def v(i: int) -> list[int]:
        return [k * d + c * k + i for c in range(r)]

    length = [math.hypot(*row) for row in W]
    u = [row / size for row, size in zip(W, length, strict=True)]
    eye = np.eye(d)
    for i in range(k):
        P = eye - np.outer(u[i], u[i])
        block = V[:, i] @ V[:, i] * eye / 2
        for j in range(k):
            t = _angle(W[i], W[j])
            if j != i:
                p = P @ u[j]
                turn = math.sin(t) * P
                if math.sin(t) > 0:
                    turn = turn + np.outer(p, p) / math.sin(t)
                share = V[:, i] @ V[:, j] * length[j] / (2 * math.pi * length[i])
                block = block + share * turn
                cross = (math.pi - t) * eye + math.sin(t) * np.outer(u[i], u[j])
                if math.sin(t) > 0:
                    cross = cross + np.outer(p, u[i] - (u[i] @ u[j]) * u[j]) / math.sin(t)
                H[w(i), w(j)] = V[:, i] @ V[:, j] / (2 * math.pi) * cross
            slope = (length[j] * math.sin(t) * u[i] + (math.pi - t) * W[j]) / (2 * math.pi)
            # slope = grad of F(w_i, w_j) in w_i, the other one held
            H[np.ix_(v(i), v(j))] = reference._relu_kernel_float(W[i], W[j]) * np.eye(r)
            if j != i:
                H[v(j), w(i)] = np.outer(V[:, i], slope)
            H[v(i), w(i)] += np.outer(V[:, j], slope)
        H[v(i), w(i)] += np.outer(V[:, i], W[i]) / 2 - A / 2  # F(w, w) = |w|^2/2 has both slopes
        H[w(i), w(i)] = block
    H[: k * d, k * d :] = H[k * d :, : k * d].T
    return H


def hessian_mp(W: Array, V: Array, A: Array, dps: int = 50) -> Array:
    """The same by central differences of the gradient, h = 1e-15, with so many digits."""
    (k, d), r = W.shape, V.shape[0]
    N, columns = k * d + r * k, []
    with mp.workdps(dps):
        h, a = mpf(10) ** -15, _exact(A)

        def gradient(place: int, step: mpf) -> list[mpf]:
            w, v = _exact(W), _exact(V.T)
            if place < k * d:
                w[place // d][place % d] += step
            else:
                c, i = divmod(place - k * d, k)
                v[i][c] += step
            gw, gv = _gradient_mp(w, v, a)
            return [x for row in gw for x in row] + [gv[i][c] for c in range(r) for i in range(k)]

        for place in range(N):
            pairs = zip(gradient(place, h), gradient(place, -h), strict=True)
            columns.append([float((x - y) / (2 * h)) for x, y in pairs])
    return np.array(columns).T


def stationary_eigenvalues_saddle(v: Array, lengths: Array, d: int) -> Array:
    """Theorem 1, k = 2, r = 1: 0 (d + 2 times), (v_1^2 + v_2^2)/2 (d - 1 times) and
    (|w_1|^2 + |w_2|^2 + v_1^2 + v_2^2)/2, ascending."""
    outputs, inputs = float(np.sum(v**2)), float(np.sum(lengths**2))
    return np.array([0.0] * (d + 2) + [outputs / 2] * (d - 1) + [(inputs + outputs) / 2])


# --- The lemmas, k = 2, r = 1 -----------------------------------------------------------------


def residuals(W: Array, v: Array, a: Array) -> list[Array]:
    """h_i = |v_i| w_i - sign(v_i) a."""
    return [abs(v[i]) * W[i] - math.copysign(1, v[i]) * a for i in range(2)]


def squares(vectors: list[Array]) -> float:
    return float(sum(np.sum(x**2) for x in vectors))


def lemma_3(W: Array, v: Array, a: Array, mu: float) -> tuple[list[float], list[float]]:
    """|drift of b_i| in one step that is made, and 6 mu^2 (v_i^2 + |w_i|^2)(|h_1|^2 + |h_2|^2)."""
    gW, gV = reference.population_gradient(W, v[None], a[None])
    after_W, after_v = W - mu * gW, v - mu * gV[0]
    left, right = [], []
    for i in range(2):
        before = W[i] @ W[i] - v[i] ** 2
        left.append(abs(float(after_W[i] @ after_W[i] - after_v[i] ** 2 - before)))
        sizes = v[i] ** 2 + W[i] @ W[i]
        right.append(float(6 * mu**2 * sizes * squares(residuals(W, v, a))))
    return left, right


def lemma_8(W: Array, v: Array, a: Array) -> tuple[float, float]:
    """0.05 min(v_1^2, v_2^2) L and |grad_w1 L|^2 + |grad_w2 L|^2."""
    gW, _ = reference.population_gradient(W, v[None], a[None])
    loss = float(reference.population_loss_mp(W, v[None], a[None])[0])
    return 0.05 * float(np.min(v**2)) * loss, float(np.sum(gW**2))


def lemma_11(W: Array, v: Array, a: Array, X: Array) -> tuple[list[float], list[float]]:
    """|grad_{w_i} L_n - grad_{w_i} L| on samples X (n, d), and |v_i| (|h_1| + |h_2|)."""
    sampled, _ = reference.empirical_gradient(W, v[None], X, (X @ a)[:, None])
    exact, _ = reference.population_gradient(W, v[None], a[None])
    size = sum(math.hypot(*h) for h in residuals(W, v, a))
    return [math.hypot(*row) for row in sampled - exact], [abs(x) * size for x in v]


def lemma_13(W: Array, v: Array, a: Array) -> tuple[float, float]:
    """|h_1|^2 + |h_2|^2 and 20 L."""
    loss = float(reference.population_loss_mp(W, v[None], a[None])[0])
    return squares(residuals(W, v, a)), 20 * loss


def theorem_2_error(W: Array, v: Array, a: Array) -> float:
    """|diag(|v|) W - [s_1 a, s_2 a]^T|_F."""
    return math.sqrt(squares(residuals(W, v, a)))
