"""Neurons near a ray, +a or -a: when phases end, and which neurons stay there.

The lemmas' constants define when a phase counts as ended; the separatrix tells which neurons near a
non-strict saddle end in it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

ALIGNED = math.pi / 20  # the largest angle at which alignment counts as done, Lemma 6
GROWN = 1 / 4  # |v_i| / sqrt|a| at which growth counts as done, Lemma 7
MINIMUM = 1e-8  # times the loss of the zero student: a global minimum, whatever the tolerance


def first_time(clock: Tensor, step: Tensor, event: Tensor) -> Tensor:
    """Return the clock (R,) after an iteration: -1 as long as the event has not happened."""
    return torch.where(event & (clock < 0), step, clock)


def first_of(clock: Tensor, steps: Tensor, events: Tensor) -> Tensor:
    """Return the clock (R,) after several iterations in order, steps and events (b, R)."""
    when = steps.gather(0, events.byte().argmax(0, keepdim=True)).squeeze(0)
    return first_time(clock, when, events.any(0))


def into_ray(v: Tensor, w: Tensor, theta: Tensor) -> Tensor:
    """Return whether all neurons end in one ray, (R,).

    Their squares are v = v_i^2 and w = |w_i|^2, their angles to that ray theta, (R, k) each. Near a
    non-strict saddle (Theorem 1) the residual -relu(-a.x) moves a neuron at a small angle theta by
    v' = -c |w| |a| theta^3/(6 pi) and theta' = -v |a| theta^2/(2 pi |w|), where
    c = 1 - |w|^2 / sum_j (v_j^2 + |w_j|^2) since the others take over what v gives up. So
    v^2 - c |w|^2 theta^2/3 is conserved: where it is positive theta vanishes first; otherwise v
    changes sign and the neuron leaves, however long the plateau. (Not in the paper.)
    """
    c = 1 - w / (w + v).sum(-1, keepdim=True)
    return ((theta <= ALIGNED) & (v >= c * w * theta.square() / 3)).all(-1)
