"""What TensorBoard shows beside the curves, as its own backend reads it."""

from __future__ import annotations

import re
from contextlib import closing
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import yaml
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout

from reludyn.config.compose import configure
from reludyn.recording.look import Look
from reludyn.recording.quantities import CORE
from reludyn.recording.replica_rows import MEDIANS
from reludyn.recording.tensorboard.event_file import EventFile
from reludyn.recording.tensorboard.hparams import RESULTS, results_of
from reludyn.recording.tensorboard.tags import TAGS, describe
from reludyn.recording.tensorboard.writer import MOST, TensorBoard, shown_looks
from reludyn.training.engine import Engine
from reludyn.training.schedule import look_steps
from tests.support.boards import Board, Tab, curves, events, looks
from tests.support.commands import Command, Finished, interrupt, run_command

ITSELF = "."  # the run, without a folder for HPARAMS below it
SHORT = ("trainer.steps=5", "figures=false", "init.signs=random")


@pytest.fixture(scope="module")
def board(fig3: Finished) -> Board:
    return Board(fig3.folder / "tensorboard")


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A run with all observables, spectrum and lemmas."""
    return run_command(
        tmp_path_factory.mktemp("everything"),
        "trainer.observables=full",
        "theory.bounds=true",
        "theory.spectrum=true",
        "trainer.steps=120",
        "trainer.looks=12",
        "figures=false",
        "replicas=2",
    )


# --- Meanings ---------------------------------------------------------------------------------


def test_every_tag_has_a_meaning(
    fig3: Finished, ensemble: Finished, empirical: Finished, everything: Finished
) -> None:
    for run in (fig3, ensemble, empirical, everything):
        for tags in Board(run.folder / "tensorboard").meanings().values():
            assert [tag for tag, meaning in tags.items() if not meaning] == []


def test_the_values_with_a_meaning_are_those_that_were_seen(fig3: Finished) -> None:
    """The first one of each tag, which is there twice."""
    (file,) = (fig3.folder / "tensorboard").glob("events*")
    first: dict[str, list[tuple[int, float]]] = {}
    for event in EventFileLoader(str(file)).Load():
        for value in event.summary.value:
            if value.metadata.plugin_data.plugin_name == "scalars":
                first.setdefault(value.tag, []).append((event.step, value.tensor.float_val[0]))
    for tag, seen in first.items():
        assert seen[0] == seen[1], tag
        assert len(seen) == (2 if tag in RESULTS else len(fig3.arrays["step"]) + 1)


@pytest.mark.parametrize(
    ("tag", "pattern"),
    [
        ("norm/w/12", "norm/w/<i>"),
        ("angle/between/1-12", "angle/between/<i>-<j>"),
        ("overlap/M/3-1", "overlap/M/<i>-<j>"),
        ("learned/direction/2", "learned/direction/<i>"),
        ("bound/lemma_4/2", "bound/lemma_4"),
        ("bound/lemma_13", "bound/lemma_13"),
        ("result/loss", "result/loss"),
        ("predicted/norm/v/2", "predicted/norm/v/<i>"),
    ],
)
def test_a_tag_means_what_its_pattern_means(tag: str, pattern: str) -> None:
    assert describe(tag) == TAGS[pattern]


def test_quantiles_are_named() -> None:
    assert describe("loss/log10/p90") == f"90% quantile over replicas: {TAGS['loss/log10']}"
    assert describe("norm/w/1/median") == f"median over replicas: {TAGS['norm/w/<i>']}"
    assert describe("nothing/1") == ""


def test_single_replicas_are_named() -> None:
    assert describe("seed_12/norm/w/1") == f"Replica of seed 12: {TAGS['norm/w/<i>']}"
    said = f"Replica of seed 0: {TAGS['predicted/loss/log10']}"
    assert describe("seed_0/predicted/loss/log10") == said
    assert describe("seed_0/nothing") == ""


def test_meanings_have_no_shapes_and_are_read_as_markdown() -> None:
    for meaning in TAGS.values():
        assert not re.search(r"\(R\b", meaning)
        assert "`" not in meaning
        assert "*" not in meaning


# --- The layout of CUSTOM SCALARS -------------------------------------------------------------


@cache
def layout(run: Finished) -> Layout:
    return Layout.FromString(Board(run.folder / "tensorboard").tensor("custom_scalars"))


@cache
def tags_of(run: Finished) -> set[str]:
    return {*curves(run.folder / "tensorboard")}


@pytest.mark.parametrize("name", ["fig3", "ensemble", "empirical", "everything"])
def test_no_chart_is_empty(name: str, request: pytest.FixtureRequest) -> None:
    run = request.getfixturevalue(name)
    tags = tags_of(run)
    for category in layout(run).category:
        for chart in category.chart:
            for pattern in chart.multiline.tag:
                assert any(re.match(pattern, tag) for tag in tags), (chart.title, pattern)
            for series in chart.margin.series:
                assert {series.value, series.lower, series.upper} <= tags


@pytest.mark.parametrize("size", ["model.width=1", "model.width=17"])
def test_no_chart_is_empty_where_something_is_missing(size: str, reludyn: Command) -> None:
    """Pairs of neurons, or single replicas."""
    run = reludyn(*SHORT, size, "replicas=2", "logger.replicas=0")
    tags = tags_of(run)
    (category,) = layout(run).category
    for chart in category.chart:
        assert {series.value for series in chart.margin.series} <= tags
        assert all(any(re.match(p, tag) for tag in tags) for p in chart.multiline.tag)
    assert ("angle/largest_between/median" in tags) == (size == "model.width=1")


def test_wide_networks_have_the_same_charts(fig3: Finished, reludyn: Command) -> None:
    wide = reludyn(*SHORT, "model.width=8")
    assert layout(wide) == layout(fig3)
    tags = tags_of(wide)
    for category in layout(wide).category:
        for chart in category.chart:
            assert all(any(re.match(p, tag) for tag in tags) for p in chart.multiline.tag)


def test_a_single_neuron_has_no_pairs(reludyn: Command) -> None:
    run = reludyn(*SHORT, "model.width=1")
    charts = [chart for category in layout(run).category for chart in category.chart]
    titles = {chart.title for chart in charts}
    assert titles == {chart.title for chart in CORE.charts(width=1)}
    assert "angles to the targets (radians)" in titles
    assert "angles between neurons (radians)" not in titles


def test_an_ensemble_has_bands(ensemble: Finished) -> None:
    first, *_ = layout(ensemble).category
    bands = {s.value: (s.lower, s.upper) for c in first.chart for s in c.margin.series}
    assert bands["loss/log10/median"] == ("loss/log10/p10", "loss/log10/p90")
    assert bands["imbalance/largest/median"] == ("imbalance/largest/p10", "imbalance/largest/p90")


def test_a_chart_has_what_was_predicted_beside_what_was_measured(
    fig3: Finished, ensemble: Finished
) -> None:
    """Of a plain run, and of single replicas, whose charts are closed at first."""
    for run, group in ((fig3, ""), (ensemble, "seed_2/")):
        pairs = [
            (group + tag, f"{group}predicted/{tag}")
            for tag in ("loss/log10", "norm/v/2", "angle/to_target/1")
        ]
        charts = [chart for category in layout(run).category for chart in category.chart]
        for pair in pairs:
            fit = [
                chart.title
                for chart in charts
                if all(any(re.match(p, tag) for p in chart.multiline.tag) for tag in pair)
            ]
            assert len(fit) == 1, pair
    assert [category.closed for category in layout(ensemble).category] == [False, *4 * [True]]
    assert not any(category.closed for category in layout(fig3).category)


def test_with_and_without_predictions_charts_are_the_same(fig3: Finished, reludyn: Command) -> None:
    """TensorBoard shows a chart twice that differs between the runs below its log directory."""
    assert layout(reludyn(*SHORT, "optimizer=momentum")) == layout(fig3)


def test_one_replica_has_all_its_curves_in_some_chart(fig3: Finished) -> None:
    patterns = [p for c in layout(fig3).category for chart in c.chart for p in chart.multiline.tag]
    left = {tag for tag in tags_of(fig3) if not any(re.match(p, tag) for p in patterns)}
    assert left == {"phase/index"}


# --- Texts ------------------------------------------------------------------------------------


def test_the_config_is_a_text(board: Board, fig3: Finished) -> None:
    fence = board.texts()["about/resolved_config"]
    assert fence.startswith("```yaml\n")
    said = yaml.safe_load(fence.removeprefix("```yaml").removesuffix("```"))
    assert said == asdict(configure("experiment=fig3"))


def test_the_environment_is_a_text(board: Board) -> None:
    said = board.texts()["about/run_environment"]
    assert f"| numpy | {np.__version__} |" in said
    assert re.search(r"\| reludyn \| .*(git [0-9a-f]{40}|not a git checkout)", said)
    assert "| working directory | not a git checkout |" in said or "git " in said


def test_how_to_read_it_depends_on_the_run(board: Board, ensemble: Finished) -> None:
    alone = board.texts()["about/how_to_read"]
    several = Board(ensemble.folder / "tensorboard").texts()["about/how_to_read"]
    assert "k = 2 hidden neurons, 1 replica." in alone
    assert "k = 3 hidden neurons, 6 replicas." in several
    assert ("p90" in alone, "p90" in several) == (False, True)
    assert "**predicted**" in alone
    assert "in the same colour" in alone
    assert "**seed_0**, **seed_1**, **seed_2**, **seed_3**" in several
    assert "http" not in alone + several


def test_texts_come_before_the_first_look(fig3: Finished) -> None:
    first = events(fig3.folder / "tensorboard")[0]
    tags = [value.tag for value in first.summary.value]
    assert tags[0] == "custom_scalars__config__"
    assert set(tags[1:]) == {"about/resolved_config", "about/run_environment", "about/how_to_read"}


# --- Pictures ---------------------------------------------------------------------------------


def test_the_picture_is_there(board: Board, fig3: Finished) -> None:
    png = (fig3.folder / "figures" / "phases.png").read_bytes()
    assert board.images() == {"figure/phases": (fig3.summary["steps"], png)}


def test_a_picture_is_added_during_a_run(tmp_path: Path, fig3: Finished) -> None:
    png = (fig3.folder / "figures" / "phases.png").read_bytes()
    for step in (10, 20):
        with closing(EventFile.newest(tmp_path)) as file:
            file.add_image(step, "figure/now", png)
    assert Board(tmp_path).images() == {"figure/now": (20, png)}
    assert [event.step for event in events(tmp_path)] == [10, 20]  # of one file


# --- HPARAMS of single runs -------------------------------------------------------------------


def test_a_run_has_a_row(fig3: Finished) -> None:
    shown = Tab(fig3.folder / "tensorboard")
    assert list(shown.groups) == [ITSELF]
    assert shown.values(ITSELF) == {
        "experiment": "fig3",
        "data": "population",
        "data.dim": 100.0,
        "data.outputs": 1.0,
        "data.samples": "null",
        "model.width": 2.0,
        "init": "xavier_normal",
        "init.scale": 1e-4,
        "init.signs": "alternating",
        "optimizer": "gd",
        "optimizer.lr": 0.1,
        "trainer.tolerance": 1e-4,
        "replicas": 1.0,
        "seed": "0",
    }
    median, outcome = fig3.summary["median"], {"success": 1, "stuck": 0, "diverged": 0}
    expected = {f"result/{name}": median[name] for name in ("T_align", "T_growth", "T_converged")}
    expected |= {f"result/{name}": median[name] for name in ("loss", "rate_measured")}
    expected |= {f"result/{name}_fraction": value for name, value in outcome.items()}
    assert shown.results(ITSELF) == pytest.approx(expected)
    assert shown.succeeded(ITSELF)


def test_runs_of_any_config_share_one_table(
    fig3: Finished, empirical: Finished, reludyn: Command, tmp_path: Path
) -> None:
    flow = reludyn(*SHORT, "optimizer=gradient_flow", "data.outputs=2", "init=theorem")
    for name, run in {"a": fig3, "b": empirical, "c": flow}.items():
        (tmp_path / "all").mkdir(exist_ok=True)
        (tmp_path / "all" / name).symlink_to(run.folder / "tensorboard")
    shown = Tab(tmp_path / "all")
    assert set(shown.groups) == {"a", "b", "c"}
    types = [{k: type(v) for k, v in shown.values(name).items()} for name in shown.groups]
    assert types[0] == types[1] == types[2]
    assert set(shown.infos) == set(types[0])
    assert (shown.values("b")["data.samples"], shown.values("c")["optimizer"]) == (
        "30",
        "gradient_flow",
    )
    assert shown.metrics == [*RESULTS]


def test_results_are_those_of_all_replicas() -> None:
    outcomes = ["global_minimum", "non_strict_saddle", "global_minimum", "unconverged", "diverged"]
    medians = dict.fromkeys(MEDIANS) | {"loss": 0.1, "T_align": 80.0}
    assert results_of(outcomes, medians) == {
        "result/success_fraction": 0.4,
        "result/stuck_fraction": 0.2,
        "result/diverged_fraction": 0.2,
        "result/loss": 0.1,
        "result/T_align": 80.0,
    }


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_run_that_diverged_has_failed(reludyn: Command) -> None:
    run = reludyn("optimizer.lr=1e300", "figures=false")
    shown = Tab(run.folder / "tensorboard")
    assert not shown.succeeded(ITSELF)
    assert shown.results(ITSELF)["result/diverged_fraction"] == 1


def test_a_run_that_was_interrupted_has_failed(
    reludyn: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(monkeypatch, Engine, "advance", 4, KeyboardInterrupt())
    run = reludyn("figures=false")
    assert not Tab(run.folder / "tensorboard").succeeded(ITSELF)


def test_jobs_of_a_sweep_have_no_rows_of_their_own(reludyn: Command) -> None:
    finished = reludyn("-m", *SHORT, "init.scale=1e-2,1e-4", "hydra.sweep.dir=sweep")
    shown = Tab(finished.where / "sweep")
    assert sorted(shown.groups) == ["tensorboard/init.scale=0.0001", "tensorboard/init.scale=0.01"]


# --- At most a thousand points ----------------------------------------------------------------


@pytest.fixture(scope="module")
def look(tmp_path_factory: pytest.TempPathFactory) -> Look:
    """Any look."""
    seen: list[Look] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TensorBoard, "record", lambda _, look: seen.append(look))
        run_command(tmp_path_factory.mktemp("look"), *SHORT)
    return seen[-1]


@pytest.mark.parametrize(
    ("spacing", "stopped"), [("log", 2500), ("log", 2345), ("linear", 2345), ("linear", 100)]
)
def test_a_tag_has_at_most_a_thousand_points(
    look: Look, tmp_path: Path, spacing: str, stopped: int
) -> None:
    """The last look is there, wherever the run stops."""
    config = configure("trainer.looks=2500", "trainer.steps=2500", f"trainer.spacing={spacing}")
    steps = range(2501)
    with closing(TensorBoard(tmp_path, config, steps, 1)) as file:
        for step in range(stopped + 1):
            file.record(replace(look, steps=np.array([step])))
    shown = [event.step for event in looks(tmp_path)]
    assert shown == sorted(set(shown))
    assert (shown[0], shown[-1]) == (0, stopped)
    assert len(shown) < MOST
    if stopped > 1000:
        assert len(shown) > 0.8 * MOST


def test_early_looks_are_all_kept() -> None:
    looks = look_steps(10**6, 3000)
    shown = shown_looks(looks, configure("trainer.looks=3000").trainer)
    assert shown[:499] == [*range(499)]
    assert set(shown) <= set(looks)
    assert MOST - 10 < len(shown) < MOST
    apart = np.diff(np.log(shown[600:]))
    assert apart.max() < 1.2 * apart.min() + 0.02  # evenly spaced in the logarithm


def test_up_to_999_looks_are_all_shown() -> None:
    trainer = configure("trainer.looks=998").trainer
    assert [*shown_looks(range(999), trainer)] == [*range(999)]
