"""TensorBoard's view of a sweep: a run per combination, or one run for many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout

from reludyn.recording.quantities import CORE
from reludyn.recording.tensorboard.charts import SMOOTHING, bands, pages
from reludyn.recording.tensorboard.event_file import NAME, EventFile
from reludyn.recording.tensorboard.meanings import meaning
from reludyn.sweep.combination import Combination
from reludyn.sweep.curves import REPLICAS, Curves, curves
from reludyn.sweep.hparams import rows, run_names
from reludyn.sweep.report import HEADER, cells

LISTED = 200  # combinations in the table on the page TEXT; sweep_summary.csv has all


def write_board(
    folder: Path,
    shown: Sequence[Combination],
    groups: Sequence[Combination],
    pictures: Sequence[Path],
) -> tuple[list[Path], int]:
    """Write a run of TensorBoard's below the folder for each combination that is shown.

    It has the combination's row of HPARAMS, and bands over its replicas. The first one also has the
    layout, texts and pictures of the whole sweep (another run for these would count as one more).
    Event files of an earlier time are removed. Returns the files, and the number of jobs without
    curves, whose trajectory.npz cannot be read.
    """
    for earlier in folder.rglob(f"{NAME}.*"):
        earlier.unlink()
    found = [curves(combination.folders) for combination in shown]
    names = run_names([combination.values for combination in shown])
    files: list[Path] = []
    for name, row, its in zip(names, rows(shown), found, strict=True):
        with closing(EventFile(folder / name, meaning)) as file:
            if not files:
                file.add(0, pages(_layout(found), _texts(shown, groups)))
                for picture in pictures:
                    if picture.suffix == ".png":
                        file.add_image(0, f"figure/{picture.stem}", picture.read_bytes())
            file.add(0, Summary(value=row.messages))
            file.add_scalars(0, row.results.items())
            for i, step in enumerate(its.steps.tolist()):
                file.add_scalars(step, ((tag, x[i]) for tag, x in its.values.items()))
        files.append(file.path)
    return files, sum(its.left_out for its in found)


def _layout(found: Sequence[Curves]) -> Layout:
    there = {tag for its in found for tag in its.values}
    return Layout(
        category=[
            bands({title: tag for title, tag in CORE.bands().items() if f"{tag}/median" in there})
        ]
    )


def _texts(shown: Sequence[Combination], groups: Sequence[Combination]) -> dict[str, str]:
    """Return Markdown by name, for the page TEXT."""
    header = [*groups[0].values, *HEADER]
    lines = [header, ["---"] * len(header), *(map(cells, groups[:LISTED]))]
    table = ["| " + " | ".join(x.replace("|", "\\|") for x in line) + " |" for line in lines]
    if len(groups) > LISTED:
        table.append(f"\nand {len(groups) - LISTED:,} more in sweep_summary.csv")
    return {"combinations": "\n".join(table), "how_to_read": "\n".join(_how_to_read(shown, groups))}


def _how_to_read(shown: Sequence[Combination], groups: Sequence[Combination]) -> Iterator[str]:
    """Yield line by line: the page breaks paragraphs as they are written."""
    jobs, count = sum(len(group.folders) for group in groups), len(groups)
    yield f"**A sweep** of {jobs:,} jobs, {count:,} combinations of values, all seeds together.\n"
    if len(shown) >= count:
        yield "- A run is a combination (or a job, where only the seed was swept)."
    else:
        yield (
            "- The one run stands for all combinations, which are too many for one run each: the "
            "card `combinations` lists the results of each. With `logger.jobs=true` each has a "
            "run of its own, and so has every job."
        )
    yield (
        "- `p10`, `median`, `p90` are quantiles over the replicas of all jobs of a run, drawn as "
        "bands on the page CUSTOM SCALARS. A replica that has stopped keeps its last values; with "
        f"more than {REPLICAS:,} replicas the first ones of each job are taken."
    )
    yield (
        "- The slowest neuron of each replica is shown: the smallest length, the largest angle. "
        "**fraction**: fraction of the replicas past each event. **result**: statistics at the end."
    )
    yield SMOOTHING
