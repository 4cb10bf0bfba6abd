"""The quantities of the full tier (`trainer.observables=full`): those that cost more than a look.

A new one is a function here, decorated with `@FULL.quantity(...)`; it returns None where it is not
defined.
"""

from __future__ import annotations

import torch
from torch import Tensor

from reludyn.dynamics import order_parameters
from reludyn.numerics.kernels import norm
from reludyn.recording.moment import Moment
from reludyn.recording.registry import WIDEST, Chart, Registry

CATEGORY = "Observables of the full tier"
GRADIENT = Chart(CATEGORY, "gradient", r"gradient/\w+$")
UPDATE = Chart(CATEGORY, "updates", r"update/\w+$")
DISTANCE = Chart(CATEGORY, "distance from the initial weights", r"distance/\w+$")
PATTERN = Chart(CATEGORY, "inputs switched on or off")
LEARNED = Chart(CATEGORY, "singular directions learned")
ALONG = Chart(CATEGORY, "effective weights along the target")
ACROSS = Chart(CATEGORY, "effective weights across the target")
FULL = Registry(GRADIENT, UPDATE, DISTANCE, PATTERN, LEARNED, ALONG, ACROSS)


@FULL.quantity("gradient/hidden", chart=GRADIENT)
def gradient_hidden(moment: Moment) -> Tensor:
    """|grad_W|_F of the gradient that descent follows."""
    return norm(moment.state.evaluation.gradient.W.flatten(1))


@FULL.quantity("gradient/output", chart=GRADIENT)
def gradient_output(moment: Moment) -> Tensor:
    """|grad_V|_F."""
    return norm(moment.state.evaluation.gradient.V.flatten(1))


@FULL.quantity("update/hidden", chart=UPDATE)
def update_hidden(moment: Moment) -> Tensor:
    """|W - W one iteration earlier|_F: 0 at step 0 and once a replica has stopped."""
    return norm((moment.student.W - moment.state.previous.W).flatten(1))


@FULL.quantity("update/output", chart=UPDATE)
def update_output(moment: Moment) -> Tensor:
    """|V - V one iteration earlier|_F."""
    return norm((moment.student.V - moment.state.previous.V).flatten(1))


@FULL.quantity("distance/hidden", chart=DISTANCE)
def distance_hidden(moment: Moment) -> Tensor:
    """|W - W(0)|_F."""
    return norm((moment.student.W - moment.initial.W).flatten(1))


@FULL.quantity("distance/output", chart=DISTANCE)
def distance_output(moment: Moment) -> Tensor:
    """|V - V(0)|_F."""
    return norm((moment.student.V - moment.initial.V).flatten(1))


@FULL.quantity("pattern/change", axes="k", chart=PATTERN)
def pattern_change(moment: Moment) -> Tensor:
    """Fraction of the inputs that each neuron switched on or off in the last iteration."""
    return moment.risk.switched(moment.state.previous, moment.student)


@FULL.quantity("overlap/Q", axes="kk")
def Q(moment: Moment) -> Tensor | None:
    """Q = W W^T, for k <= 16."""
    narrow = moment.student.width <= WIDEST
    return order_parameters.hidden_overlap(moment.student) if narrow else None


@FULL.quantity("overlap/M", axes="kr")
def M(moment: Moment) -> Tensor:
    """M = W A^T."""
    return order_parameters.teacher_overlap(moment.student, moment.A)


@FULL.quantity("effective/along", axes="k", chart=ALONG)
def effective_along(moment: Moment) -> Tensor:
    """Part of |v_i| w_i along A^T v_i."""
    return order_parameters.effective_weights(moment.student, moment.A)[0]


@FULL.quantity("effective/across", axes="k", chart=ACROSS)
def effective_across(moment: Moment) -> Tensor:
    """Length of |v_i| w_i across A^T v_i."""
    return order_parameters.effective_weights(moment.student, moment.A)[1]


@FULL.quantity("group/along", axes="2")
def group_along(moment: Moment) -> Tensor | None:
    """Parts of the two sign-group sums along a, for r = 1."""
    return _groups(moment)[0]


@FULL.quantity("group/across", axes="2")
def group_across(moment: Moment) -> Tensor | None:
    """Lengths of the two sign-group sums across a, for r = 1."""
    return _groups(moment)[1]


@FULL.quantity("learned/direction", axes="r", chart=LEARNED, predicted=True)
def learned(moment: Moment) -> Tensor:
    """Part of each singular direction of A that the effective map odd V W has: 1 at a minimum;
    largest singular value first."""
    return order_parameters.learned(moment.student, moment.A, moment.risk.activation)


@FULL.quantity("loss/test")
def loss_test(moment: Moment) -> Tensor | None:
    """Loss on 10,000 fresh samples without label noise; not of data=population or file."""
    return None if moment.test is None else moment.test.loss(moment.student).total


def _groups(moment: Moment) -> tuple[Tensor, Tensor] | tuple[None, None]:
    """Return the two sign-group sums along and across a, (R, 2) each; None for r > 1."""
    if moment.A.shape[-2] > 1:
        return None, None
    sums = torch.stack(order_parameters.group_sums(moment.student), -2)  # (R, 2, d)
    return order_parameters.along_and_across(sums, moment.A)
