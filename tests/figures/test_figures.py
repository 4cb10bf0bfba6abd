"""Pictures: drawn from files alone, again and again; their numbers."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

import reludyn as package
from reludyn import figures
from reludyn.config.schema import Config
from reludyn.figures import CHOICES, OF_A_REPLICA
from reludyn.figures.__main__ import main, redraw
from reludyn.figures.scale import binned
from reludyn.figures.style import STYLE, new_figure, save
from reludyn.figures.sweeps import burn_in, recovered
from reludyn.figures.timeline import NothingToDraw
from reludyn.numerics.statistics import wilson
from reludyn.runs.table import Table
from reludyn.system.errors import ConfigError
from tests.support.commands import QUICK, Command, Finished, reludyn_in, run_command
from tests.support.pictures import FONTS


def test_text_stays_text_in_a_pdf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It can be searched and edited: whole fonts are embedded."""
    monkeypatch.setitem(STYLE, "pdf.fonttype", FONTS)
    figure = new_figure()
    figure.text(0.5, 0.5, "text")
    _, pdf = save(figure, tmp_path, "text")
    assert b"/CIDFontType2" in pdf.read_bytes()


def test_a_picture_has_a_name_in_the_settings() -> None:
    (allowed,) = (
        f.metadata["one_of"] for f in Config.__dataclass_fields__.values() if f.name == "picture"
    )
    assert set(CHOICES) == set(allowed)


@pytest.mark.slow
def test_all_pictures_of_a_run(reludyn: Command) -> None:
    run = reludyn_in(reludyn, "run", "replicas=5", "picture=all", "figures=true")
    assert run.code == 0, run.err
    expected = {*OF_A_REPLICA, "fan"} - {"animation", "pairs"}
    files = list((run.where / "figures").iterdir())
    assert {path.stem for path in files} == expected
    assert len(files) == 2 * len(expected)
    assert all(path.stat().st_size > 3000 for path in files)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "absent"),
    [
        (["model.width=1"], {"fan", "pairs"}),
        (["model.width=17"], {"fan", "pairs"}),
        (["data.dim=1", "model.width=3"], {"fan", "pairs"}),
        (["data.outputs=3", "model.width=5", "data.dim=4"], {"fan", "portrait"}),
        (["optimizer.lr=1e200"], {"fan", "pairs"}),
        (["model.width=3", "replicas=5", "model.negative_slope=0.5"], {"pairs"}),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_every_picture_can_be_drawn_of_every_run(overrides: list[str], absent: set[str]) -> None:
    run = package.train(*QUICK, "experiment=default", *overrides)
    missing = set()
    for name, plot in (OF_A_REPLICA | {"fan": lambda run, _: figures.plot_fan(run)}).items():
        try:
            drawn = plot(run, 0)
        except NothingToDraw:
            missing.add(name)
            continue
        if isinstance(drawn, Figure):
            drawn.draw_without_rendering()
        else:
            drawn._draw_frame(0)
            drawn._draw_was_started = True  # else it warns that nobody shows it
    assert missing == absent


# --- Sweeps -----------------------------------------------------------------------------------

SWEEPS = {
    "stuck": ["model.width=1,2", "replicas=4", "trainer.steps=30"],
    "samples": ["data.dim=3,4", "data.ratio=2,6", "replicas=2", "trainer.steps=20"],
    "burn_in": ["optimizer.lr=0.1,0.3", "replicas=5", "trainer.steps=200"],
}


@pytest.fixture(scope="module", params=SWEEPS)
def sweep(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A small sweep of each kind; the overrides replace what its experiment sweeps."""
    where = tmp_path_factory.mktemp(request.param)
    run = run_command(
        where,
        f"experiment={request.param}",
        "hydra.sweep.dir=sweep",
        "figures=true",
        *SWEEPS[request.param],
    )
    assert run.code == 0, run.err
    return Finished(run.code, run.out, run.err, where / "sweep")


@pytest.mark.quick(1)
def test_a_sweep_draws_its_picture_again_and_again(sweep: Finished) -> None:
    (name,) = {path.stem for path in (sweep.where / "figures").iterdir()}
    assert name in SWEEPS
    assert f"figures/{name}.png" in sweep.out
    for job in sweep.where.glob("*/DONE"):
        drawn = {path.stem for path in (job.parent / "figures").glob("*")}
        assert name not in drawn
    before = {path: path.read_bytes() for path in (sweep.where / "figures").glob("*.png")}
    shutil.rmtree(sweep.where / "figures")
    redraw(sweep.where)
    assert {path: path.read_bytes() for path in before} == before
    with pytest.raises(
        ConfigError, match=r"--picture=all: shows a run\. Name the folder of a run in"
    ):
        redraw(sweep.where, "all")


def test_without_figures_there_is_no_picture_of_a_sweep(reludyn: Command) -> None:
    run = reludyn("experiment=stuck", "hydra.sweep.dir=s", "figures=false", *SWEEPS["stuck"])
    assert run.code == 0
    assert not list(run.where.rglob("*.png"))


def test_who_recovers_the_target() -> None:
    errors = Table({"effective_weight_error": ["9e-7", "2e-6", ""]})
    assert recovered(errors).tolist() == [True, False, False]


def test_burn_in_takes_minima_only() -> None:
    outcomes = ["global_minimum", "non_strict_saddle"]
    times = {"init_scale": [0.1] * 2, "T_align": [3] * 2, "T_growth": [8] * 2}
    x, align, growth = burn_in(Table({"outcome": outcomes, **times}))
    assert (x.tolist(), align.tolist(), growth.tolist()) == ([-math.log(0.1)], [3], [5])


# --- Numbers ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "of"), [(0, 10), (3, 10), (10, 10), (400, 1000)])
def test_wilson_intervals(count: int, of: int) -> None:
    """(p + z^2/2n +- z sqrt(p (1 - p)/n + z^2/4n^2)) / (1 + z^2/n)."""
    z, p = 1.959963984540054, count / of
    centre = (p + z**2 / (2 * of)) / (1 + z**2 / of)
    half = z * math.sqrt(p * (1 - p) / of + z**2 / (4 * of**2)) / (1 + z**2 / of)
    found = wilson(count, of)
    np.testing.assert_allclose(found, (p, centre - half, centre + half), atol=1e-12)


def test_scales_are_counted_in_bins() -> None:
    scale = np.geomspace(1e-4, 1, 1600)
    centres, fraction, low, high = binned(scale, scale > 1e-2)
    assert len(centres) == 16
    np.testing.assert_array_equal(fraction, [0.0] * 8 + [1.0] * 8)
    assert (low <= fraction).all()
    assert (fraction <= high).all()


# --- Drawing again ----------------------------------------------------------------------------


def test_a_run_is_drawn_again_without_training(
    fig3: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(fig3.folder, tmp_path / "copy")
    for name in ("figures", "checkpoints", "tensorboard"):
        shutil.rmtree(copy / name)
    main([str(copy)])
    first = capsys.readouterr().out.split()
    assert first == [str(copy / "figures" / f"phases.{kind}") for kind in ("png", "pdf")]
    again = (copy / "figures" / "phases.png").read_bytes()
    assert again == (fig3.folder / "figures" / "phases.png").read_bytes()
    main([str(copy), "--picture", "neurons"])
    assert (copy / "figures" / "neurons.pdf").exists()


def test_a_picture_of_another_kind_is_refused(fig3: Finished) -> None:
    with pytest.raises(ConfigError, match="--picture=stuck: shows a sweep"):
        redraw(fig3.folder, "stuck")


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must be the folder of a run or of a sweep"):
        redraw(tmp_path)
    with pytest.raises(SystemExit, match="reludyn-figures: error: RUN_DIR="):
        main([str(tmp_path)])
