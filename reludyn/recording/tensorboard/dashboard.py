"""What TensorBoard shows beside the curves of a run: the layout of the page CUSTOM SCALARS, and
texts. A chart is the same for narrow and wide networks, with predictions and without."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
import yaml
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.custom_scalar.layout_pb2 import Category, Layout

from reludyn.config.rules import has_theory
from reludyn.config.schema import Config
from reludyn.data.files import Read
from reludyn.recording.observables import FULL
from reludyn.recording.quantities import CORE
from reludyn.recording.registry import Registry
from reludyn.recording.tensorboard.charts import SMOOTHING, bands, chart, pages
from reludyn.recording.tensorboard.tags import SINGLY
from reludyn.recording.tensorboard.writer import singly
from reludyn.system.environment import environment

DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # in C: ten times as fast
Charts = dict[str, dict[str, list[str]]]  # by category and title the tags of their lines
ON_SAMPLES = {"loss on the samples, and beyond them": [r"loss/(total|population|test)$"]}
HESSIAN = {
    "largest eigenvalue, and 2/mu": ["hessian/(sharpness|two_over_mu)$"],
    "smallest eigenvalue": ["hessian/smallest$"],
    "eigenvalues below and at zero": ["hessian/(negative|near_zero)$"],
}
LEMMAS = {"relative margins, negative where violated": ["bound/"]}
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
    """Return what a run says about itself before it begins: layout and texts."""
    return pages(layout(config), texts(config, device, read))


def layout(config: Config) -> Layout:
    """Return the charts of the page CUSTOM SCALARS; those of a replica beside others are closed."""
    k = config.model.width
    full = config.trainer.observables == "full"
    lines = _charts(CORE, k)
    if config.data.name != "population":
        lines["Loss"] |= ON_SAMPLES
    if config.theory.spectrum:
        lines["Hessian"] = HESSIAN
    if config.theory.bounds:
        lines["Lemmas"] = LEMMAS
    if full:
        for category, charts in _charts(FULL, k).items():
            lines[category] = lines.get(category, {}) | charts
    if config.replicas == 1:
        categories = [_category(title, charts) for title, charts in lines.items()]
        return Layout(category=categories)
    charts = {title: tags for some in lines.values() for title, tags in some.items()}
    return Layout(
        category=[
            bands(CORE.bands(k) | (FULL.bands(k) if full else {})),
            *(_category(f"Replica of {group[:-1]}", charts, group) for group in singly(config)),
        ]
    )


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
            "over the replicas, drawn as bands on the page CUSTOM SCALARS."
        )
        if shown := [group[:-1] for group in singly(config)]:
            yield (
                f"- **{'**, **'.join(shown)}**: the first replicas singly, with the same groups "
                "below; each has charts of its own on the page CUSTOM SCALARS, further down."
            )
    if k > SINGLY:
        yield (
            f"- More than {SINGLY} neurons: cards show the slowest, the smallest length and the "
            "largest angle."
        )
    yield (
        "- *Alignment* ends when every angle to a target is at most pi/20, *growth* when every "
        "|v_i| is a quarter of the root of A's smallest singular value (with one output, of |a|). "
        "With one output and more than two neurons the effective neurons of the two sign groups "
        "decide."
    )
    if has_theory(config):
        yield (
            "- **predicted**: what was predicted from the initial weights alone, log10 of the "
            "loss, |v_i| and the angles to the targets. The page CUSTOM SCALARS draws it on the "
            "charts of what was measured, in the same colour, since TensorBoard has one for each "
            "run: the markers differ, and the list below a chart says whose they are. Where two "
            "lines look like one they agree; nothing is predicted of other quantities."
        )
    yield SMOOTHING


def _charts(registry: Registry, width: int) -> Charts:
    """Return the charts of a registry's quantities, for networks of a width."""
    found: Charts = {}
    for its, tags in registry.charts(width).items():
        found.setdefault(its.category, {})[its.title] = tags
    return found


def _category(title: str, charts: Mapping[str, Sequence[str]], group: str = "") -> Category:
    """Return charts by title, with the tags of a replica."""
    found = [chart(name, [group + tag for tag in tags]) for name, tags in charts.items()]
    return Category(title=title, chart=found, closed=bool(group))
