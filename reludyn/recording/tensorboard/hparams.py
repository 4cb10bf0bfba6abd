"""The HPARAMS tab of TensorBoard: the messages of its plugin, written as they are.

Experiment (the columns of the tab), SessionStartInfo (the values of a run), SessionEndInfo (how it
ended); results are scalars that the first one names. TensorBoard takes the columns of a log
directory from the first run that has them.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2 as api
from tensorboard.plugins.hparams import metadata
from tensorboard.plugins.hparams.plugin_data_pb2 import (
    HParamsPluginData,
    SessionEndInfo,
    SessionStartInfo,
)

from reludyn.config.schema import Config
from reludyn.network.outcomes import Outcome

SHOWN = ("experiment", "init.scale", "model.width", "optimizer.lr", "seed")  # without a click
RESULTS = {
    "result/success_fraction": "Fraction of the replicas at a global minimum.",
    "result/T_align": "Iteration at which alignment ended (median).",
    "result/T_growth": "Iteration at which growth ended (median).",
    "result/T_converged": "Iteration at which the loss fell below the tolerance (median).",
    "result/loss": "The last loss (median).",
    "result/rate_measured": "Factor an iteration by which the root of the loss shrinks at the end "
    "(median).",
    "result/stuck_fraction": "Fraction of the replicas at a non-strict saddle.",
    "result/diverged_fraction": "Fraction of the replicas that diverged.",
}
Value = str | float
Results = Mapping[str, float]  # by tag, where they are defined


def values_of(config: Config) -> dict[str, Value]:
    """Return what the tab shows of a run: the same keys, of the same types, whatever its config. A
    seed is a word, which the tab does not round, and so is a number that may be null."""
    samples = config.data.samples
    return {
        "experiment": config.name,
        "data": config.data.name,
        "data.dim": config.data.dim,
        "data.outputs": config.data.outputs,
        "data.samples": "null" if samples is None else str(samples),
        "model.width": config.model.width,
        "init": config.init.name,
        "init.scale": config.init.scale,
        "init.signs": config.init.signs,
        "optimizer": config.optimizer.name,
        "optimizer.lr": config.optimizer.lr,
        "trainer.tolerance": config.trainer.tolerance,
        "replicas": config.replicas,
        "seed": str(config.seed),
    }


def results_of(outcomes: Sequence[str], medians: Mapping[str, float | None]) -> Results:
    """Return the results of a run from its replicas' outcomes and summary.json's medians."""
    names = {
        "success": Outcome.GLOBAL_MINIMUM,
        "stuck": Outcome.NON_STRICT_SADDLE,
        "diverged": Outcome.DIVERGED,
    }
    found: dict[str, float | None] = {
        f"result/{name}_fraction": outcomes.count(outcome) / len(outcomes)
        for name, outcome in names.items()
    }
    found |= {f"result/{name}": value for name, value in medians.items()}
    return {tag: value for tag in RESULTS if (value := found[tag]) is not None}


def experiment(columns: Iterable[api.HParamInfo], results: Iterable[str]) -> Summary.Value:
    """Return the columns: keys, then the tags of results."""
    message = api.Experiment(hparam_infos=columns)
    for tag in results:
        message.metric_infos.add(
            name=api.MetricName(tag=tag),
            display_name=tag.removeprefix("result/"),
            description=RESULTS[tag],
        )
    return _value(metadata.EXPERIMENT_TAG, experiment=message)


def start(values: Mapping[str, Value], began: float) -> Summary.Value:
    """Return the values of a run, which began at this time (seconds since 1970)."""
    message = SessionStartInfo(start_time_secs=began)
    for key, value in values.items():
        if isinstance(value, str):
            message.hparams[key].string_value = value
        else:
            message.hparams[key].number_value = value
    return _value(metadata.SESSION_START_INFO_TAG, session_start_info=message)


def end(success: bool = True) -> Summary.Value:
    """Return how a run ended, now."""
    status = api.STATUS_SUCCESS if success else api.STATUS_FAILURE
    message = SessionEndInfo(status=status, end_time_secs=time.time())
    return _value(metadata.SESSION_END_INFO_TAG, session_end_info=message)


class Session(NamedTuple):
    """Row of the tab: messages, and the scalars that they name."""

    messages: Summary
    results: Results


def session(config: Config, results: Results, seconds: float, success: bool) -> Session:
    """Return the row of a run by itself, which took this many seconds. The values of other runs are
    not known here: the columns give their types only, so that the tab hides no run. It shows five
    columns, first those that are marked as different."""
    values = values_of(config)
    words, numbers = api.DATA_TYPE_STRING, api.DATA_TYPE_FLOAT64
    columns = [
        api.HParamInfo(
            name=key, type=words if isinstance(value, str) else numbers, differs=key in SHOWN
        )
        for key, value in values.items()
    ]
    began = start(values, time.time() - seconds)
    return Session(Summary(value=[experiment(columns, RESULTS), began, end(success)]), results)


def _value(tag: str, **message: Any) -> Summary.Value:
    about = metadata.create_summary_metadata(HParamsPluginData(**message))
    return Summary.Value(tag=tag, metadata=about, tensor=metadata.NULL_TENSOR)
