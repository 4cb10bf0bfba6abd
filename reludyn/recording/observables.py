"""Observables of the full tier (`trainer.observables=full`): those that cost more than a look.

Each is a function of a `Moment` with the replica axis first, or None where it is not defined. Its
name is that in trajectory.npz, its tag that in TensorBoard.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from reludyn.dynamics import order_parameters
from reludyn.network.student import ReLUStudent
from reludyn.numerics.kernels import norm
from reludyn.risk import Risk
from reludyn.training.engine import State

WIDEST = 16  # the width up to which what belongs to pairs of neurons is kept


@dataclass(frozen=True)
class Moment:
    """A state, and what it is compared with."""

    state: State
    initial: ReLUStudent
    A: Tensor
    risk: Risk
    test: Risk | None  # of fresh samples without label noise, where the law of the inputs is known


class Observable(NamedTuple):
    """What is measured at a look, and where TensorBoard shows it."""

    tag: str
    measure: Callable[[Moment], Tensor | None]


FULL: dict[str, Observable] = {}


def observable(name: str, tag: str) -> Callable[[Callable[[Moment], Tensor | None]], None]:
    """Register an observable under its name."""

    def register(measure: Callable[[Moment], Tensor | None]) -> None:
        FULL[name] = Observable(tag, measure)

    return register


@observable("gradient_hidden", "gradient/hidden")
def _(moment: Moment) -> Tensor:
    """|grad_W|_F of the gradient that descent follows, (R,)."""
    return norm(moment.state.evaluation.gradient.W.flatten(1))


@observable("gradient_output", "gradient/output")
def _(moment: Moment) -> Tensor:
    """|grad_V|_F, (R,)."""
    return norm(moment.state.evaluation.gradient.V.flatten(1))


@observable("update_hidden", "update/hidden")
def _(moment: Moment) -> Tensor:
    """|W - W one iteration earlier|_F, (R,): 0 at step 0 and once a replica has stopped."""
    return norm((moment.state.student.W - moment.state.previous.W).flatten(1))


@observable("update_output", "update/output")
def _(moment: Moment) -> Tensor:
    """|V - V one iteration earlier|_F, (R,)."""
    return norm((moment.state.student.V - moment.state.previous.V).flatten(1))


@observable("distance_hidden", "distance/hidden")
def _(moment: Moment) -> Tensor:
    """|W - W(0)|_F, (R,)."""
    return norm((moment.state.student.W - moment.initial.W).flatten(1))


@observable("distance_output", "distance/output")
def _(moment: Moment) -> Tensor:
    """|V - V(0)|_F, (R,)."""
    return norm((moment.state.student.V - moment.initial.V).flatten(1))


@observable("pattern_change", "pattern/change")
def _(moment: Moment) -> Tensor:
    """Fraction of the inputs that each neuron switched on or off in the last iteration, (R, k)."""
    return moment.risk.switched(moment.state.previous, moment.state.student)


@observable("Q", "overlap/Q")
def _(moment: Moment) -> Tensor | None:
    """Q = W W^T, (R, k, k), for k <= 16."""
    student = moment.state.student
    return order_parameters.hidden_overlap(student) if student.width <= WIDEST else None


@observable("M", "overlap/M")
def _(moment: Moment) -> Tensor:
    """M = W A^T, (R, k, r)."""
    return order_parameters.teacher_overlap(moment.state.student, moment.A)


@observable("effective_along", "effective/along")
def _(moment: Moment) -> Tensor:
    """Part of |v_i| w_i along A^T v_i, (R, k)."""
    return order_parameters.effective_weights(moment.state.student, moment.A)[0]


@observable("effective_across", "effective/across")
def _(moment: Moment) -> Tensor:
    """Length of |v_i| w_i across A^T v_i, (R, k)."""
    return order_parameters.effective_weights(moment.state.student, moment.A)[1]


@observable("group_along", "group/along")
def _(moment: Moment) -> Tensor | None:
    """Parts of the two sign-group sums along a, (R, 2), for r = 1."""
    return _groups(moment)[0]


@observable("group_across", "group/across")
def _(moment: Moment) -> Tensor | None:
    """Lengths of the two sign-group sums across a, (R, 2), for r = 1."""
    return _groups(moment)[1]


@observable("learned", "learned/direction")
def _(moment: Moment) -> Tensor:
    """Part of each singular direction of A that the effective map odd V W has, (R, r): 1 at a
    minimum; largest singular value first."""
    return order_parameters.learned(moment.state.student, moment.A, moment.risk.activation)


@observable("loss_test", "loss/test")
def _(moment: Moment) -> Tensor | None:
    """Loss on 10,000 fresh samples without label noise, (R,); not of data=population or file."""
    return None if moment.test is None else moment.test.loss(moment.state.student).total


def _groups(moment: Moment) -> tuple[Tensor, Tensor] | tuple[None, None]:
    if moment.A.shape[-2] > 1:
        return None, None
    sums = torch.stack(order_parameters.group_sums(moment.state.student), -2)  # (R, 2, d)
    return order_parameters.along_and_across(sums, moment.A)
