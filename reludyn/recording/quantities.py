"""The core quantities: what every run measures at each look.

A new one is a function here, decorated with `@CORE.quantity(...)`: its array in trajectory.npz, its
curves and their meaning, its charts and its row in the glossary follow. PyTorch is imported inside
the functions that need it: a process that only waits for the jobs of a sweep knows the quantities,
but measures none.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from reludyn.recording.registry import WIDEST, Array, Chart, Digest, Registry

if TYPE_CHECKING:
    from torch import Tensor

    from reludyn.recording.moment import Moment


def log10(x: Array) -> Array:
    """Return the logarithm, NaN for zero: there is nothing to show on a logarithmic axis."""
    return np.log10(x, out=np.full(np.shape(x), np.nan), where=x > 0)


smallest, largest = partial(np.min, axis=0), partial(np.max, axis=0)
PARTS = Chart("Loss", "loss and its two parts")
LOG = Chart("Loss", "log10 of the loss")
LENGTHS = Chart("Neurons", "lengths |w_i| and |v_i|")
TO_TARGETS = Chart("Neurons", "angles to the targets (radians)")
BETWEEN = Chart("Neurons", "angles between neurons (radians)")
IMBALANCE = Chart("Neurons", "imbalance |w_i|² - |v_i|²")
CORE = Registry(PARTS, LENGTHS, TO_TARGETS, BETWEEN, IMBALANCE)


@CORE.quantity(
    "loss/total",
    chart=PARTS,
    band="log10 of the loss",
    digest=Digest(
        "log10", "log10 of loss/total (TensorBoard has no dependable logarithmic axis).", log10, LOG
    ),
    predicted=True,
)
def loss(moment: Moment) -> Tensor:
    """L = E|f(x) - A x|^2 / 2: over the law of the inputs, or over the samples."""
    return moment.loss.total


@CORE.quantity("loss/linear", chart=PARTS)
def loss_linear(moment: Moment) -> Tensor:
    """Part of loss/total: the error of f's odd part, the linear network (1 + s) V W / 2, s =
    model.negative_slope. On samples the parts do not quite add up."""
    return moment.loss.linear


@CORE.quantity("loss/rectification", chart=PARTS)
def loss_rectification(moment: Moment) -> Tensor:
    """Part of loss/total: the even part of f, (1 - s) V |W x| / 2, which a linear target does not
    have."""
    return moment.loss.rectification


@CORE.quantity("loss/population")  # the dashboard draws it on samples
def loss_population(moment: Moment) -> Tensor | None:
    """The loss of the same weights for infinitely many samples."""
    return None if moment.population is None else moment.population.loss(moment.student).total


@CORE.quantity(
    "norm/w",
    axes="k",
    chart=LENGTHS,
    band="smallest |w_i|",
    digest=Digest("smallest_w", "min_i |w_i|.", smallest),
)
def w_norm(moment: Moment) -> Tensor:
    """|w_i|, the length of the hidden weights of neuron i."""
    from reludyn.dynamics import order_parameters

    return order_parameters.hidden_norms(moment.student)


@CORE.quantity(
    "norm/v",
    axes="k",
    chart=LENGTHS,
    band="smallest |v_i|",
    digest=Digest(
        "smallest_v",
        "min_i |v_i|: growth ends where it reaches a quarter of the root of A's smallest singular "
        "value.",
        smallest,
    ),
    predicted=True,
)
def v_norm(moment: Moment) -> Tensor:
    """|v_i|, the length of the output weights of neuron i."""
    from reludyn.dynamics import order_parameters

    return order_parameters.output_norms(moment.student)


@CORE.quantity(
    "angle/to_target",
    axes="k",
    chart=TO_TARGETS,
    band="largest angle to a target",
    digest=Digest(
        "largest_to_target",
        "max_i of the angles to their targets, radians: alignment ends at pi/20 = 0.157.",
        largest,
    ),
    predicted=True,
)
def angle_to_target(moment: Moment) -> Tensor:
    """Angle between w_i and A^T v_i, radians: with one output to +a where v_i > 0, to -a where v_i
    < 0."""
    from reludyn.dynamics import order_parameters

    return order_parameters.angle_to_target(moment.student, moment.A)


@CORE.quantity(
    "imbalance/b",
    axes="k",
    chart=IMBALANCE,
    band="largest imbalance",
    digest=Digest("largest", "max_i |b_i|, b_i = |w_i|^2 - |v_i|^2.", lambda b: largest(abs(b))),
)
def imbalance(moment: Moment) -> Tensor:
    """b_i = |w_i|^2 - |v_i|^2: gradient flow conserves it."""
    from reludyn.dynamics import order_parameters

    return order_parameters.imbalance(moment.student)


@CORE.quantity(
    "angle/between",
    axes="kk",
    chart=BETWEEN,
    band="largest angle between neurons",
    digest=Digest("largest_between", "The largest angle between two neurons, radians.", largest),
    mutual=True,
)
def angle_between(moment: Moment) -> Tensor | None:
    """Angle between w_i and w_j, radians."""
    from reludyn.numerics.kernels import pairwise_angle

    return pairwise_angle(moment.student.W) if moment.student.width <= WIDEST else None


@CORE.quantity(
    "map/cosine",
    chart=Chart("Effective map", "cosine between V W and A"),
    band="cosine between V W and A",
)
def map_cosine(moment: Moment) -> Tensor:
    """tr(A^T V W) / (|V W|_F |A|_F), the cosine between the linear map V W of the student and A: 1
    where they have the same direction, whatever the length of V W; 0 where either is zero."""
    from reludyn.numerics.kernels import unit

    product = moment.student.V @ moment.student.W
    return (unit(product.flatten(-2)) * unit(moment.A.flatten(-2))).sum(-1)
