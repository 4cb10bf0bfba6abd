"""TensorBoard in a real browser: Chromium, driven by Playwright."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
SWITCHES = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WIDTH, HEIGHT = 1480, 900
PATIENCE = 60.0  # seconds


def find_browser() -> str | None:
    """Where a browser is installed."""
    return next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def pages() -> Iterator[Any]:
    """A browser; raises ImportError without Playwright, FileNotFoundError without a browser."""
    from playwright.sync_api import sync_playwright

    if (path := find_browser()) is None:
        raise FileNotFoundError(f"no browser is installed; looked for {', '.join(NAMES)}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(SWITCHES))
        try:
            context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT})
            context.set_default_timeout(1000 * PATIENCE)
            yield context
        finally:
            browser.close()


@contextmanager
def tensorboard(logdir: Path, runs: int) -> Iterator[str]:
    """The address of a TensorBoard that has found so many runs below a folder."""
    command = [
        sys.executable,
        "-m",
        "tensorboard.main",
        "--logdir",
        str(logdir),
        "--host",
        "127.0.0.1",
        "--port",
        "0",
    ]
    with tempfile.TemporaryFile("w+") as log:
        server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            yield _address(server, log, runs)
        finally:
            server.terminate()
            server.wait()


def _address(server: subprocess.Popen[bytes], log: Any, runs: int) -> str:
    said, found, deadline = "", [], time.monotonic() + PATIENCE
    while time.monotonic() < deadline and server.poll() is None:
        time.sleep(0.1)
        log.seek(0)
        said = log.read()
        if match := re.search(r"http://127\.0\.0\.1:\d+/", said):
            with urllib.request.urlopen(f"{match.group()}data/runs", timeout=10) as answer:
                found = json.load(answer)
            if len(found) == runs:
                return match.group()
    raise TimeoutError(f"TensorBoard shows the runs {found}, not {runs} of them:\n{said}")
