"""docs/glossary.md names what runs and sweeps leave: all of it, and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import fields

import pytest
import torch

import reludyn
from reludyn.experiment import analyses, stability
from reludyn.network.outcomes import Outcome, Reason
from reludyn.recording import lemma_table
from reludyn.recording.observables import FULL
from reludyn.runs.columns import COLUMNS
from reludyn.runs.folder import LEAVES
from reludyn.sweep.tally import QUANTILES, QUANTITIES, STATISTICS
from reludyn.theory.lemmas import STATEMENTS
from tests.support.commands import QUICK, Finished
from tests.support.documents import ROOT

TEXT = (ROOT / "docs" / "glossary.md").read_text()


def quoted(text: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", text))


def first_cells(heading: str) -> set[str]:
    """The names in the first column of the tables below a heading, up to the next one."""
    section = re.split(rf"^##+ {re.escape(heading)}$", TEXT, flags=re.MULTILINE)[1]
    section = re.split(r"^##", section, flags=re.MULTILINE)[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    return {name for row in rows for name in quoted(row.split("|")[1])}


def test_the_files_of_a_run() -> None:
    named = {name.rstrip("/").split("/")[0] for name in first_cells("Files of a run")}
    assert named == {*LEAVES, "reludyn.log"}


def test_the_columns_of_replicas_csv() -> None:
    assert first_cells("replicas.csv") == set(COLUMNS)


@pytest.mark.slow
def test_the_arrays_of_trajectory_npz(empirical: Finished) -> None:
    more = "data.outputs=2", "init.signs=random", "theory.spectrum=true", "data.dim=5"
    arrays = {*reludyn.train(*QUICK, *more, "replicas=2").arrays, *empirical.arrays}
    assert first_cells("trajectory.npz") == arrays - set(FULL)


@pytest.mark.slow
def test_the_entries_of_a_checkpoint(ensemble: Finished) -> None:
    last = torch.load(ensemble.folder / "checkpoints" / "last.pt", weights_only=True)
    assert first_cells("checkpoints/last.pt") == set(last)


@pytest.mark.slow
def test_the_keys_of_summary_json(ensemble: Finished) -> None:
    summary = json.loads((ensemble.folder / "summary.json").read_text())
    assert first_cells("summary.json") == {*summary, "bounds", "changes", "data"}
    assert set(summary["median"]) <= quoted(TEXT)
    assert {field.name for field in fields(lemma_table.Tally)} - {"replicas"} <= quoted(TEXT)


def test_the_columns_of_sweep_summary_csv() -> None:
    levels = {f"{name}_{level}" for name in QUANTITIES for level in QUANTILES}
    names = first_cells("Files of a sweep")
    assert {*(f"{name}_..." for name in QUANTITIES)} <= names
    assert set(QUANTILES) <= quoted(TEXT)
    assert set(STATISTICS) - levels <= names


@pytest.mark.parametrize(
    "names",
    [lemma_table.COLUMNS, analyses.COLUMNS, stability.COLUMNS],
    ids=["bounds", "points", "lr"],
)
def test_the_columns_of_other_tables(names: Iterable[str]) -> None:
    assert set(names) <= quoted(TEXT)
    assert {"lemma_3", "theorem_2"} <= set(STATEMENTS)


def test_the_words() -> None:
    assert first_cells("Outcomes") - {"outcome"} == {*Outcome}
    assert first_cells("stopped_because") == {*Reason}
