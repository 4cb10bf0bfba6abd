"""Pictures of sweeps: each point is a run of many seeds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import yaml

from reludyn.figures.files import Array, Rows, column, table
from reludyn.figures.style import BLACK, BLUE, CYCLE, GREEN, RED, STYLE, new_figure, save
from reludyn.statistics import wilson

SUCCESS = 1e-6  # error of the effective weights below which A is recovered


@dataclass(frozen=True)
class Job:
    """One run of a sweep."""

    config: dict[str, Any]
    rows: Rows

    def events(self, event: Callable[[dict[str, str]], bool]) -> tuple[int, int]:
        """How many replicas there are of which it is true, and how many in all."""
        return sum(map(event, self.rows)), len(self.rows)

    def stuck(self, says: str = "outcome") -> tuple[int, int]:
        """How many are stuck, as a column says, and how many there are."""
        return self.events(lambda row: row[says] == "non_strict_saddle")


def jobs(sweep: Path) -> list[Job]:
    """The runs below a sweep folder that came to their end."""
    found = []
    for done in sorted(sweep.glob("*/DONE")):
        config = yaml.safe_load((done.parent / ".hydra" / "config.yaml").read_text())
        found.append(Job(config, table(done.parent / "replicas.csv")))
    return found


def draw_stuck(sweep: Path) -> list[Path]:
    """Draw the fraction of stuck replicas against the width, with 95% Wilson intervals, 2^(1-k) and
    what both rules of signs say of the same weights; returns the files."""
    of_width = sorted(jobs(sweep), key=lambda job: int(job.config["model"]["width"]))
    k = np.array([job.config["model"]["width"] for job in of_width], dtype=float)
    with mpl.rc_context(STYLE):
        figure = new_figure(5.0, 3.6)
        axes = figure.add_subplot()
        axes.plot(k, 2.0 ** (1 - k), color=BLACK, lw=1, label="$2^{1-k}$")
        for name, label, color, marker in (
            ("outcome", "stuck, measured", BLUE, "o"),
            ("basin_rule", "effective signs agree", GREEN, "x"),
            ("sign_rule", "signs of $v(0)$ agree", RED, "+"),
        ):
            counts = [job.stuck(name) for job in of_width]
            fraction, low, high = np.array([wilson(*count) for count in counts]).T
            shown = fraction > 0
            if name == "outcome":
                axes.errorbar(
                    k[shown], fraction[shown],
                    [(fraction - low)[shown], (high - fraction)[shown]],
                    color=color, marker=marker, ls="none", capsize=3, label=label,
                )  # fmt: skip
            else:
                axes.plot(k[shown], fraction[shown], color=color, marker=marker, ls="none",
                          ms=9, label=label)  # fmt: skip
        axes.set(xlabel="width $k$", ylabel="fraction of seeds", yscale="log")
        axes.legend()
    return save(figure, sweep / "figures", "stuck")


def draw_samples(sweep: Path) -> list[Path]:
    """Draw the fraction of replicas that recover A (error of the effective weights below 1e-6)
    against n/d, a curve a dimension, with 95% Wilson intervals; returns the files."""
    curves: dict[int, list[tuple[float, Job]]] = {}
    for job in jobs(sweep):
        data = job.config["data"]
        d, n = int(data["dim"]), data["samples"]
        curves.setdefault(d, []).append((float(data["ratio"] if n is None else n / d), job))
    with mpl.rc_context(STYLE):
        figure = new_figure(5.0, 3.6)
        axes = figure.add_subplot()
        for color, (d, points) in zip(CYCLE, sorted(curves.items()), strict=False):
            points.sort(key=lambda point: point[0])
            counts = [job.events(recovered) for _, job in points]
            fraction, low, high = np.array([wilson(*count) for count in counts]).T
            ratio = [x for x, _ in points]
            axes.plot(ratio, fraction, color=color, marker="o", ms=3, label=f"$d = {d}$")
            axes.fill_between(ratio, low, high, color=color, alpha=0.15, lw=0)
        axes.set(xlabel="samples per input, $n/d$", ylabel="fraction of seeds that recover $a$",
                 ylim=(-0.03, 1.03))  # fmt: skip
        axes.legend()
    return save(figure, sweep / "figures", "samples")


def recovered(row: dict[str, str]) -> bool:
    """Whether a replica learned A itself."""
    return bool(row["effective_weight_error"]) and float(row["effective_weight_error"]) < SUCCESS


def draw_burn_in(sweep: Path) -> list[Path]:
    """Draw the time t = mu T of alignment and of growth against ln(1/sigma), a colour a step size,
    of the replicas that come to a minimum; returns the files."""
    of_size = sorted(jobs(sweep), key=lambda job: float(job.config["optimizer"]["lr"]))
    with mpl.rc_context(STYLE):
        figure = new_figure(7.2, 3.4)
        panels = figure.subplots(1, 2)
        for color, job in zip(CYCLE, of_size, strict=False):
            mu = float(job.config["optimizer"]["lr"])
            x, align, growth = burn_in(job.rows)
            for axes, times in zip(panels, (align, growth), strict=True):
                axes.plot(x, mu * times, color=color, marker=".", ms=4, ls="none",
                          label=f"$\\mu = {mu:g}$")  # fmt: skip
        for axes, label in zip(panels, ("$\\mu T_1$", "$\\mu (T_2 - T_1)$"), strict=True):
            axes.set(xlabel="$\\ln(1/\\sigma)$", ylabel=label)
            axes.set_ylim(0, None)
        panels[0].set_title("alignment")
        panels[1].set_title("growth")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center",
                      ncols=len(of_size), markerscale=2)  # fmt: skip
    return save(figure, sweep / "figures", "burn_in")


def burn_in(rows: Rows) -> tuple[Array, Array, Array]:
    """ln(1/sigma), T_align and T_growth - T_align of the replicas that come to a minimum."""
    reached = np.array([row["outcome"] == "global_minimum" for row in rows])
    scale, align, growth = (column(rows, n) for n in ("init_scale", "T_align", "T_growth"))
    return -np.log(scale[reached]), align[reached], (growth - align)[reached]
