"""What TensorBoard shows beside the curves: the layout of the page CUSTOM SCALARS, and texts.

A tag in the layout is a regular expression from its beginning on. A chart is the same for narrow
and wide networks: TensorBoard puts the layouts of all runs below a log directory together, and
leaves out charts that are there already.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
import yaml
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

from reludyn.combinations import has_theory
from reludyn.data.files import Read
from reludyn.recording.observables import WIDEST
from reludyn.recording.system import environment
from reludyn.recording.tags import SINGLY
from reludyn.settings import Config

DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # in C: ten times as fast
LINES = {  # of one replica: title of a chart, its tags
    "Loss": {
        "loss and its two parts": ["loss/total$", "loss/linear$", "loss/rectification$"],
        "log10 of the loss": ["loss/log10$"],
    },
    "Neurons": {
        "lengths |w_i| and |v_i|": [
            r"norm/(w/\d+|smallest_w)$",
            r"norm/(v/\d+|smallest_v)$",
        ],
        "angles to the targets (radians)": [r"angle/(to_target/\d+|largest_to_target)$"],
        "angles between neurons (radians)": [r"angle/(between/\d+-\d+|largest_between)$"],
        "imbalance |w_i|² - |v_i|²": [r"imbalance/(b/\d+|largest)$"],
    },
}
ON_SAMPLES = {"loss on the samples, and beyond them": [r"loss/(total|population|test)$"]}
HESSIAN = {
    "largest eigenvalue, and 2/mu": ["hessian/sharpness$"],
    "smallest eigenvalue": ["hessian/smallest$"],
    "eigenvalues below and at zero": ["hessian/(negative|near_zero)$"],
}
LEMMAS = {"relative margins, negative where violated": ["bound/"]}
FULL_TIER = {
    "gradient": [r"gradient/\w+$"],
    "updates": [r"update/\w+$"],
    "distance from the initial weights": [r"distance/\w+$"],
    "inputs switched on or off": ["pattern/change"],
    "singular directions learned": ["learned/direction"],
    "effective weights along the target": ["effective/along"],
    "effective weights across the target": ["effective/across"],
}
BANDS = {  # of an ensemble: title of a chart, its tag
    "log10 of the loss": "loss/log10",
    "smallest |w_i|": "norm/smallest_w",
    "smallest |v_i|": "norm/smallest_v",
    "largest angle to a target": "angle/largest_to_target",
    "largest angle between neurons": "angle/largest_between",
    "largest imbalance": "imbalance/largest",
}
GROUPS = {
    "loss": "the loss, log10 of it, and its two parts: `linear`, the error of the linear network "
    "(1 + s) V W / 2, and `rectification`, what is even in x (s is model.negative_slope)",
    "norm": "the lengths of w_i and v_i",
    "angle": "of w_i to its target, radians (with one output +a where v_i > 0, -a where v_i < 0), "
    "and between neurons",
    "imbalance": "b_i = |w_i|² - |v_i|², which gradient flow conserves",
    "phase": "0 alignment, 1 growth, 2 refinement",
    "result": "what came out, once the run has ended (and on the page HPARAMS)",
}


def opening(config: Config, device: torch.device, read: Read | None = None) -> Summary:
    """What a run says of itself before it begins: layout and texts."""
    content = layout(config).SerializeToString()
    return Summary(
        value=[
            _value(
                custom_scalars.CONFIG_SUMMARY_TAG, custom_scalars.create_summary_metadata(), content
            ),
            *(_text(f"about/{name}", words) for name, words in texts(config, device, read).items()),
        ]
    )


def layout(config: Config) -> Layout:
    """The charts of the page CUSTOM SCALARS."""
    ensemble, k = config.replicas > 1, config.model.width
    lines: dict[str, dict[str, list[str]]] = {}
    if not ensemble or config.logger.replicas > 0:
        lines = {title: dict(charts) for title, charts in LINES.items()}
        if config.data.name != "population":
            lines["Loss"] |= ON_SAMPLES
        if config.theory.spectrum:
            lines["Hessian"] = HESSIAN
        if config.theory.bounds:
            lines["Lemmas"] = LEMMAS
        if config.trainer.observables == "full":
            lines["Observables of the full tier"] = FULL_TIER
    bands = dict(BANDS) if ensemble else {}
    if not 1 < k <= WIDEST:  # no pairs, or too many
        bands.pop("largest angle between neurons", None)
        lines.get("Neurons", {}).pop("angles between neurons (radians)", None)
    categories = [_ensemble(bands)] if ensemble else []
    for title, charts in lines.items():
        categories.append(Category(title=title, chart=[_chart(*chart) for chart in charts.items()]))
    return Layout(category=categories)


def texts(config: Config, device: torch.device, read: Read | None = None) -> dict[str, str]:
    """Markdown by name, for the page TEXT."""
    settings = yaml.dump(asdict(config), Dumper=DUMPER, sort_keys=False, allow_unicode=True)
    facts = [f"| {name} | {value} |" for name, value in environment(device).items()]
    return {
        "how_to_read": "\n".join(_how_to_read(config, read)),  # the page sorts them by name
        "resolved_config": f"```yaml\n{settings}```",
        "run_environment": "\n".join(["| | of this run |", "|---|---|", *facts]),
    }


def _how_to_read(config: Config, read: Read | None) -> Iterator[str]:
    """Line by line: the page breaks paragraphs as they are written."""
    k, R = config.model.width, config.replicas
    yield f"**{config.name}**: k = {k} hidden neurons, {R:,} replica{'s' if R > 1 else ''}."
    if read is not None:
        yield f"Read: `{str(read).replace('`', '')}`."
    yield "Cards are named group/quantity/neuron, neurons counted from 1.\n"
    yield from (f"- **{group}**: {said}" for group, said in GROUPS.items())
    if config.data.name != "population":
        yield (
            "- On samples the two parts of the loss do not quite add up: odd and even functions "
            "are orthogonal up to order 1/sqrt(n) only."
        )
    if R > 1:
        yield (
            "- **fraction**: of the replicas past each event. `p10`, `median`, `p90` are quantiles "
            "over the replicas, drawn as bands on the page CUSTOM SCALARS. Runs `seed_S`: the "
            f"first {config.logger.replicas} replicas singly."
        )
    if k > SINGLY:
        yield (
            f"- More than {SINGLY} neurons: cards show the slowest, the smallest length and the "
            "largest angle, which decide when phases end."
        )
    yield (
        "- *Alignment* ends when every angle to a target is at most pi/20, *growth* when every "
        "|v_i| is a quarter of the root of A's smallest singular value (with one output, of |a|)."
    )
    if has_theory(config):
        yield (
            "- The run `theory` is what was predicted from the initial weights alone: log10 of the "
            "loss, |v_i| and the angles to the targets. Where only one line of these is seen, the "
            "two agree; nothing is predicted of the others."
        )
    yield (
        "- Set *Smoothing* to 0, since looks come at every step first, then at ever larger "
        "distances; untick *Ignore outliers in chart scaling*, which cuts off ends of curves."
    )


def _ensemble(tags: Mapping[str, str]) -> Category:
    """TensorBoard puts lines before bands, and the bands from the last to the first."""
    bands = [
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
    fractions = _chart("fractions of the replicas past each event", [r"fraction/\w+$"])
    return Category(title="Ensemble: median, 10% and 90%", chart=[fractions, *bands])


def _chart(title: str, tags: Sequence[str]) -> Chart:
    return Chart(title=title, multiline=MultilineChartContent(tag=tags))


def _text(tag: str, words: str) -> Summary.Value:
    return _value(tag, text.create_summary_metadata(None, None), words.encode())


def _value(tag: str, about: SummaryMetadata, content: bytes) -> Summary.Value:
    return Summary.Value(
        tag=tag, metadata=about, tensor=TensorProto(dtype=DT_STRING, string_val=[content])
    )
