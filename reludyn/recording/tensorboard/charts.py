"""What TensorBoard's pages CUSTOM SCALARS and TEXT are given, of runs and of sweeps: charts, bands
and cards, as the messages of its plugins.

A tag in a chart of lines is a regular expression from its beginning on. TensorBoard puts the
layouts of all runs below a log directory together, and leaves out charts that are there already:
a chart should be the same in all runs that have it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.plugins.custom_scalar import metadata as custom_scalars
from tensorboard.plugins.custom_scalar.layout_pb2 import (
    Category,
    Chart,
    Layout,
    MarginChartContent,
    MultilineChartContent,
)
from tensorboard.plugins.text import metadata as text

SMOOTHING = (
    "- Set *Smoothing* to 0, since looks come at every step first, then at ever larger "
    "distances; untick *Ignore outliers in chart scaling*, which cuts off ends of curves."
)


def bands(tags: Mapping[str, str]) -> Category:
    """Return the charts of an ensemble, from the tag of each title. TensorBoard puts lines before
    bands, and the bands from the last to the first."""
    charts = [
        Chart(
            title=title,
            margin=MarginChartContent(
                series=[
                    MarginChartContent.Series(
                        value=f"{tag}/median", lower=f"{tag}/p10", upper=f"{tag}/p90"
                    )
                ]
            ),
        )
        for title, tag in reversed([*tags.items()])
    ]
    fractions = chart("fractions of the replicas past each event", [r"fraction/\w+$"])
    return Category(title="Ensemble: median, 10% and 90%", chart=[fractions, *charts])


def chart(title: str, tags: Sequence[str]) -> Chart:
    """Return a chart with the lines of all tags that fit one of these."""
    return Chart(title=title, multiline=MultilineChartContent(tag=tags))


def pages(layout: Layout, texts: Mapping[str, str]) -> Summary:
    """Return the page CUSTOM SCALARS, and Markdown by name, which the page TEXT sorts by it."""
    about = custom_scalars.create_summary_metadata()
    cards = [
        _value(f"about/{name}", text.create_summary_metadata(None, None), words.encode())
        for name, words in texts.items()
    ]
    content = layout.SerializeToString()
    return Summary(value=[_value(custom_scalars.CONFIG_SUMMARY_TAG, about, content), *cards])


def _value(tag: str, about: SummaryMetadata, content: bytes) -> Summary.Value:
    return Summary.Value(
        tag=tag, metadata=about, tensor=TensorProto(dtype=DT_STRING, string_val=[content])
    )
