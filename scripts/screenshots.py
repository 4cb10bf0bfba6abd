"""Take the pictures of TensorBoard in docs/ anew: docs/tensorboard_*.png.

Runs a run, a batch and a sweep, and opens the pages in Chromium (`make screenshots`).
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

from tests.support.browser import WIDTH, pages, tensorboard

ROOT = Path(__file__).resolve().parents[1]

RUNS = {
    "outputs/fig3": ["experiment=fig3"],
    "outputs/large": ["init.scale=1", "figures=false"],  # where theory is off
    "outputs/batch": ["replicas=100", "init.signs=random", "trainer.steps=600", "figures=false"],
    "outputs/scales": [
        "-m",
        "hydra/launcher=fused",
        "init.scale=1e-1,1e-4,1e-8",
        "replicas=100",
        "init.signs=random",
        "trainer.steps=600",
        "figures=false",
    ],
    "outputs/sweep": [
        "-m",
        "hydra/launcher=fused",
        "init.scale=1e-2,1e-4,1e-8",
        "model.width=2,3,4",
        "optimizer.lr=0.1,0.2",
        "replicas=50",
        "init.signs=random",
        "figures=false",
    ],
}


def wait_for(page: Any, selector: str, count: int) -> None:
    """Wait until so many elements are there and animations have ended."""
    page.locator(selector).nth(count - 1).wait_for(state="attached")
    page.wait_for_timeout(3000)


def time_series(page: Any, address: str) -> None:
    page.goto(f"{address}?smoothing=0#timeseries")
    wait_for(page, "scalar-card canvas", 3)
    page.get_by_text("Ignore outliers in chart scaling").click()
    page.get_by_role("button", name="Toggle settings side pane").click()
    page.wait_for_timeout(2000)


def custom_scalars(page: Any, address: str) -> None:
    page.goto(f"{address}#custom_scalars&_smoothingWeight=0")
    wait_for(page, "path.line", 6)
    page.get_by_text("Ignore outliers in chart scaling").click()
    page.wait_for_timeout(2000)


def hparams(page: Any, address: str) -> None:
    page.goto(f"{address}#hparams")
    wait_for(page, "vaadin-grid-cell-content", 20)
    page.get_by_text("PARALLEL COORDINATES VIEW").click()
    page.locator("paper-checkbox").get_by_text("loss", exact=True).click()
    page.get_by_text("Logarithmic").first.click()
    page.get_by_text("Metrics", exact=True).evaluate("title => title.scrollIntoView()")
    page.wait_for_timeout(2000)


def main() -> None:
    with tempfile.TemporaryDirectory() as where, pages() as context:
        os.chdir(where)
        for folder, words in RUNS.items():
            key = "hydra.sweep.dir" if "-m" in words else "hydra.run.dir"
            command = [sys.executable, "-m", "reludyn", *words, f"{key}={folder}"]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        for picture, height, folder, runs, open_page in [
            ("scalars", 1090, "outputs/fig3", 1, time_series),
            ("custom", 1130, "outputs/large", 1, custom_scalars),
            ("bands", 1170, "outputs/batch", 1, custom_scalars),
            ("sweep", 1010, "outputs/scales/tensorboard", 3, custom_scalars),
            ("hparams", 720, "outputs/sweep/tensorboard", 18, hparams),
        ]:
            page = context.new_page()
            page.set_viewport_size({"width": WIDTH, "height": height})
            with tensorboard(Path(folder), runs) as address:
                open_page(page, address)
                shot = Image.open(io.BytesIO(page.screenshot()))
            page.close()
            path = ROOT / "docs" / f"tensorboard_{picture}.png"
            shot.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
            print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
