"""A long run, observed from outside: memory, files and speed against iterations.

    python scripts/long_run.py [--steps 2000000] [--replicas 1000] [--folder outputs/long_run]

Draws docs/long_run.png and prints the numbers. Linux only: memory is read from /proc.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np

os.environ["MPLBACKEND"] = "agg"  # a notebook may have left another backend there
from matplotlib.figure import Figure

EVERY = 1.0  # seconds between two samples
LINE = re.compile(r"\[([\d-]+ [\d:]+),(\d+)\].* step ([\d,]+)/")
PICTURE = Path(__file__).parents[1] / "docs" / "long_run.png"


def watch(folder: Path, words: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return memory and files, and progress, of a run over time in seconds.

    They are (time, resident bytes, bytes of files) for each sample, and (time, iteration) for each
    line of the log.
    """
    command = [sys.executable, "-m", "reludyn", *words, f"hydra.run.dir={folder}"]
    samples = []
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as running:
        while running.poll() is None:
            with suppress(FileNotFoundError):  # a temporary file has its name by now
                status = Path(f"/proc/{running.pid}/status").read_text()
                resident = re.search(r"VmRSS:\s+(\d+)", status)
                files = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
                if resident:
                    samples.append((time.time(), 1024 * int(resident[1]), files))
            time.sleep(EVERY)
    if running.returncode:
        sys.exit(f"the run ended with code {running.returncode}")
    lines = LINE.findall((folder / "reludyn.log").read_text())
    steps = [
        (
            time.mktime(time.strptime(date, "%Y-%m-%d %H:%M:%S")) + int(ms) / 1e3,
            int(step.replace(",", "")),
        )
        for date, ms, step in lines
    ]
    return np.array(samples), np.array(steps)


def draw(samples: np.ndarray, steps: np.ndarray, title: str) -> None:
    """Draw three panels above each other, against millions of iterations."""
    at = np.interp(samples[:, 0], steps[:, 0], steps[:, 1]) / 1e6
    speed = np.diff(steps[:, 1]) / np.diff(steps[:, 0])
    figure = Figure(figsize=(6.4, 6.4), layout="constrained")
    panels = figure.subplots(3, sharex=True)
    for panel, x, y, label in (
        (panels[0], at, samples[:, 1] / 2**20, "resident memory (MiB)"),
        (panels[1], at, samples[:, 2] / 2**20, "files (MiB)"),
        (panels[2], (steps[1:, 1] + steps[:-1, 1]) / 2e6, speed, "iterations per second"),
    ):
        panel.plot(x, y)
        panel.set_ylim(0, 1.15 * y.max())
        panel.set_ylabel(label)
    panels[0].set_title(title)
    panels[-1].set_xlabel("iterations (millions)")
    figure.savefig(PICTURE, dpi=110)


def main() -> None:
    """Run, observe, draw and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=2_000_000)
    parser.add_argument("--replicas", type=int, default=1000)
    parser.add_argument("--folder", type=Path, default=Path("outputs/long_run"))
    given, words = parser.parse_known_args()
    words += [f"trainer.steps={given.steps}", f"replicas={given.replicas}", "trainer.tolerance=0"]
    samples, steps = watch(given.folder, words)
    draw(samples, steps, f"{given.replicas:,} replicas, k = 2, float64")
    for name, x in (("memory", samples[:, 1]), ("files", samples[:, 2])):
        tenth = len(x) // 10
        print(f"{name}: {x[tenth] / 2**20:.1f} MiB after a tenth, {x[-2] / 2**20:.1f} at the end")
    speed = np.diff(steps[:, 1]) / np.diff(steps[:, 0])
    print(f"iterations per second, from the 2nd tenth on: {np.percentile(speed[2:], [5, 50, 95])}")


if __name__ == "__main__":
    main()
