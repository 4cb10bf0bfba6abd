"""The gradient of the empirical risk of narrow networks on tiles of samples, for a compiler.

Neurons are written out, so that all of them share one pass over X; the sums over coordinates and
over rows each become one loop, several of whose results stay in registers.
"""

from __future__ import annotations

from functools import cache, partial

import torch
from torch import Tensor

from reludyn.activation import LeakyReLU
from reludyn.compiler import Compiled, varying
from reludyn.data.held import MULTIPLE, TILE, Tiled

NARROW = 8  # the width up to which this is faster than products of matrices
PARTS = 4  # of the coordinates, summed side by side
Sums = tuple[Tensor, Tensor, Tensor]


def pieces(samples: Tiled, numbers: int) -> list[tuple[Tensor, Tensor]]:
    """Views X (S, b, d, c) and Y (S, b, r, c) of so many numbers of X: where there is one sample,
    of some of its tiles, else of all of them."""
    both = [samples.X], [samples.Y]
    if len(samples.X) == 1:
        tiles = max(1, numbers // (samples.X.shape[2] * TILE * MULTIPLE)) * MULTIPLE
        both = samples.X.split(tiles, 1), samples.Y.split(tiles, 1)
    return [(varying(X, 0, 1), varying(Y, 0, 1)) for X, Y in zip(*both, strict=True)]


def sums(activation: LeakyReLU, W: Tensor, V: Tensor, X: Tensor, Y: Tensor) -> Sums:
    """Squares (R,), grad_W (R, k, d) and grad_V (R, r, k), times n, of one of `pieces`, with S = R.
    Raises CannotCompile."""
    found: Sums = _program(activation)(varying(W, 0), varying(V, 0), X, Y)
    return found


@cache
def _program(activation: LeakyReLU) -> Compiled:
    return Compiled(partial(written_out, activation))


def written_out(activation: LeakyReLU, W: Tensor, V: Tensor, X: Tensor, Y: Tensor) -> Sums:
    """`sums`, as it is compiled."""
    neurons, outputs = range(W.shape[1]), range(V.shape[1])
    Z = [(X * W[:, None, i, :, None]).sum(2) for i in neurons]  # (S, B, c) each
    hidden = [activation(z) for z in Z]
    v = [[V[:, o, i, None, None] for i in neurons] for o in outputs]
    error = [sum(v[o][i] * hidden[i] for i in neurons) - Y[:, :, o] for o in outputs]
    back = [sum(v[o][i] * error[o] for o in outputs) * activation.derivative(Z[i]) for i in neurons]
    parts = [
        torch.stack([(x * b.unsqueeze(2)).sum((1, 3)) for b in back], 1)
        for x in (X[:, :, part::PARTS] for part in range(PARTS))
    ]
    order = [c for part in range(PARTS) for c in range(part, X.shape[2], PARTS)]
    place = sorted(range(len(order)), key=order.__getitem__)
    grad_V = [torch.stack([(e * h).sum((1, 2)) for h in hidden], -1) for e in error]
    squares = torch.stack([e.square().sum((1, 2)) for e in error]).sum(0)
    return squares, torch.cat(parts, -1)[..., place], torch.stack(grad_V, 1)
