"""The HPARAMS tab of a sweep: one row per combination, with swept values and results."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2 as api

from reludyn.numerics.statistics import as_numbers
from reludyn.recording.tensorboard import hparams
from reludyn.recording.tensorboard.hparams import RESULTS, Results, Value
from reludyn.sweep.combination import Combination
from reludyn.sweep.tally import QUANTITIES, Statistics

NAMES = {  # names of statistics, by tag
    "result/success_fraction": "success",
    "result/stuck_fraction": "stuck",
    "result/diverged_fraction": "diverged",
    **{f"result/{name}": f"{name}_median" for name in QUANTITIES},
}
LONGEST = 80  # letters of a run's name, at most


class Row(NamedTuple):
    """Messages of the tab, and the scalars that they name."""

    messages: list[Summary.Value]
    results: Results


def rows(runs: Sequence[Combination]) -> list[Row]:
    """Return the rows of combinations that all have the same keys; without keys there is no tab.

    Values are numbers where all values of a key are, else words; seeds are words, which the tab
    does not round. A result that is not defined is missing. The first row declares the columns.
    """
    columns = {key: _typed(key, [run.values[key] for run in runs]) for key in runs[0].values}
    results = [_results(run.statistics) for run in runs]
    found = []
    for i, its in enumerate(results):
        values = {key: column[i] for key, column in columns.items()}
        messages = [hparams.start(values, time.time()), hparams.end()] if columns else []
        if columns and i == 0:
            messages.insert(0, _experiment(columns, results))
        found.append(Row(messages, its))
    return found


def run_names(runs: Iterable[Mapping[str, str]]) -> Iterator[str]:
    """Yield names such as init.scale=1e-2,optimizer.lr=0.1: short, different, valid for folders."""
    taken: set[str] = set()
    for values in runs:
        label = ",".join(f"{key}={value}" for key, value in values.items())
        name = re.sub(r"[^\w.,=+-]", "_", label, flags=re.ASCII)
        if len(name) > LONGEST or name.casefold() in taken:
            name = f"{name[: LONGEST - 9]}-{hashlib.sha256(label.encode()).hexdigest()[:8]}"
        taken.add(name.casefold())
        yield name


def _typed(key: str, values: Sequence[str]) -> Sequence[Value]:
    numbers = None if key == "seed" else as_numbers(values)
    return values if numbers is None else numbers


def _results(statistics: Statistics) -> Results:
    found = {tag: statistics[NAMES[tag]] for tag in RESULTS}
    return {tag: value for tag, value in found.items() if value is not None}


def _experiment(
    columns: Mapping[str, Sequence[Value]], results: Sequence[Results]
) -> Summary.Value:
    """Return the message that declares the columns.

    It has all values of a key, to choose from, and the results that some run has.
    """
    infos = []
    for key, values in columns.items():
        info = api.HParamInfo(name=key, differs=len(set(values)) > 1)
        if isinstance(values[0], str):
            info.type = api.DATA_TYPE_STRING
            info.domain_discrete.extend(dict.fromkeys(values))
        else:
            info.type = api.DATA_TYPE_FLOAT64
            info.domain_interval.min_value = min(values)
            info.domain_interval.max_value = max(values)
        infos.append(info)
    return hparams.experiment(infos, [tag for tag in RESULTS if any(tag in x for x in results)])
