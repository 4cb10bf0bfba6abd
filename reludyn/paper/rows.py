"""Rows of the report: the experiments of conf/experiment/, and variants for the claims."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reludyn.config.parse import comment_of


@dataclass(frozen=True)
class Row:
    """Command of the report, and how long it takes."""

    name: str
    experiment: str
    overrides: tuple[str, ...] = ()
    cost: float = 1.0  # about how long it takes, in units of the shortest: long rows start first
    short: tuple[str, ...] = ("trainer.steps=30",)  # overrides of a rehearsal
    figures: bool = True  # whether its pictures are in the report

    @property
    def caption(self) -> str:
        """Comment at the beginning of the file of its experiment."""
        return comment_of("experiment", self.experiment)

    def words(self, folder: Path, short: bool, more: Sequence[str]) -> list[str]:
        """Return the overrides of the command, whose run is in a folder."""
        place = [f"hydra.run.dir={folder}", f"hydra.sweep.dir={folder}"]
        figures = [] if self.figures else ["figures=false"]
        rehearsal = self.short if short else ()
        return [
            f"experiment={self.experiment}",
            *self.overrides,
            *figures,
            *rehearsal,
            *more,
            *place,
        ]


@dataclass(frozen=True)
class Done:
    """Result of a row: its time, its memory, and its error if it failed."""

    row: Row
    command: str  # as one would type it
    seconds: float
    megabytes: float  # largest resident set
    error: str  # the first line of the error; empty where all went well


def _variant(name: str, experiment: str, *overrides: str, cost: float = 3.0) -> Row:
    """Return a row for numbers of claims, without events and pictures."""
    short = ("replicas=3", "trainer.steps=30")
    return Row(name, experiment, ("logger=none", *overrides), cost, short, figures=False)


FEW = ("replicas=20", "trainer.steps=30")
ROWS = [
    Row("fig1a", "fig1a"),
    Row("fig1b", "fig1b"),
    Row("fig1c", "fig1c"),
    Row("fig2a", "fig2a"),
    Row("fig2b", "fig2b"),
    Row("fig3", "fig3"),
    Row("fig4", "fig4", short=()),
    Row("fig5", "fig5", short=()),
    Row("fig6", "fig6"),
    Row("fig7", "fig7"),
    Row("fig8", "fig8"),
    Row("stuck", "stuck", cost=20, short=("replicas=40", "trainer.steps=300", "model.width=2,3")),
    Row(
        "samples",
        "samples",
        cost=100,
        short=("replicas=2", "trainer.steps=30", "data.dim=4,6", "data.ratio=2,8"),
    ),
    Row(
        "burn_in",
        "burn_in",
        cost=15,
        short=("replicas=5", "trainer.steps=300", "optimizer.lr=0.1,0.2"),
    ),
    Row("scale", "scale", cost=8, short=("replicas=50", "trainer.steps=300")),
    Row("landscape", "landscape", cost=8, short=FEW),
    *(
        Row(name, "digits", ("logger=none", *overrides), cost, ("trainer.steps=5",))
        for name, cost, overrides in (
            ("digits", 15, ()),
            ("digits_deblur", 15, ("data.target=deblur",)),
            ("digits_white", 15, ("data.whiten=true",)),
            ("digits_wide", 20, ("model.width=192",)),
        )
    ),
    _variant(
        "group_sums",
        "fig2b",
        "init.signs=random",
        "replicas=100",
        "trainer.keep_weights=0",
        "trainer.tolerance=1e-28",
        "trainer.steps=8000",
    ),
    _variant(
        "rate_along",
        "fig3",
        "init.scale=1e-8",
        "trainer.tolerance=1e-28",
        "trainer.observables=full",
        "trainer.steps=1000",
        "trainer.looks=1000",
        cost=1,
    ),
    _variant(
        "rate_across",
        "fig3",
        "init.scale=1e-3",
        "trainer.tolerance=1e-28",
        "trainer.observables=full",
        "trainer.steps=1000",
        "trainer.looks=1000",
        cost=1,
    ),
    _variant(
        "lemmas",
        "fig3",
        "theory.bounds=true",
        "init=theorem",
        "init.scale=1e-3",
        "replicas=200",
        "trainer.tolerance=1e-20",
        "trainer.steps=800",
        "trainer.keep_weights=0",
    ),
    *(
        _variant(
            f"pairs_{r}",
            name,
            "replicas=100",
            "trainer.tolerance=1e-12",
            "trainer.steps=10000",
            "trainer.looks=20",
            "trainer.keep_weights=0",
            cost=4 * r,
        )
        for r, name in ((3, "fig6"), (5, "fig7"), (10, "fig8"))
    ),
    *(
        _variant(
            f"follow_{r}_{source}",
            "default",
            f"data.outputs={r}",
            f"model.width={2 * r}",
            "init.scale=1e-2",
            "init.signs=random",
            "replicas=20",
            "trainer.steps=3000",
            "trainer.tolerance=1e-12",
            "trainer.looks=20",
            "trainer.keep_weights=20",
            *(["data=gaussian", f"data.ratio={16 * r}"] if source == "samples" else []),
            cost=30 * r if source == "samples" else 3,
        )
        for r in (1, 3)
        for source in ("population", "samples")
    ),
]
