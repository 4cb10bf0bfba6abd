"""What TensorBoard's cards show: every tag `group/quantity/neuron` with its meaning, in the form of
`reludyn.recording.tensorboard.meanings`. A prediction has the tag of what it predicts, behind
predicted/."""

from __future__ import annotations

import re
from functools import cache
from inspect import getdoc

from reludyn.recording.observables import FULL
from reludyn.recording.tensorboard.meanings import CORE, meaning
from reludyn.theory.lemmas import STATEMENTS

SINGLY, PAIRS = 16, 4  # widths up to which each neuron and each pair have cards of their own
PREDICTED = (
    "loss/log10",
    "norm/v/<i>",
    "norm/smallest_v",
    "angle/to_target/<i>",
    "angle/largest_to_target",
    "learned/direction/<i>",
)
SPECTRUM = {  # names of trajectory.npz
    "sharpness": "hessian/sharpness",
    "smallest_eigenvalue": "hessian/smallest",
    "negative_eigenvalues": "hessian/negative",
    "zero_eigenvalues": "hessian/near_zero",
}
_SHAPE = re.compile(r",? \(R,((?: \w+,?)*)\)")  # of an observable, in its docstring


def _observable(name: str) -> tuple[str, str]:
    """Tag and meaning of an observable of the full tier, from its docstring."""
    said = " ".join((getdoc(FULL[name].measure) or "").split())
    shape = _SHAPE.search(said)
    axes = len(shape.group(1).split()) if shape else 0
    return FULL[name].tag + ["", "/<i>", "/<i>-<j>"][axes], _SHAPE.sub("", said)


def _statement(name: str) -> tuple[str, str]:
    said = " ".join((getdoc(STATEMENTS[name]) or "").split())
    return f"bound/{name}", f"(right - left) / |right|, negative where this is violated: {said}"


_MEASURED: dict[str, str] = {
    **CORE,
    "hessian/sharpness": "Largest eigenvalue of the Hessian of the population risk.",
    "hessian/two_over_mu": "2/mu: where hessian/sharpness is above it descent is unstable.",
    "hessian/smallest": "Smallest eigenvalue of the Hessian of the population risk.",
    "hessian/negative": "How many eigenvalues of the Hessian are negative.",
    "hessian/near_zero": "How many eigenvalues of the Hessian are zero, to a relative 1e-6.",
    **dict(map(_observable, FULL)),
    **dict(map(_statement, STATEMENTS)),
}
TAGS = _MEASURED | {
    f"predicted/{tag}": f"Predicted from the initial weights alone: {_MEASURED[tag]}"
    for tag in PREDICTED
    if tag in _MEASURED  # under `python -OO` there are no docstrings
}


@cache
def describe(tag: str) -> str:
    """The meaning of a tag as it is written; empty where there is none."""
    return meaning(tag, TAGS)
