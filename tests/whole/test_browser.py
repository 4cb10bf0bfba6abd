"""TensorBoard's pages as a person sees them, in a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from tests.support import browser
from tests.support.commands import Finished, run_command

pytest.importorskip("playwright.sync_api", reason="no Playwright: pip install 'reludyn[browser]'")
if browser.find_browser() is None:
    pytest.skip("no browser: apt-get install chromium", allow_module_level=True)

from playwright.sync_api import expect

from reludyn.recording.console.report import HINT, SELECTED
from reludyn.recording.quantities import CORE
from reludyn.recording.tensorboard.event_file import EventFile
from reludyn.recording.tensorboard.tags import TAGS

pytestmark = pytest.mark.browser
CHART = "tf-custom-scalar-{}-chart-card"


class Visitor:
    """Opens pages of one TensorBoard, and notes what goes wrong on them."""

    def __init__(self, context: Any, address: str) -> None:
        self.page, self.address = context.new_page(), address
        self.errors: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("response", self._note)

    def open(self, page: str) -> Any:
        self.page.goto("about:blank")
        self.page.goto(self.address + page)
        return self.page

    def _note(self, response: Any) -> None:
        if response.status >= 400:
            self.errors.append(f"{response.status} {response.url}")


@pytest.fixture(scope="module")
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture(scope="module")
def context(stack: ExitStack) -> Any:
    context = stack.enter_context(browser.pages())
    expect.set_options(timeout=1000 * browser.PATIENCE)
    return context


def visitor(stack: ExitStack, context: Any, folder: Path, runs: int) -> Visitor:
    return Visitor(context, stack.enter_context(browser.tensorboard(folder, runs)))


@pytest.fixture(scope="module")
def one(stack: ExitStack, context: Any, fig3: Finished) -> Visitor:
    """A run, with what was predicted of it."""
    return visitor(stack, context, fig3.folder, 1)


@pytest.fixture(scope="module")
def batch(stack: ExitStack, context: Any, ensemble: Finished) -> Visitor:
    """The ensemble, and four replicas singly."""
    return visitor(stack, context, ensemble.folder, 1)


@pytest.fixture(scope="module")
def sweep(stack: ExitStack, context: Any, tmp_path_factory: pytest.TempPathFactory) -> Visitor:
    """Four jobs, and as many combinations."""
    where = tmp_path_factory.mktemp("sweep")
    run_command(
        where,
        "-m",
        "hydra/launcher=fused",
        "init.scale=1e-2,1e-4",
        "optimizer.lr=0.1,0.2",
        "trainer.steps=5",
        "figures=false",
        "hydra.sweep.dir=sweep",
    )
    return visitor(stack, context, where / "sweep", 4)


@pytest.fixture(scope="module")
def many(stack: ExitStack, context: Any, tmp_path_factory: pytest.TempPathFactory) -> Visitor:
    """A folder of 35 plain runs, and a sweep of 60 jobs, of 3 combinations."""
    where = tmp_path_factory.mktemp("many")
    short = ("trainer.steps=8", "figures=false")
    for seed in range(35):
        run_command(where, *short, f"seed={seed}", f"hydra.run.dir=outputs/run/{seed}")
    run_command(
        where,
        "-m",
        "hydra/launcher=fused",
        *short,
        "seed=range(20)",
        "init.scale=1e-2,1e-4,0.1",
        "hydra.sweep.dir=outputs/sweep/one",
    )
    return visitor(stack, context, where / "outputs", 35 + 3)


@pytest.fixture(autouse=True)
def _nothing_goes_wrong(
    one: Visitor, batch: Visitor, sweep: Visitor, many: Visitor
) -> Iterator[None]:
    yield
    assert [*one.errors, *batch.errors, *sweep.errors, *many.errors] == []


def titles(page: Any, kind: str) -> list[str]:
    """Of the charts of the page CUSTOM SCALARS, once each has its axes."""
    card = CHART.format(kind)
    page.wait_for_selector(f"{card} svg")
    texts = page.locator(f"{card} tf-card-heading .heading-label").all_inner_texts()
    return [text.strip() for text in texts]


# --- Time series ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("group", "titles"),
    [
        ("^angle", ["angle/between/1-2", "angle/to_target/1", "angle/to_target/2"]),
        (
            "norm",
            [
                *(f"norm/{layer}/{i}" for layer in "vw" for i in (1, 2)),
                "predicted/norm/v/1",
                "predicted/norm/v/2",
            ],
        ),
    ],
)
def test_cards_show_measured_and_predicted(one: Visitor, group: str, titles: list[str]) -> None:
    page = one.open(f"?smoothing=0&tagFilter={group}/#timeseries")
    cards = page.locator("scalar-card")
    expect(cards).to_have_count(len(titles))
    assert [x.get_attribute("title") for x in page.locator("scalar-card .tag").all()] == titles
    for place in range(len(titles)):
        expect(cards.nth(place).locator("canvas")).to_be_visible()
        table = cards.nth(place).locator("tb-data-table")
        expect(table).to_contain_text("tensorboard")
        expect(table.locator("tb-data-table-content-row")).to_have_count(1)


def test_a_card_says_what_it_shows(one: Visitor) -> None:
    page = one.open("#scalars")
    buttons = page.get_by_title("Show summary description")
    expect(buttons.first).to_be_visible()
    buttons.first.click()
    expect(page.locator("#descriptionDialog").first).to_contain_text(TAGS["angle/between/<i>-<j>"])


# --- Custom scalars ---------------------------------------------------------------------------


def test_charts_have_lines(one: Visitor) -> None:
    page = one.open("#custom_scalars")
    charts = CORE.charts(width=2)
    assert titles(page, "multi-line") == [chart.title for chart in charts]
    assert titles(page, "multi-line")[:6] == [
        "loss and its two parts",
        "log10 of the loss",
        "lengths |w_i| and |v_i|",
        "angles to the targets (radians)",
        "angles between neurons (radians)",
        "imbalance |w_i|² - |v_i|²",
    ]
    categories = [*dict.fromkeys(chart.category for chart in charts)]
    assert categories[:2] == ["Loss", "Neurons"]
    expect(page.locator(".category-name")).to_have_text(categories)
    cards = page.locator(CHART.format("multi-line"))
    for place, matches in enumerate([3, 2, 6, 4, 1, 2]):
        expect(cards.nth(place)).to_contain_text(f"Matches ({matches})")
        line = cards.nth(place).locator("path.line[stroke-width='2px']").first
        expect(line).to_have_attribute("d", re.compile(r"^M[\d.,-]+L"))


def test_an_ensemble_is_drawn_as_bands(batch: Visitor) -> None:
    page = batch.open("#custom_scalars")
    assert titles(page, "margin") == [*CORE.bands()]
    assert titles(page, "margin")[:6] == [
        "log10 of the loss",
        "smallest |w_i|",
        "smallest |v_i|",
        "largest angle to a target",
        "largest angle between neurons",
        "largest imbalance",
    ]
    for card in page.locator(CHART.format("margin")).all():
        expect(card).to_contain_text("Matches (1)")
        expect(card.locator("path.area")).to_have_attribute("d", re.compile(r"^M[\d.,-]+L"))


def test_single_replicas_have_charts_that_open(batch: Visitor) -> None:
    """With what was predicted of each."""
    page = batch.open("#custom_scalars")
    expect(page.locator(".category-name")).to_have_text(
        ["Ensemble: median, 10% and 90%", *(f"Replica of seed_{seed}" for seed in range(4))]
    )
    page.get_by_text("Replica of seed_2").click()
    cards = page.locator(CHART.format("multi-line"))  # after that of the fractions
    for place, matches in enumerate([3, 2, 9, 6, 3, 3], 1):
        expect(cards.nth(place)).to_contain_text(f"Matches ({matches})")
        line = cards.nth(place).locator("path.line[stroke-width='2px']").first
        expect(line).to_have_attribute("d", re.compile(r"^M[\d.,-]+L"))


# --- Many runs --------------------------------------------------------------------------------


def test_of_many_runs_the_curves_are_seen(many: Visitor) -> None:
    page = many.open("?smoothing=0&tagFilter=^loss/log10#timeseries")
    single, *bands = [page.locator("scalar-card").nth(place) for place in range(4)]
    expect(single.locator("tb-data-table-content-row")).to_have_count(35)
    for band in bands:
        expect(band.locator("tb-data-table-content-row")).to_have_count(3)
    page = many.open("#scalars")
    line = page.locator("tf-scalar-card path.line[stroke-width='2px']").nth(34)
    expect(line).to_have_attribute("d", re.compile(r"^M[\d.,-]+L"))


def test_of_many_runs_charts_have_lines_and_bands(many: Visitor) -> None:
    """Runs are ticked: TensorBoard has found fewer than it selects."""
    page = many.open("#custom_scalars")
    card = page.locator(CHART.format("multi-line")).first
    line = card.locator("path.line[stroke-width='2px']").first
    expect(line).to_have_attribute("d", re.compile("^M.+L"))
    band = page.locator(CHART.format("margin")).first
    expect(band).to_contain_text("Matches (3)")
    expect(band.locator("path.area")).to_have_count(3)


@pytest.mark.parametrize("count", [SELECTED, SELECTED + 1])
def test_of_more_runs_a_button_shows_them(
    stack: ExitStack, context: Any, tmp_path: Path, count: int
) -> None:
    """Where, and by which button, a command says as it ends."""
    for run in range(count):
        with closing(EventFile(tmp_path / str(run))) as file:
            file.add_scalars(0, [("loss/total", 1.0)])
            file.add_scalars(1, [("loss/total", 0.5)])
    page = visitor(stack, context, tmp_path, count).open("#scalars")
    button = page.locator("tf-runs-selector paper-button")
    expect(button).to_have_text(re.compile("toggle all runs", re.IGNORECASE))
    assert "TOGGLE ALL RUNS" in HINT
    lines = page.locator("tf-scalar-card path.line[stroke-width='2px']")
    boxes = page.locator("tf-runs-selector paper-checkbox[aria-checked=true]")
    if count > SELECTED:
        expect(page.locator("tf-scalar-card svg").first).to_be_visible()
        expect(boxes).to_have_count(0)
        expect(lines).to_have_count(0)
        button.click()
    expect(boxes).to_have_count(count)
    expect(lines.nth(count - 1)).to_have_attribute("d", re.compile("^M.+L"))


# --- HPARAMS ----------------------------------------------------------------------------------


def table(page: Any, keys: Sequence[str], last: str) -> list[dict[str, str]]:
    """The rows of the table, whose columns are keys, then results up to the last one."""
    grid = page.locator("tf-hparams-table-view vaadin-grid")
    expect(grid).to_be_visible()
    page.wait_for_function("grid => grid.innerText.includes('0.0001')", arg=grid.element_handle())
    words = [word.strip() for word in grid.inner_text().splitlines() if word.strip()]
    header = words[: words.index(last) + 1]
    assert header[: len(keys) + 2] == ["Trial ID", "Show Metrics", *keys]
    header.remove("Show Metrics")  # a box to tick
    cells = iter(words[len(header) + 1 :])
    return [dict(zip(header, row, strict=True)) for row in zip(*[cells] * len(header), strict=True)]


def test_a_run_shows_its_values_and_results(one: Visitor, fig3: Finished) -> None:
    keys = ["experiment", "init.scale", "model.width", "optimizer.lr", "seed"]
    (row,) = table(one.open("#hparams"), keys, "loss")
    assert [row[key] for key in keys] == ["fig3", "0.00010000", "2.0000", "0.10000", "0"]
    for name in ("T_align", "T_growth", "T_converged"):
        assert float(row[name]) == fig3.summary["median"][name]
    assert float(row["loss"]) == pytest.approx(fig3.summary["median"]["loss"], rel=1e-3)


def test_a_sweep_shows_what_was_swept(sweep: Visitor) -> None:
    keys = ["init.scale", "optimizer.lr"]
    rows = table(sweep.open("#hparams"), keys, "diverged_fraction")
    swept = sorted(tuple(float(row[key]) for key in keys) for row in rows)
    assert swept == [(1e-4, 0.1), (1e-4, 0.2), (1e-2, 0.1), (1e-2, 0.2)]


# --- Pictures and texts -----------------------------------------------------------------------


def test_the_picture_is_seen(one: Visitor) -> None:
    page = one.open("#images")
    image = page.locator("tf-image-loader img")
    expect(image).to_be_visible()
    page.wait_for_function(
        "image => image.complete && image.naturalWidth > 500", arg=image.element_handle()
    )
    expect(page.locator("tf-image-loader")).to_contain_text("figure/phases")


def test_texts_are_seen(one: Visitor) -> None:
    page = one.open("#text")
    cards = page.locator("tf-text-loader")
    expect(cards).to_have_count(3)
    expect(cards.nth(0)).to_contain_text("k = 2 hidden neurons, 1 replica.")
    expect(cards.nth(1).locator("code")).to_contain_text("name: xavier_normal\n  scale: 0.0001")
    expect(cards.nth(2).locator("table")).to_contain_text("torch")
