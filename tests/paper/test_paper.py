"""The reproduction of the paper: a rehearsal of all rows, the report, the arithmetic of claims."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reludyn.config.parse import conf_directory
from reludyn.paper import reproduce as reproducing
from reludyn.paper.checks import CLAIMS
from reludyn.paper.claims import Finding, contraction, crossing, line
from reludyn.paper.reproduce import reproduce
from reludyn.paper.rows import ROWS, Done, Row
from reludyn.system.commands import command
from reludyn.system.errors import ConfigError
from tests.support.commands import run_command

ROOT = Path(__file__).parents[2]


class OneAfterTheOther:
    """Stands for a pool of threads."""

    def __init__(self, _: int) -> None:
        pass

    def __enter__(self) -> OneAfterTheOther:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, work: Callable[..., Done], *arguments: Any) -> Future[Done]:
        future: Future[Done] = Future()
        future.set_result(work(*arguments))
        return future


def run_here(row: Row, folder: Path, short: bool, overrides: Sequence[str], _: str) -> Done:
    """Run a row in this process. The rows of `test_a_row_that_fails_is_reported` and of `make
    paper` in a clean clone have processes of their own."""
    words, log = row.words(folder / row.name, short, overrides), folder / f"{row.name}.log"
    finished = run_command(folder, *words)
    log.write_text(finished.out + finished.err)
    return Done(row, command("reludyn", *words), 1.0, 100.0, reproducing._error(finished.code, log))


@pytest.fixture(scope="module")
def rehearsal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("paper")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reproducing, "ThreadPoolExecutor", OneAfterTheOther)
        patch.setattr(reproducing, "_run", run_here)
        assert reproduce(folder, short=True, overrides=["seed=1"])
    return folder


# --- Rows -------------------------------------------------------------------------------------


def test_every_experiment_has_a_row() -> None:
    files = {path.stem for path in (conf_directory() / "experiment").glob("*.yaml")}
    others = {"default", "stability"}  # not of the paper
    assert files - others == {row.experiment for row in ROWS} - others
    assert len({row.name for row in ROWS}) == len(ROWS)


def test_every_claim_has_its_rows() -> None:
    known = {row.name for row in ROWS}
    assert {row for claim in CLAIMS for row in claim.rows} <= known
    assert len({claim.title for claim in CLAIMS}) == len(CLAIMS)


def test_captions_are_the_comments_of_the_experiments() -> None:
    captions = {row.name: row.caption for row in ROWS}
    assert captions["fig3"].startswith("Figure 3: one run from small weights")
    assert all(captions.values())


@pytest.mark.slow
def test_a_rehearsal_of_all_rows(rehearsal: Path) -> None:
    for row in ROWS:
        folder = rehearsal / row.name
        done = list(folder.glob("DONE")) or list(folder.glob("*/DONE"))
        assert done, (rehearsal / f"{row.name}.log").read_text()
        pictures = list((folder / "figures").glob("*.png"))
        assert bool(pictures) == row.figures
        assert all(picture.with_suffix(".pdf").exists() for picture in pictures)


# --- The report -------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_report_holds_its_pictures(rehearsal: Path) -> None:
    page = (rehearsal / "report.html").read_text()
    pictures = [p for row in ROWS for p in (rehearsal / row.name / "figures").glob("*.png")]
    assert page.count("data:image/png;base64,") == len(pictures) > 15
    assert not re.search(r'(src|href)="(?!data:|#)', page)  # nothing from elsewhere
    assert "A rehearsal with few seeds and steps" in page
    assert page.count("<tr>") == 2 + len(CLAIMS) + len(ROWS)
    for row in ROWS:
        assert f"experiment={row.experiment}" in page
        assert row.caption.split("&")[0].split("<")[0].split(">")[0].split("'")[0] in page or (
            not row.figures
        )


@pytest.mark.slow
def test_the_report_for_machines(rehearsal: Path) -> None:
    found = json.loads((rehearsal / "claims.json").read_text())
    assert [claim["title"] for claim in found["claims"]] == [claim.title for claim in CLAIMS]
    verdicts = {claim["title"]: claim["verdict"] for claim in found["claims"]}
    assert set(verdicts.values()) <= {"confirmed", "confirmed with a remark", "not confirmed"}
    # 30 iterations confirm nothing that takes training
    for title in ("Figure 2a", "Figure 3: phases", "Figures 6 to 8: pairs", "Getting stuck"):
        assert verdicts[title] == "not confirmed"
    assert verdicts["Lemma 8, figure 4"] == "confirmed"
    assert (found["short"], found["overrides"]) == (True, ["seed=1"])
    assert {row["error"] for row in found["rows"]} == {""}
    text = (rehearsal / "report.md").read_text()
    assert text.count("\n| ") == 2 + len(CLAIMS) + len(ROWS)
    for path in re.findall(r"!\[.*?\]\((.*?)\)", text):
        assert (rehearsal / path).exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("rows=[fig9]", "rows=fig9: must be among fig1a"),
        ("wokers=2", "wokers=2: Could not override 'wokers'"),
        ("hydra.sweeper._target_=os.system", "A config cannot name other code"),
    ],
)
def test_what_the_script_cannot_use_is_one_line(tmp_path: Path, word: str, said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "reludyn.paper", word], cwd=tmp_path, capture_output=True, text=True
    )
    (line,) = done.stderr.splitlines()
    assert line.startswith("reludyn.paper: error: ")
    assert said in line
    assert done.returncode == 1


@pytest.mark.slow
def test_a_row_that_fails_is_reported(tmp_path: Path) -> None:
    """The others go on; its claims are not run; the script ends with exit code 1."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "reludyn.paper",
            "rows=[fig4,fig5]",
            "short=true",
            "overrides=['model.width=0']",
            "hydra.run.dir=out",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    found = json.loads((tmp_path / "out" / "claims.json").read_text())
    assert {claim["verdict"] for claim in found["claims"]} == {"not run"}
    for row in found["rows"]:
        assert "model.width=0: must be >= 1" in row["error"]
        assert row["seconds"] > 0
        assert row["megabytes"] > 50
    assert "model.width=0: must be" in (tmp_path / "out" / "report.html").read_text()


def test_an_unknown_row_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"rows=fig9: must be among fig1a, fig1b"):
        reproduce(tmp_path, rows=["fig9"])


# --- The arithmetic of findings ---------------------------------------------------------------


def test_verdicts() -> None:
    assert Finding("x", True).verdict == "confirmed"
    assert Finding("x", True, "but").verdict == "confirmed with a remark"
    assert Finding("x", False, "but").verdict == "not confirmed"


def test_a_contraction_is_fitted_within_its_range() -> None:
    step = np.arange(200)
    error = np.maximum(0.9**step, 1e-8)
    error[:5] = 3.0
    assert contraction(step, error, 0.5, 1e-7) == pytest.approx(0.9, rel=1e-12)


def test_a_line_and_its_fit() -> None:
    x = np.linspace(0, 1, 50)
    assert line(x, 3 * x - 2) == pytest.approx((3, -2, 1))
    noisy = line(x, 3 * x + np.random.default_rng(0).standard_normal(50))
    assert 0.1 < noisy[2] < 0.9
    assert np.isnan(line(x[:2], x[:2])).all()


def test_a_crossing_is_interpolated() -> None:
    x, y = np.array([1.0, 2.0, 4.0]), np.array([0.0, 0.25, 1.0])
    assert crossing(x, y, 0.5) == pytest.approx(2 + 2 / 3)
    assert np.isnan(crossing(x, y, 1.5))
    assert np.isnan(crossing(x, y + 1, 0.5))  # it was above from the start
