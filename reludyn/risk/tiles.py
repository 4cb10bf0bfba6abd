"""The gradient of the empirical risk of narrow networks on tiles of samples, for a compiler.

Neurons are written out, so that all of them share one pass over X; the sums over coordinates and
over rows each become one loop, several of whose results stay in registers.
"""

from __future__ import annotations

from functools import cache, partial

import torch
from torch import Tensor

from reludyn.data.layouts import MULTIPLE, TILE, Tiled
from reludyn.network.activation import LeakyReLU
from reludyn.system.compiler import Compiled, varying

NARROW = 8  # the width up to which this is faster than products of matrices
PARTS = 4  # parts of the coordinates that are summed side by side
Sums = tuple[Tensor, Tensor, Tensor]


def pieces(samples: Tiled, numbers: int) -> list[tuple[Tensor, Tensor]]:
    """Return views of the samples for `sums`.

    Several samples are one piece. A single sample is cut into pieces of at most that many numbers
    of X, each passed as if it were two samples: two cores then have a half each for both passes,
    and a program for several samples serves one as well.
    """
    X, Y = samples.X, samples.Y
    if len(X) > 1:
        return [(varying(X, 0, 1), varying(Y, 0, 1))]
    tiles = max(1, numbers // (X.shape[2] * TILE * MULTIPLE)) * MULTIPLE
    some, other = (
        [varying(part.view(2, -1, *part.shape[2:]), 0, 1) for part in x.split(tiles, 1)]
        for x in (X, Y)
    )
    return list(zip(some, other, strict=True))


def sums(program: Compiled, W: Tensor, V: Tensor, X: Tensor, Y: Tensor) -> Sums:
    """Return squares (R,), grad_W (R, k, d) and grad_V (R, r, k), times n, for one of `pieces`.

    Raises CannotCompile.
    """
    fold = len(X) // len(W)
    layers = (x.repeat_interleave(fold, 0) for x in (W, V)) if fold > 1 else (W, V)
    squares, grad_W, grad_V = program(*(varying(x, 0) for x in layers), X, Y)
    if fold == 1:
        return squares, grad_W, grad_V
    return squares.sum(0, keepdim=True), grad_W.sum(0, keepdim=True), grad_V.sum(0, keepdim=True)


@cache
def program(activation: LeakyReLU, *sizes: int) -> Compiled:
    """Return `written_out` compiled, one program for each k, d, r.

    A compiler makes only a few programs of one function, hence one function for each size.
    """
    return Compiled(partial(written_out, activation))


def written_out(activation: LeakyReLU, W: Tensor, V: Tensor, X: Tensor, Y: Tensor) -> Sums:
    """Return `sums`, in the form that is compiled."""
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
