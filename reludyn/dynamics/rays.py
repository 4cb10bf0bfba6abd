"""What a neuron near a ray, +a or -a, does: where phases end, whether it stays.

The lemmas' constants say when a phase counts as ended; the separatrix says which neurons near a
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
    """The clock (R,), -1 as long as an event has not happened, after the given iterations."""
    return torch.where(event & (clock < 0), step, clock)


def first_of(clock: Tensor, steps: Tensor, events: Tensor) -> Tensor:
    """The clock (R,) after several iterations, steps and events (b, R), in their order."""
    when = steps.gather(0, events.byte().argmax(0, keepdim=True)).squeeze(0)
    return first_time(clock, when, events.any(0))


def into_ray(v: Tensor, w: Tensor, theta: Tensor) -> Tensor:
    """Whether all neurons, with squares v = v_i^2, w = |w_i|^2 and angles theta to one ray, (R, k)
    each, end in it: (R,).

    Near a non-strict saddle (Theorem 1) the residual -relu(-a.x) moves a neuron at a small angle
    theta by v' = -c |w| |a| theta^3/(6 pi) and theta' = -v |a| theta^2/(2 pi |w|), where
    c = 1 - |w|^2 / sum_j (v_j^2 + |w_j|^2) since the others take over what v gives up. So
    v^2 - c |w|^2 theta^2/3 is conserved: where it is positive theta vanishes first; otherwise v
    changes sign and the neuron leaves, however long the plateau. (Not in the paper.)
    """
    c = 1 - w / (w + v).sum(-1, keepdim=True)
    return ((theta <= ALIGNED) & (v >= c * w * theta.square() / 3)).all(-1)
