"""What TensorBoard is given, read back from the event files."""

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from reludyn.recording.quantities import CORE
from reludyn.recording.tensorboard.hparams import RESULTS
from reludyn.training.engine import Engine
from tests.support.boards import curves, events, looks, runs
from tests.support.commands import QUICK, Command, Finished

SCALARS = {tag for name, x in CORE.items() if not x.axes for tag in x.tags} - {"loss/population"}
ADDED = SCALARS - {"loss/total", "loss/log10", "loss/linear", "loss/rectification"}
WIDTH = "trainer.steps=5", "figures=false", "init.signs=random"


def of_one_replica(k: int) -> set[str]:
    losses = {
        "loss/total",
        "loss/log10",
        "loss/linear",
        "loss/rectification",
        "phase/index",
        *ADDED,
    }
    if k > 16:
        slowest = {"norm/smallest_w", "norm/smallest_v", "angle/largest_to_target"}
        return losses | slowest | {"imbalance/largest"}
    neurons = [str(i + 1) for i in range(k)]
    pairs = [f"{h}-{i}" for i in neurons for h in neurons if h < i]
    return {
        *losses,
        *(f"norm/{layer}/{i}" for layer in "wv" for i in neurons),
        *(f"{tag}/{i}" for tag in ("angle/to_target", "imbalance/b") for i in neurons),
        *([f"angle/between/{pair}" for pair in pairs] if k <= 4 else ["angle/largest_between"]),
    }


def of_theory(k: int) -> set[str]:
    """What is predicted of one replica with one output."""
    if k > 16:
        tags = {"loss/log10", "norm/smallest_v", "angle/largest_to_target"}
    else:
        neurons = [f"{tag}/{i + 1}" for tag in ("norm/v", "angle/to_target") for i in range(k)]
        tags = {"loss/log10", *neurons}
    return {f"predicted/{tag}" for tag in tags}


@pytest.fixture(scope="module")
def board(fig3: Finished) -> dict[str, dict[int, float]]:
    return curves(fig3.folder / "tensorboard")


# --- One replica ------------------------------------------------------------------------------


def test_everything_promised_is_shown(board: dict[str, dict[int, float]]) -> None:
    assert set(board) == of_one_replica(k=2) | of_theory(k=2)


def test_one_event_a_look(fig3: Finished) -> None:
    steps = [event.step for event in looks(fig3.folder / "tensorboard")]
    assert steps == fig3.arrays["step"].tolist()


def test_every_event_is_one_summary_without_repetition(fig3: Finished) -> None:
    for event in looks(fig3.folder / "tensorboard"):
        tags = [value.tag for value in event.summary.value]
        assert len(tags) == len(set(tags)) == len(of_one_replica(k=2) | of_theory(k=2))


@pytest.mark.parametrize(
    ("tag", "array", "place"),
    [
        ("loss/total", "loss", (0,)),
        ("loss/linear", "loss_linear", (0,)),
        ("loss/rectification", "loss_rectification", (0,)),
        ("norm/w/1", "w_norm", (0, 0)),
        ("norm/w/2", "w_norm", (0, 1)),
        ("norm/v/2", "v_norm", (0, 1)),
        ("angle/to_target/2", "angle_to_target", (0, 1)),
        ("angle/between/1-2", "angle_between", (0, 0, 1)),
        ("imbalance/b/1", "imbalance", (0, 0)),
    ],
)
def test_a_curve_is_its_array(
    fig3: Finished, board: dict[str, dict[int, float]], tag: str, array: str, place: tuple[int, ...]
) -> None:
    expected = fig3.arrays[array][(slice(None), *place)]
    np.testing.assert_allclose(list(board[tag].values()), expected, rtol=1e-6)


def test_the_logarithm_is_that_of_the_loss(board: dict[str, dict[int, float]]) -> None:
    shown, loss = (np.array(list(board[tag].values())) for tag in ("loss/log10", "loss/total"))
    np.testing.assert_allclose(shown, np.log10(loss), atol=1e-6)


def test_the_phase_changes_at_the_events(
    fig3: Finished, board: dict[str, dict[int, float]]
) -> None:
    (row,) = fig3.rows
    phase = np.array(list(board["phase/index"].values()))
    changes = fig3.arrays["step"][1:][np.diff(phase) > 0].tolist()
    assert changes == [int(row["T_align"]), int(row["T_growth"])]
    assert (phase[0], phase[-1]) == (0, 2)


def test_three_hundred_steps_leave_a_small_file(reludyn: Command) -> None:
    """With the predictions and all texts: 27 bytes for each number, of which the word predicted/ in
    front of five tags takes 15 kB; without it they were a run of their own."""
    run = reludyn("trainer.steps=300", "trainer.tolerance=0", "figures=false")
    (file,) = (run.folder / "tensorboard").rglob("events.*")
    assert len(looks(run.folder / "tensorboard")) == 301
    tags = of_one_replica(k=2) | of_theory(k=2)
    assert file.stat().st_size < 27.3 * 301 * len(tags)


def test_tensorboard_itself_reads_it(fig3: Finished) -> None:
    reader = EventAccumulator(str(fig3.folder / "tensorboard")).Reload()
    assert set(reader.Tags()["scalars"]) == of_one_replica(k=2) | of_theory(k=2) | set(RESULTS)
    assert len(reader.Scalars("loss/total")) == len(fig3.arrays["step"])
    last = reader.Scalars("loss/total")[-1]
    assert (last.step, last.value < 1e-4) == (fig3.summary["steps"], True)


@pytest.mark.quick(2)
@pytest.mark.parametrize("k", [1, 3, 4, 5, 16])
def test_every_neuron_has_a_curve(reludyn: Command, k: int) -> None:
    finished = reludyn(*WIDTH, f"model.width={k}")
    assert set(curves(finished.folder / "tensorboard")) == of_one_replica(k) | of_theory(k)


def test_wide_networks_show_the_slowest_neuron(reludyn: Command) -> None:
    run = reludyn("trainer.steps=120", "figures=false", "init.signs=random", "model.width=17")
    shown = curves(run.folder / "tensorboard")
    assert set(shown) == of_one_replica(17) | of_theory(17)
    theory = curves(run.folder / "tensorboard", "predicted/")
    for tag in set(SLOWEST) - {"angle/largest_between"}:  # of at most 16 neurons
        expected = QUANTITIES[tag](run)
        np.testing.assert_allclose([*shown[tag].values()], np.ravel(expected), rtol=1e-6)
        if tag in theory:
            np.testing.assert_allclose(
                [*theory[tag].values()], [*shown[tag].values()], rtol=0.02, atol=2e-3
            )


def test_the_largest_angle_stands_for_many_pairs(reludyn: Command) -> None:
    run = reludyn(*WIDTH, "model.width=5")
    shown = curves(run.folder / "tensorboard")["angle/largest_between"]
    expected = run.arrays["angle_between"][:, 0].max((1, 2))
    np.testing.assert_allclose([*shown.values()], expected, rtol=1e-6)


def test_the_population_risk_is_shown_beside_the_empirical_one(empirical: Finished) -> None:
    shown = curves(empirical.folder / "tensorboard", "seed_1/")["loss/population"]
    expected = empirical.arrays["loss_population"][:, 1]
    np.testing.assert_allclose(list(shown.values()), expected, rtol=1e-6)


# --- Theory beside it -------------------------------------------------------------------------


def test_a_run_is_one_run_of_tensorboard(fig3: Finished, ensemble: Finished) -> None:
    """It counts: of more than 40 runs below its --logdir TensorBoard selects none."""
    assert runs(fig3.folder) == runs(ensemble.folder) == ["tensorboard"]


def test_what_is_predicted_is_a_second_line(
    fig3: Finished, board: dict[str, dict[int, float]]
) -> None:
    theory = curves(fig3.folder / "tensorboard", "predicted/")
    assert len(theory) == 5
    for tag, line in theory.items():
        assert list(line) == list(board[tag])
        np.testing.assert_allclose(
            list(line.values()), list(board[tag].values()), rtol=0.02, atol=2e-3
        )


def test_the_parts_of_several_outputs_are_predicted_while_weights_are_small(
    reludyn: Command,
) -> None:
    overrides = "data.outputs=2", "model.width=4", "trainer.observables=full"
    run = reludyn(*overrides, "init.signs=random", "figures=false", "trainer.steps=150")
    folder = run.folder / "tensorboard"
    measured, theory = curves(folder), curves(folder, "predicted/")
    for tag in ("learned/direction/1", "norm/v/3", "angle/to_target/1", "loss/log10"):
        early = [step for step in theory[tag] if step <= 100]
        assert len(early) == 101
        np.testing.assert_allclose(
            [theory[tag][s] for s in early], [measured[tag][s] for s in early], rtol=1e-3, atol=1e-6
        )


def test_without_theory_there_is_no_second_line(reludyn: Command) -> None:
    finished = reludyn(*WIDTH, "optimizer=momentum")
    assert set(curves(finished.folder / "tensorboard")) == of_one_replica(k=2)


def test_the_sharpness_has_the_line_of_stability(reludyn: Command) -> None:
    finished = reludyn(*WIDTH, "theory.spectrum=true", "optimizer.lr=0.2", "optimizer=momentum")
    folder = finished.folder / "tensorboard"
    shown = curves(folder)
    assert set(shown["hessian/two_over_mu"].values()) == {10.0}
    assert set(shown["hessian/two_over_mu"]) == set(shown["hessian/sharpness"])
    for tag, name in [
        ("sharpness", "sharpness"),
        ("smallest", "smallest_eigenvalue"),
        ("negative", "negative_eigenvalues"),
        ("near_zero", "zero_eigenvalues"),
    ]:
        expected = finished.arrays[name][:, 0]
        np.testing.assert_allclose(list(shown[f"hessian/{tag}"].values()), expected, rtol=1e-6)


def test_the_lemmas_show_their_margins(reludyn: Command) -> None:
    finished = reludyn("theory.bounds=true", "trainer.steps=120", "figures=false")
    shown = curves(finished.folder / "tensorboard")
    rows = [row for row in finished.table("bounds.csv") if row["applies"] == "True"]
    for row in rows:
        tag = "/".join(["bound", row["statement"], *([row["neuron"]] if row["neuron"] else [])])
        expected = float(row["margin"]) / abs(float(row["right"]))
        assert shown[tag][int(row["step"])] == pytest.approx(expected, rel=1e-6)
    assert {tag.split("/")[1] for tag in shown if tag.startswith("bound/")} == {
        row["statement"] for row in rows
    }


# --- Several replicas -------------------------------------------------------------------------

QUANTITIES: dict[str, Callable[[Finished], object]] = {
    "loss/total": lambda run: run.arrays["loss"],
    "loss/log10": lambda run: np.log10(run.arrays["loss"]),
    "loss/linear": lambda run: run.arrays["loss_linear"],
    "loss/rectification": lambda run: run.arrays["loss_rectification"],
    "norm/smallest_w": lambda run: run.arrays["w_norm"].min(-1),
    "norm/smallest_v": lambda run: run.arrays["v_norm"].min(-1),
    "angle/largest_to_target": lambda run: run.arrays["angle_to_target"].max(-1),
    "angle/largest_between": lambda run: run.arrays["angle_between"].max((-1, -2)),
    "imbalance/largest": lambda run: np.abs(run.arrays["imbalance"]).max(-1),
}
SLOWEST = [tag for tag in QUANTITIES if "est" in tag]
FRACTIONS = {"fraction/aligned", "fraction/grown", "fraction/stopped"}


def test_an_ensemble_shows_a_median_and_a_band(ensemble: Finished) -> None:
    tags = {*QUANTITIES, *ADDED}
    bands = {f"{tag}/{level}" for tag in tags for level in ("p10", "median", "p90")}
    shown = curves(ensemble.folder / "tensorboard")
    assert {tag for tag in shown if not tag.startswith("seed_")} == bands | FRACTIONS


@pytest.mark.parametrize("tag", QUANTITIES)
@pytest.mark.parametrize(("level", "q"), [("p10", 0.1), ("median", 0.5), ("p90", 0.9)])
def test_the_band_holds_the_quantiles(ensemble: Finished, tag: str, level: str, q: float) -> None:
    shown = curves(ensemble.folder / "tensorboard")[f"{tag}/{level}"]
    expected = np.quantile(QUANTITIES[tag](ensemble), q, axis=1)
    np.testing.assert_allclose(list(shown.values()), expected, rtol=1e-6)
    assert list(shown) == ensemble.arrays["step"].tolist()


def test_the_first_replicas_are_shown_singly(ensemble: Finished) -> None:
    """With what is predicted of each."""
    for j in range(4):
        shown = curves(ensemble.folder / "tensorboard", f"seed_{j}/")
        assert set(shown) == of_one_replica(k=3) | of_theory(k=3)
        for tag, name in (("norm/w/2", "w_norm"), ("predicted/norm/v/2", "predicted_v_norm")):
            expected = ensemble.arrays[name][:, j, 1]
            np.testing.assert_allclose(list(shown[tag].values()), expected, rtol=1e-6)


@pytest.mark.parametrize(("singly", "seeds"), [(0, set()), (2, {"seed_5", "seed_6"})])
def test_logger_replicas_is_how_many(reludyn: Command, singly: int, seeds: set[str]) -> None:
    finished = reludyn(*WIDTH, "seed=5", "replicas=3", f"logger.replicas={singly}")
    shown = {tag.split("/")[0] for tag in curves(finished.folder / "tensorboard")}
    assert {group for group in shown if group.startswith("seed_")} == seeds


def test_fractions_follow_the_events(reludyn: Command) -> None:
    finished = reludyn("replicas=5", "trainer.steps=300", "figures=false", "logger.replicas=0")
    shown = curves(finished.folder / "tensorboard")
    for tag, name in [("aligned", "T_align"), ("grown", "T_growth"), ("stopped", "T_converged")]:
        clocks = [int(row[name]) for row in finished.rows if row[name]]
        for step, fraction in shown[f"fraction/{tag}"].items():
            assert fraction == pytest.approx(sum(clock <= step for clock in clocks) / 5, abs=1e-6)


# --- Endings ----------------------------------------------------------------------------------


@pytest.mark.quick(1)
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("replicas", [1, 3])
def test_a_run_that_breaks_off_loses_no_look(
    reludyn: Command,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    error: type[BaseException],
    replicas: int,
) -> None:
    advance, stretches = Engine.advance, iter([1, 2, 3])

    def breaking(*arguments: object) -> object:
        if not next(stretches, None):
            raise error
        return advance(*arguments)

    monkeypatch.setattr(Engine, "advance", breaking)
    with contextlib.suppress(RuntimeError):
        reludyn("figures=false", f"replicas={replicas}")
    boards = [file.parent for file in tmp_path.rglob("events.out.tfevents.*")]
    (board,) = boards
    assert [event.step for event in looks(board)] == [0, 1, 2, 3]


@pytest.mark.parametrize("replicas", [1, 3])
def test_no_writer_is_left_open(reludyn: Command, replicas: int) -> None:
    before = set(threading.enumerate())
    reludyn(*WIDTH, f"replicas={replicas}")
    assert set(threading.enumerate()) <= before


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_what_is_not_finite_is_left_out(reludyn: Command) -> None:
    finished = reludyn("optimizer.lr=1e300", "figures=false", "replicas=2")
    assert finished.summary["stopped_because"] == "diverged"
    found = events(finished.folder / "tensorboard")
    values = [v.simple_value for event in found for v in event.summary.value]
    assert np.isfinite(values).all()


def test_without_a_logger_there_are_no_events(reludyn: Command) -> None:
    finished = reludyn(*QUICK)
    assert not (finished.folder / "tensorboard").exists()
