"""What TensorBoard's cards show: every tag `group/quantity/neuron` with its meaning.

<i> stands for a neuron (or a direction, or a sign group), <i>-<j> for a pair, counted from 1 as in
the paper. An ensemble has /p10, /median, /p90 behind a tag: quantiles over its replicas.
"""

from __future__ import annotations

import re
from functools import cache
from inspect import getdoc

from reludyn.recording.hparams import RESULTS
from reludyn.recording.observables import FULL
from reludyn.theory.bounds import STATEMENTS

SINGLY, PAIRS = 16, 4  # widths up to which each neuron and each pair have cards of their own
QUANTILES = {"p10": 0.1, "median": 0.5, "p90": 0.9}
SPECTRUM = {  # names of trajectory.npz
    "sharpness": "hessian/sharpness",
    "smallest_eigenvalue": "hessian/smallest",
    "negative_eigenvalues": "hessian/negative",
    "zero_eigenvalues": "hessian/near_zero",
}
_LEVELS = {"p10": "10% quantile", "median": "median", "p90": "90% quantile"}
_SHAPE = re.compile(r",? \(R,((?: \w+,?)*)\)")  # of an observable, in its docstring


def _observable(name: str) -> tuple[str, str]:
    """Tag and meaning of an observable of the full tier, from its docstring."""
    meaning = " ".join((getdoc(FULL[name].measure) or "").split())
    shape = _SHAPE.search(meaning)
    axes = len(shape.group(1).split()) if shape else 0
    return FULL[name].tag + ["", "/<i>", "/<i>-<j>"][axes], _SHAPE.sub("", meaning)


def _statement(name: str) -> tuple[str, str]:
    said = " ".join((getdoc(STATEMENTS[name]) or "").split())
    return f"bound/{name}", f"(right - left) / |right|, negative where this is violated: {said}"


TAGS: dict[str, str] = {
    "loss/total": "L = E|f(x) - A x|^2 / 2: over the law of the inputs, or over the samples.",
    "loss/log10": "log10 of loss/total (TensorBoard has no dependable logarithmic axis).",
    "loss/linear": "Part of loss/total: the error of f's odd part, the linear network "
    "(1 + s) V W / 2, s = model.negative_slope. On samples the parts do not quite add up.",
    "loss/rectification": "Part of loss/total: the even part of f, (1 - s) V |W x| / 2, which a "
    "linear target does not have.",
    "loss/population": "The loss of the same weights for infinitely many samples.",
    "norm/w/<i>": "|w_i|, the length of the hidden weights of neuron i.",
    "norm/v/<i>": "|v_i|, the length of the output weights of neuron i.",
    "norm/smallest_w": "min_i |w_i|.",
    "norm/smallest_v": "min_i |v_i|: growth ends where it reaches a quarter of the root of A's "
    "smallest singular value.",
    "angle/to_target/<i>": "Angle between w_i and A^T v_i, radians: with one output to +a where "
    "v_i > 0, to -a where v_i < 0.",
    "angle/between/<i>-<j>": "Angle between w_i and w_j, radians.",
    "angle/largest_to_target": "max_i of the angles to their targets, radians: alignment ends at "
    "pi/20 = 0.157.",
    "angle/largest_between": "The largest angle between two neurons, radians.",
    "imbalance/b/<i>": "b_i = |w_i|^2 - |v_i|^2: gradient flow conserves it.",
    "imbalance/largest": "max_i |b_i|, b_i = |w_i|^2 - |v_i|^2.",
    "phase/index": "0 alignment, 1 growth, 2 refinement.",
    "fraction/aligned": "Fraction of the replicas whose alignment has ended.",
    "fraction/grown": "Fraction of the replicas whose growth has ended.",
    "fraction/stopped": "Fraction of the replicas that have stopped.",
    "hessian/sharpness": "Largest eigenvalue of the Hessian of the population risk; theory: 2/mu, "
    "above which descent is unstable.",
    "hessian/smallest": "Smallest eigenvalue of the Hessian of the population risk.",
    "hessian/negative": "How many eigenvalues of the Hessian are negative.",
    "hessian/near_zero": "How many eigenvalues of the Hessian are zero, to a relative 1e-6.",
    **dict(map(_observable, FULL)),
    **dict(map(_statement, STATEMENTS)),
    **RESULTS,
}


@cache
def describe(tag: str) -> str:
    """The meaning of a tag as it is written; empty where there is none."""
    stem, _, level = tag.rpartition("/")
    if level in _LEVELS:
        return f"{_LEVELS[level]} over replicas: {describe(stem)}"
    for number, form in ((r"/\d+$", "/<i>"), (r"/\d+-\d+$", "/<i>-<j>"), (r"/\d+$", "")):
        if (general := re.sub(number, form, tag)) in TAGS:
            return TAGS[general]
    return ""
