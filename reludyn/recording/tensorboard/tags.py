"""All tags of TensorBoard's cards, `group/quantity/neuron`, with their meanings, in the form of
`reludyn.recording.tensorboard.meanings`. A prediction has the tag of what it predicts, behind
predicted/."""

from __future__ import annotations

from functools import cache
from inspect import getdoc

from reludyn.recording.observables import FULL
from reludyn.recording.quantities import CORE
from reludyn.recording.tensorboard.meanings import MEANINGS, meaning
from reludyn.theory.lemmas import STATEMENTS

SINGLY, PAIRS = 16, 4  # widths up to which each neuron and each pair have cards of their own
SPECTRUM = {  # names of trajectory.npz
    "sharpness": "hessian/sharpness",
    "smallest_eigenvalue": "hessian/smallest",
    "negative_eigenvalues": "hessian/negative",
    "zero_eigenvalues": "hessian/near_zero",
}


def _statement(name: str) -> tuple[str, str]:
    said = " ".join((getdoc(STATEMENTS[name]) or "").split())
    return f"bound/{name}", f"(right - left) / |right|, negative where this is violated: {said}"


_MEASURED: dict[str, str] = {
    **MEANINGS,
    "hessian/sharpness": "Largest eigenvalue of the Hessian of the population risk.",
    "hessian/two_over_mu": "2/mu: where hessian/sharpness is above it descent is unstable.",
    "hessian/smallest": "Smallest eigenvalue of the Hessian of the population risk.",
    "hessian/negative": "How many eigenvalues of the Hessian are negative.",
    "hessian/near_zero": "How many eigenvalues of the Hessian are zero, to a relative 1e-6.",
    **FULL.meanings,
    **dict(map(_statement, STATEMENTS)),
}
TAGS = _MEASURED | {
    f"predicted/{tag}": f"Predicted from the initial weights alone: {_MEASURED[tag]}"
    for quantity in (*CORE.values(), *FULL.values())
    for tag in quantity.predicted_tags
}


@cache
def describe(tag: str) -> str:
    """Return the meaning of a tag as it is written; empty where there is none."""
    return meaning(tag, TAGS)
