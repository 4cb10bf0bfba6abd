"""The HPARAMS tab of TensorBoard: a run a group, with what was swept and what came out.

The messages of TensorBoard's plugin are written as they are: Experiment (the columns of the tab, in
the first run), SessionStartInfo (the values of a run) and SessionEndInfo (how it ended).
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2 as api
from tensorboard.plugins.hparams import metadata
from tensorboard.plugins.hparams.plugin_data_pb2 import (
    HParamsPluginData,
    SessionEndInfo,
    SessionStartInfo,
)

from reludyn.recording.event_file import EventFile
from reludyn.statistics import as_numbers
from reludyn.sweep.tally import QUANTITIES, Statistics

METRICS = {
    "result/success_fraction": "success",
    "result/stuck_fraction": "stuck",
    "result/diverged_fraction": "diverged",
    **{f"result/{name}": f"{name}_median" for name in QUANTITIES},
}
LONGEST = 80  # letters of a run's name
Run = tuple[Mapping[str, str], Statistics]


def write_hparams(folder: Path, runs: Sequence[Run]) -> list[Path]:
    """Write a run below the folder for each (swept keys and values, statistics), all of the same
    keys; returns the event files. Those of an earlier time are removed first.

    Values are numbers where all of a key are, else words; seeds are words, which the tab does not
    round. A metric is not written where it is not defined.
    """
    for earlier in folder.glob("*/events.out.tfevents.*"):
        earlier.unlink()
    files = []
    columns = {key: _typed(key, [values[key] for values, _ in runs]) for key in runs[0][0]}
    names = run_names([values for values, _ in runs])
    for i, (name, (_, statistics)) in enumerate(zip(names, runs, strict=True)):
        messages = [_start({key: column[i] for key, column in columns.items()}), _end()]
        if i == 0:
            messages.insert(0, _experiment(columns, [said for _, said in runs]))
        with closing(EventFile(folder / name)) as file:
            file.add(0, Summary(value=messages))
            file.add_scalars(0, _metrics(statistics))
        files.append(file.path)
    return files


def run_names(runs: Iterable[Mapping[str, str]]) -> Iterator[str]:
    """init.scale=1e-2,optimizer.lr=0.1: safe as the name of a folder, short, each another one."""
    taken: set[str] = set()
    for values in runs:
        label = ",".join(f"{key}={value}" for key, value in values.items())
        name = re.sub(r"[^\w.,=+-]", "_", label, flags=re.ASCII)
        if len(name) > LONGEST or name.casefold() in taken:
            name = f"{name[: LONGEST - 9]}-{hashlib.sha256(label.encode()).hexdigest()[:8]}"
        taken.add(name.casefold())
        yield name


def _typed(key: str, values: Sequence[str]) -> Sequence[str | float]:
    numbers = None if key == "seed" else as_numbers(values)
    return values if numbers is None else numbers


def _metrics(statistics: Statistics) -> Iterator[tuple[str, float]]:
    for tag, name in METRICS.items():
        value = statistics[name]
        if value is not None:
            yield tag, value


def _experiment(
    columns: Mapping[str, Sequence[str | float]], results: Sequence[Statistics]
) -> Summary.Value:
    """All values that a key has are there to choose from; metrics that some run has."""
    message = api.Experiment()
    for key, values in columns.items():
        info = message.hparam_infos.add(name=key, differs=len(set(values)) > 1)
        if isinstance(values[0], str):
            info.type = api.DATA_TYPE_STRING
            info.domain_discrete.extend(dict.fromkeys(values))
        else:
            info.type = api.DATA_TYPE_FLOAT64
            info.domain_interval.min_value = min(values)
            info.domain_interval.max_value = max(values)
    present = dict.fromkeys(tag for said in results for tag, _ in _metrics(said))
    for tag in METRICS:
        if tag in present:
            message.metric_infos.add(name=api.MetricName(tag=tag))
    return _value(metadata.EXPERIMENT_TAG, experiment=message)


def _start(values: Mapping[str, str | float]) -> Summary.Value:
    message = SessionStartInfo(start_time_secs=time.time())
    for key, value in values.items():
        if isinstance(value, str):
            message.hparams[key].string_value = value
        else:
            message.hparams[key].number_value = value
    return _value(metadata.SESSION_START_INFO_TAG, session_start_info=message)


def _end() -> Summary.Value:
    message = SessionEndInfo(status=api.STATUS_SUCCESS, end_time_secs=time.time())
    return _value(metadata.SESSION_END_INFO_TAG, session_end_info=message)


def _value(tag: str, **message: Any) -> Summary.Value:
    about = metadata.create_summary_metadata(HParamsPluginData(**message))
    return Summary.Value(tag=tag, metadata=about, tensor=metadata.NULL_TENSOR)
