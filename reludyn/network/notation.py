"""Symbols and axis letters, the same in every file.

Axes
    R replicas   k width (hidden neurons)   d inputs   m reduced inputs (m <= d)   r outputs
    n samples    T looks (recorded steps)

Symbols
    A (r, d) the teacher, y = A x        W (R, k, d) hidden weights, rows w_i
    V (R, r, k) output weights, columns v_i        f(x) = V relu(W x)
    theta an angle in radians        mu the step size        sigma the scale of the initialisation

The replica axis leads everywhere; a single run is the case R = 1. Every function of the weights
accepts m reduced inputs in place of d, since all of them are invariant under rotations of the
input.

A setting (step size, tolerance, A) is either one for all replicas or one per replica (`PerReplica`,
and A (R, r, d)): the replicas of a batch may come from different jobs.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

PerReplica = float | Tensor  # one number for all replicas, or (R,): one per replica


def against(value: PerReplica, x: Tensor) -> Tensor:
    """Return the number or numbers (R,), shaped to broadcast against x (R, ...)."""
    numbers = torch.as_tensor(value, dtype=torch.float64, device=x.device)
    return numbers.view(-1, *(1 for _ in x.shape[1:])) if numbers.ndim else numbers


def of_replicas(value: PerReplica, replicas: Tensor) -> PerReplica:
    """Return the numbers of some replicas, given by their indices."""
    return value[replicas] if isinstance(value, Tensor) else value


class Gradient(NamedTuple):
    """Gradient of a risk: W (R, k, d) and V (R, r, k)."""

    W: Tensor  # with respect to the hidden weights
    V: Tensor  # with respect to the output weights


class Evaluation(NamedTuple):
    """Value (R,) and gradient of a risk at one point, from one pass.

    The value carries the rounding error of the pass, about 1e-16 |A|^2, of either sign.
    """

    loss: Tensor  # (R,)
    gradient: Gradient  # with respect to W (R, k, d) and V (R, r, k)


class Loss(NamedTuple):
    """Risk (R,) and its two non-negative parts (R,): see `reludyn.risk.decomposition`."""

    total: Tensor  # the risk
    linear: Tensor  # the error of the odd part, a linear network
    rectification: Tensor  # what the even part adds
