"""What the core tags of TensorBoard's cards mean: those that are known without PyTorch, so that a
process that only waits for the jobs of a sweep can write them, too. All are in
`reludyn.recording.tensorboard.tags`.

<i> stands for a neuron (or a direction, or a sign group), <i>-<j> for a pair, counted from 1 as in
the paper. An ensemble has /p10, /median, /p90 behind a tag: quantiles over its replicas. A single
replica of an ensemble has seed_S/ in front of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from reludyn.recording.tensorboard.hparams import RESULTS

_LEVELS = {"p10": "10% quantile", "median": "median", "p90": "90% quantile"}
_SEED = re.compile(r"seed_(\d+)/(.+)")

CORE: dict[str, str] = {
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
    **RESULTS,
}


def meaning(tag: str, known: Mapping[str, str] = CORE) -> str:
    """The meaning of a tag as it is written, from those of tags in general; empty where there is
    none."""
    if single := _SEED.fullmatch(tag):
        said = meaning(single.group(2), known)
        return f"Replica of seed {single.group(1)}: {said}" if said else ""
    stem, _, level = tag.rpartition("/")
    if level in _LEVELS:
        return f"{_LEVELS[level]} over replicas: {meaning(stem, known)}"
    for number, form in ((r"/\d+$", "/<i>"), (r"/\d+-\d+$", "/<i>-<j>"), (r"/\d+$", "")):
        if (general := re.sub(number, form, tag)) in known:
            return known[general]
    return ""
