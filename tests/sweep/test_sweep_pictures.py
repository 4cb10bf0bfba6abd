"""The picture of a sweep: drawn of its summary alone, of one key or two."""

from __future__ import annotations

import shutil
from itertools import combinations
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from reludyn import figures
from reludyn.figures.__main__ import main
from reludyn.figures.timeline import NothingToDraw
from reludyn.runs.load import load_sweep
from tests.support.boards import Board, runs
from tests.support.commands import QUICK, Command
from tests.support.sweeps import BROKEN, FOUND, STUCK, Cells, Jobs, finished


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are saved."""
    seen: list[Figure] = []

    def keep(figure: Figure, folder: Path, name: str) -> list[Path]:
        seen.append(figure)
        return [folder / f"{name}.png"]

    monkeypatch.setattr(figures, "save", keep)
    return seen


def at(time: int) -> list[Cells]:
    return [FOUND | {"T_converged": time}, STUCK]


SCALES: Jobs = [({"init.scale": x}, at(t)) for x, t in (("1", 9), ("1e-4", 90), ("1e-2", 30))]
WORDS: Jobs = [({"init": word}, at(20)) for word in ("theorem", "balanced", "xavier_normal")]
LONG: Jobs = [({"data.path": f"/a/{'long ' * 9}$x_{i}$.npz"}, at(20)) for i in range(40)]
FEW: Jobs = [
    ({"init": word, "optimizer.lr": lr}, at(int(100 / float(lr))))
    for word in ("theorem", "balanced")
    for lr in ("0.2", "0.001", "0.1")
    if (word, lr) != ("balanced", "0.2")
]
MANY: Jobs = [
    ({"init.scale": str(2.0**-i), "model.width": str(k)}, at(1 + 5**k) if i else [BROKEN])
    for i in range(20)
    for k in range(1, 16)
]
BUSY: Jobs = [
    ({"seed": "0", "optimizer.lr": str(lr), "init.scale": str(x)}, at(10**lr + x))
    for x in range(1, 13)
    for lr in range(1, 9)
]
HOPELESS: Jobs = [({"init.scale": str(x)}, [STUCK]) for x in (1, 2)]


@pytest.mark.quick(3)
@pytest.mark.parametrize("jobs", [SCALES, WORDS, LONG, FEW, BUSY, MANY, HOPELESS])
@pytest.mark.filterwarnings("error")
def test_nothing_is_cut_off_or_overlaps(
    tmp_path: Path, drawn: list[Figure], jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written lies within the page, nothing above anything else."""
    finished(tmp_path, jobs, picture="phases")
    (figure,) = drawn
    boxes: list[tuple[str, Bbox]] = []

    def draw(text: Text, _: object) -> None:
        if text.get_visible() and text.get_text():
            boxes.append((text.get_text(), text.get_window_extent()))

    monkeypatch.setattr(Text, "draw", draw)
    figure.draw_without_rendering()  # places the axes
    boxes.clear()
    figure.draw_without_rendering()
    assert len(boxes) > 8
    for name, box in boxes:
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1, name
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1, name
    overlaps = [(a, b) for (a, x), (b, y) in combinations(boxes, 2) if x.overlaps(y)]
    assert overlaps == []
    assert all(axes.has_data() for axes in figure.axes)


def test_numbers_are_in_order_on_an_axis_of_decades(tmp_path: Path, drawn: list[Figure]) -> None:
    finished(tmp_path, SCALES, picture="phases")
    success, converged = drawn[0].axes
    assert converged.get_xscale() == "log"
    assert converged.get_xlabel() == "init.scale"
    assert success.lines[0].get_xydata().tolist() == [[1e-4, 0.5], [1e-2, 0.5], [1, 0.5]]
    assert converged.lines[0].get_xydata().tolist() == [[1e-4, 90], [1e-2, 30], [1, 9]]


def test_numbers_within_a_decade_are_on_a_linear_axis(tmp_path: Path, drawn: list[Figure]) -> None:
    finished(tmp_path, [({"model.width": str(k)}, at(9)) for k in (4, 2)], picture="phases")
    assert [axes.get_xscale() for axes in drawn[0].axes] == ["linear"] * 2
    ticks = drawn[0].axes[1].get_xticks()
    assert ticks.tolist() == [round(tick) for tick in ticks]


def test_words_are_in_the_order_of_the_sweep(tmp_path: Path, drawn: list[Figure]) -> None:
    finished(tmp_path, WORDS, picture="phases")
    labels = [label.get_text() for label in drawn[0].axes[-1].get_xticklabels()]
    assert labels == [values["init"] for values, _ in WORDS]


def test_two_keys_are_a_map(tmp_path: Path, drawn: list[Figure]) -> None:
    finished(tmp_path, FEW, picture="phases")
    success, converged, *_ = drawn[0].axes
    none = np.nan
    np.testing.assert_array_equal(
        np.ma.filled(converged.images[0].get_array(), none),
        [[100_000, 100_000], [1000, 1000], [500, none]],
    )
    assert [text.get_text() for text in success.texts] == ["0.5"] * 5 + ["none"]
    assert isinstance(converged.images[0].norm, mpl.colors.LogNorm)
    assert [t.get_text() for t in success.get_yticklabels()] == ["0.001", "0.1", "0.2"]
    assert [t.get_text() for t in success.get_xticklabels()] == ["theorem", "balanced"]


def test_a_large_map_says_which_cells_are_empty(tmp_path: Path, drawn: list[Figure]) -> None:
    finished(tmp_path, MANY, picture="phases")
    (legend,) = drawn[0].legends
    assert [text.get_text() for text in legend.get_texts()] == ["none"]
    assert not drawn[0].axes[0].texts


def test_no_panel_is_empty(tmp_path: Path, drawn: list[Figure]) -> None:
    finished(tmp_path, HOPELESS, picture="phases")
    (axes,) = drawn[0].axes
    assert "no replica converged" in axes.get_title()


def test_tensorboard_has_the_picture(tmp_path: Path) -> None:
    """In the run of the first combination: one of its own would count, too."""
    finished(tmp_path, FEW, picture="phases", tensorboard=True)
    board = Board(tmp_path / "tensorboard")
    first, *others = [
        f"init={values['init']},optimizer.lr={values['optimizer.lr']}" for values, _ in FEW
    ]
    png = (tmp_path / "figures" / "sweep.png").read_bytes()
    assert board.images(first)["figure/sweep"] == (0, png)
    assert not any(board.images(other) for other in others)
    assert runs(tmp_path / "tensorboard") == sorted([first, *others])


THREE_KEYS = {"init": "theorem", "init.scale": "1", "model.width": "2"}


@pytest.mark.parametrize("values", [{"seed": "0"}, THREE_KEYS])
def test_other_numbers_of_keys_have_no_picture(tmp_path: Path, values: dict[str, str]) -> None:
    """Where something is swept it says why."""
    printed = finished(tmp_path, [(values, [FOUND])], picture="phases")
    assert not (tmp_path / "figures").exists()
    why = "the picture shows one or two keys, not 3"
    assert ("no picture: " in printed) is (why in printed) is (values is THREE_KEYS)


def test_the_summary_alone_is_drawn_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finished(tmp_path, FEW, picture="phases")
    (tmp_path / "multirun.yaml").touch()
    (tmp_path / "0" / "DONE").touch()
    (tmp_path / "0" / ".hydra").mkdir()
    (tmp_path / "0" / ".hydra" / "config.yaml").write_text("figures: true\npicture: phases\n")
    for file in tmp_path.glob("*/replicas.csv"):
        file.unlink()
    before = (tmp_path / "figures" / "sweep.png").read_bytes()
    shutil.rmtree(tmp_path / "figures")
    main([str(tmp_path)])
    printed = capsys.readouterr().out.split()
    assert printed == [str(tmp_path / "figures" / f"sweep.{kind}") for kind in ("png", "pdf")]
    assert (tmp_path / "figures" / "sweep.png").read_bytes() == before


def test_samples_are_needed_for_their_picture(reludyn: Command) -> None:
    sweep = reludyn("-m", *QUICK, "seed=1,2", "hydra.sweep.dir=s").where / "s"
    with pytest.raises(NothingToDraw, match="data=population has no number of samples"):
        figures.plot_samples(load_sweep(sweep))


def test_only_figures_are_offered() -> None:
    assert set(dir(figures)) == {name for name in vars(figures) if name in figures.__all__}


def test_a_folder_without_a_summary_is_no_sweep(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"is not the folder of a sweep.*sweep_summary"):
        figures.draw_sweep(tmp_path, "phases")
