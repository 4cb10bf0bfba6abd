"""Initialisations: how one replica draws its weights, and how a batch is made of them.

An initialisation is a function of a `Draw` that returns W (k, d) and V (r, k) at scale one; the
decorator `initialization` gives it the name that `init=NAME` selects. The batch draws replica j
from its own seed, so that replica j equals a run alone with that seed, bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from reludyn.network.student import ReLUStudent
from reludyn.network.teacher import LinearTeacher
from reludyn.numerics.random import stream
from reludyn.system.arrays import Array, read_arrays
from reludyn.system.errors import ConfigError

GIVEN = ("explicit", "near_saddle")  # these prescribe the signs of v_i themselves


@dataclass(frozen=True)
class Draw:
    """Everything that one replica's weights may depend on."""

    rng: np.random.Generator  # the replica's own
    k: int
    A: Array  # (r, d), the teacher

    @property
    def r(self) -> int:
        return int(self.A.shape[0])

    @property
    def d(self) -> int:
        return int(self.A.shape[1])

    def normal(self, *shape: int, variance: float = 1.0) -> Array:
        """Return independent N(0, variance) entries."""
        entries: Array = self.rng.standard_normal(shape) * math.sqrt(variance)
        return entries

    def directions(self) -> Array:
        """Return columns (r, k) uniform on the unit sphere of R^r: random signs for r = 1."""
        columns = self.normal(self.r, self.k)
        columns /= np.linalg.norm(columns, axis=0)
        return columns


Initialization = Callable[..., tuple[Array, Array]]  # takes a Draw, and its own options
INITIALIZATIONS: dict[str, Initialization] = {}


def initialization(name: str) -> Callable[[Initialization], Initialization]:
    """Register an initialisation under the name that `init=NAME` selects."""

    def register(function: Initialization) -> Initialization:
        INITIALIZATIONS[name] = function
        return function

    return register


@initialization("xavier_normal")
def xavier_normal(draw: Draw) -> tuple[Array, Array]:
    """Draw from N(0, 2/(fan_in + fan_out)): variance 2/(d + k) for W and 2/(k + r) for V.

    Glorot, Bengio 2010; the paper's experiments use it.
    """
    k, d, r = draw.k, draw.d, draw.r
    return draw.normal(k, d, variance=2 / (d + k)), draw.normal(r, k, variance=2 / (k + r))


@initialization("he_normal")
def he_normal(draw: Draw) -> tuple[Array, Array]:
    """Draw from N(0, 2/fan_in): variance 2/d for W and 2/k for V (He et al. 2015)."""
    k, d, r = draw.k, draw.d, draw.r
    return draw.normal(k, d, variance=2 / d), draw.normal(r, k, variance=2 / k)


@initialization("orthogonal")
def orthogonal(draw: Draw) -> tuple[Array, Array]:
    """Draw semi-orthogonal W and V, uniformly (Haar; Saxe et al. 2014).

    A matrix has orthonormal rows, or orthonormal columns where it has more rows than columns.
    """
    return _haar(draw, draw.k, draw.d), _haar(draw, draw.r, draw.k)


@initialization("theorem")
def theorem(draw: Draw) -> tuple[Array, Array]:
    """Draw w_i ~ N(0, I_d/d), |v_i| ~ chi_d/sqrt(d), and directions of v_i uniformly (Theorem 2).

    For r = 1 the direction of v_i is a random sign. |v_i| and |w_i| have the same law.
    """
    W = draw.normal(draw.k, draw.d, variance=1 / draw.d)
    length = np.sqrt(draw.rng.chisquare(draw.d, draw.k) / draw.d)
    return W, length * draw.directions()


@initialization("unit_output")
def unit_output(draw: Draw) -> tuple[Array, Array]:
    """Draw w_i ~ N(0, I_d/d) and |v_i| = 1, with directions of v_i uniform.

    With init.output_scale=1 the output weights are +-1 whatever the scale of the hidden weights
    (figure 1 of the paper).
    """
    return draw.normal(draw.k, draw.d, variance=1 / draw.d), draw.directions()


@initialization("balanced")
def balanced(draw: Draw) -> tuple[Array, Array]:
    """Draw w_i ~ N(0, I_d/d) and |v_i| = |w_i|, with directions of v_i uniform.

    The imbalance of Lemma 3 is zero.
    """
    W = draw.normal(draw.k, draw.d, variance=1 / draw.d)
    return W, np.linalg.norm(W, axis=1) * draw.directions()


@initialization("dominated")
def dominated(draw: Draw, ratio: float) -> tuple[Array, Array]:
    """Draw balanced weights, and then multiply V by ratio > 1: |v_i| = ratio |w_i|.

    The signs of v_i never change under gradient flow (Boursier, Flammarion 2022).
    """
    W, V = balanced(draw)
    return W, ratio * V


@initialization("explicit")
def explicit(
    draw: Draw, W: object = None, V: object = None, path: str | None = None
) -> tuple[Array, Array]:
    """Return W and V as given: lists, or the arrays W (k, d) and V (r, k) of a file.

    Rows of W that are shorter than d are filled up with zeros. Raises ConfigError where the arrays
    are missing or have other shapes.
    """
    given: Mapping[str, object] = {"W": W, "V": V}
    if path is not None:
        given = read_arrays(path, "init.path").arrays
        if not {"W", "V"} <= set(given):
            allowed = "must be an .npz or .safetensors file with the arrays W (k, d) and V (r, k)"
            raise ConfigError("init.path", path, allowed)
    hidden = _matrix("W", given.get("W"), draw.k, draw.d, shorter=True)
    return hidden, _matrix("V", given.get("V"), draw.r, draw.k)


@initialization("near_saddle")
def near_saddle(draw: Draw, c: float, distance: float) -> tuple[Array, Array]:
    """Return a point at a given distance from a saddle of Theorem 1; needs r = 1, k = 2.

    The saddle is v_1 w_1 = (c + 1) a, |v_2| w_2 = c a with v = sqrt|a| (1, -1) and c > 0 or c < -1.
    A vector of length distance sqrt|a| is added to it, uniform in direction in the space of all
    weights. Raises ConfigError for other r, k or c.
    """
    if (draw.r, draw.k) != (1, 2):
        raise ConfigError("init", "near_saddle", "needs data.outputs=1 and model.width=2")
    if -1 <= c <= 0:
        raise ConfigError("init.c", c, "must be > 0 or < -1")
    unit = math.sqrt(np.linalg.norm(draw.A))
    W = np.outer([c + 1, c], draw.A[0]) / unit
    V = np.array([[unit, -unit]])
    offset = draw.normal(W.size + V.size)
    offset *= distance * unit / np.linalg.norm(offset)
    return W + offset[: W.size].reshape(W.shape), V + offset[W.size :].reshape(V.shape)


def with_signs(V: Array, signs: str) -> Array:
    """Return V (1, k) with a pattern of signs.

    random leaves the drawn signs, alternating gives +, -, +, ... (the paper's (+, -) for k = 2),
    same gives all +. Raises ConfigError for a pattern where r > 1.
    """
    if signs == "random":
        return V
    if V.shape[0] != 1:
        raise ConfigError(
            "init.signs",
            signs,
            f"must be random when data.outputs={V.shape[0]} > 1",
            "Use init.signs=random: a pattern belongs to scalar output weights",
        )
    pattern = np.ones(V.shape[1])
    if signs == "alternating":
        pattern[1::2] = -1
    return np.abs(V) * pattern


def replica_scales(scale: float, scale_to: float | None, replicas: int) -> Array:
    """Return scales (R,): one for all, or spaced evenly in the logarithm from scale to scale_to."""
    if scale_to is None:
        return np.full(replicas, scale)
    scales: Array = np.geomspace(scale, scale_to, replicas)
    scales[0] = scale  # exactly, which geomspace does not promise
    return scales


def draw_students(
    seeds: Sequence[int],
    k: int,
    teacher: LinearTeacher,
    name: str,
    scale: float,
    signs: str = "random",
    scale_to: float | None = None,
    output_scale: float | None = None,
    **options: object,
) -> ReLUStudent:
    """Draw R = len(seeds) students, W (R, k, d) and V (R, r, k), in float64 on the CPU.

    W is drawn at scale one and multiplied by the replica's scale, V by output_scale (None: the
    same scale); `options` are those of the initialisation. Replica j depends on seeds[j] alone,
    and on its index j where scale_to is set. Raises ConfigError for an unknown name, for a sign
    pattern with r > 1 or one that contradicts given weights, and where the initialisation does.
    """
    if name not in INITIALIZATIONS:
        known = ", ".join(sorted(INITIALIZATIONS))
        raise ConfigError("init.name", name, f"must be one of {known}")
    initialize, A = INITIALIZATIONS[name], teacher.A.numpy()
    scales = replica_scales(scale, scale_to, len(seeds))
    W, V = np.empty((len(seeds), k, A.shape[1])), np.empty((len(seeds), A.shape[0], k))
    for j, seed in enumerate(seeds):
        w, v = initialize(Draw(stream(seed, "weights"), k, A), **options)
        signed = with_signs(v, signs)
        if name in GIVEN and not np.array_equal(signed, v):
            raise ConfigError(
                "init.signs",
                signs,
                f"init={name} prescribes other signs of v_i",
                "Use init.signs=random, which leaves them as they are",
            )
        W[j] = scales[j] * w
        output = scales[j] if output_scale is None else output_scale
        V[j] = output * signed
    return ReLUStudent(torch.from_numpy(W), torch.from_numpy(V))


def _haar(draw: Draw, rows: int, columns: int) -> Array:
    """Return a uniform (rows, columns) matrix with orthonormal rows or columns."""
    Q, triangle = np.linalg.qr(draw.normal(max(rows, columns), min(rows, columns)))
    Q = Q * np.sign(np.diag(triangle))
    return Q if rows >= columns else Q.T


def _matrix(name: str, given: object, rows: int, columns: int, shorter: bool = False) -> Array:
    """Return a matrix of this shape; rows that may be shorter are filled up with zeros."""
    allowed = f"must be {rows} rows of {'at most ' if shorter else ''}{columns} numbers"
    try:
        matrix = np.array(given, dtype=np.float64)
    except (TypeError, ValueError):
        matrix = np.empty(0)
    short = shorter and matrix.ndim == 2 and matrix.shape[1] <= columns
    if matrix.ndim != 2 or len(matrix) != rows or not (short or matrix.shape[1] == columns):
        value = given if np.size(matrix) < 20 else f"an array of shape {matrix.shape}"
        raise ConfigError(f"init.{name}", value, allowed)
    if not np.isfinite(matrix).all():
        raise ConfigError(f"init.{name}", given, "must be finite numbers")
    return np.pad(matrix, ((0, 0), (0, columns - matrix.shape[1])))
