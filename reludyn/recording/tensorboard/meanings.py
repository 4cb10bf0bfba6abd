"""The meanings of TensorBoard's core tags: those that are known without PyTorch, so that a process
that only waits for the jobs of a sweep can write them, too. `reludyn.recording.tensorboard.tags`
has all.

<i> stands for a neuron (or a direction, or a sign group), <i>-<j> for a pair, counted from 1 as in
the paper. An ensemble has /p10, /median, /p90 behind a tag: quantiles over its replicas. A single
replica of an ensemble has seed_S/ in front of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from reludyn.recording.quantities import CORE
from reludyn.recording.tensorboard.hparams import RESULTS

_LEVELS = {"p10": "10% quantile", "median": "median", "p90": "90% quantile"}
_SEED = re.compile(r"seed_(\d+)/(.+)")

MEANINGS: dict[str, str] = {
    **CORE.meanings,
    "phase/index": "0 alignment, 1 growth, 2 refinement.",
    "fraction/aligned": "Fraction of the replicas whose alignment has ended.",
    "fraction/grown": "Fraction of the replicas whose growth has ended.",
    "fraction/stopped": "Fraction of the replicas that have stopped.",
    **RESULTS,
}


def meaning(tag: str, known: Mapping[str, str] = MEANINGS) -> str:
    """Return the meaning of a tag as it is written, from those of tags in general; empty where
    there is none."""
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
