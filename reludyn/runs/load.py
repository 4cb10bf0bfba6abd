"""Finished runs and sweeps, read from their files: typed objects of NumPy arrays."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reludyn.runs.read import arrays_of, check_looks, config_of, summary_of
from reludyn.runs.table import Array, Table, pandas_module

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from reludyn.network.student import ReLUStudent

Layers = tuple[Array, Array]  # W (R, k, d), V (R, r, k)
NO_CURVES = {  # arrays that are not curves of each replica, or too large for a table
    "step",
    "time",
    "A",
    "W",
    "V",
    "partner",
    "thinned",
    "predicted_T_direction",
    "eigenvalues",
    "multiplicity",
}
DONE, SUMMARY = "DONE", "sweep_summary.csv"
ASKED = {  # files that a run leaves only with this setting
    "bounds.csv": "theory.bounds=true",
    "stationary_points.csv": "theory.stationary=true",
    "stationary_points.npz": "theory.stationary=true",
    "plane.npz": "theory.plane=targets",
    "stability.csv": "theory.stability=true",
    "margins.npz": "theory.margins=true",
    "reconstructions.npz": "data=digits",
}


@dataclass(frozen=True, eq=False)
class Run:
    """Run with T looks at R replicas of k neurons, d inputs, r outputs.

    The arrays of trajectory.npz are attributes: `step` (T,) in iterations; `time` (T,) = mu step;
    `loss`, `loss_linear`, `loss_rectification` (T, R); `w_norm`, `v_norm`, `imbalance`,
    `angle_to_target` (T, R, k) and `angle_between` (T, R, k, k), angles in radians; `W`
    (T, R', k, d), `V` (T, R', r, k) of the R' replicas whose weights were kept; and all else that
    was recorded. A replica that has stopped keeps its last values.

    Examples:
        >>> import reludyn
        >>> run = reludyn.load_run("outputs/run")
        >>> run
        Run of 3 replicas, 21 looks: outputs/run
        >>> run.w_norm.shape, run.replicas["outcome"].shape
        ((21, 3, 2), (3,))
    """

    arrays: Mapping[str, Array]
    replicas: Table  # the columns of replicas.csv, (R,) each
    summary: Mapping[str, Any]  # content of summary.json
    config: Mapping[str, Any]  # all keys, by group
    folder: Path | None = None  # None: only in memory
    ends: tuple[Layers, Layers] | None = field(default=None, repr=False)  # of all replicas

    def __getattr__(self, name: str) -> Array:
        if name.startswith("_"):
            raise AttributeError(name)
        if name not in self.arrays:
            names = (*(field.name for field in fields(self)), *self.arrays)
            close = difflib.get_close_matches(name, names, n=1)
            known = f"did you mean {close[0]}?" if close else f"a run has {', '.join(names)}"
            raise AttributeError(f"there is no {name}; {known}")
        return self.arrays[name]

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self.arrays})

    def __repr__(self) -> str:
        where = "in memory" if self.folder is None else str(self.folder)
        R, looks = self.replicas.rows, len(self.arrays["step"])
        return f"Run of {R:,} {'replica' if R == 1 else 'replicas'}, {looks} looks: {where}"

    @cached_property
    def initial(self) -> ReLUStudent:
        """Initial weights W (R, k, d), V (R, r, k), float64.

        A run in memory has those of all replicas, a loaded run those of the R' replicas whose
        weights were kept.
        """
        return self._student(0)

    @cached_property
    def final(self) -> ReLUStudent:
        """Final weights, of the same replicas as `initial`."""
        return self._student(-1)

    @cached_property
    def A(self) -> Tensor:
        """Teacher (r, d), float64."""
        import torch

        return torch.from_numpy(self.arrays["A"])

    def table(self, name: str) -> Table:
        """Read another table from the folder of the run, such as `stability.csv`.

        Raises:
            FileNotFoundError: where the run left no such file; the message names the key for it.
        """
        return Table.read(self.file(name))

    def npz(self, name: str) -> dict[str, Array]:
        """Read another file of arrays from the folder of the run, such as `plane.npz`.

        Raises:
            FileNotFoundError: where the run left no such file; the message names the key for it.
        """
        return arrays_of(self.file(name))

    def file(self, name: str) -> Path:
        """Return the path of a file that the run left.

        Raises:
            FileNotFoundError: where there is none; the message names the key that asks for it.
        """
        if self.folder is None or not (self.folder / name).exists():
            asked = f": {ASKED[name]} leaves it" if name in ASKED else ""
            raise FileNotFoundError(f"{name}: {self!r} has no such file{asked}")
        return self.folder / name

    def to_pandas(self) -> pd.DataFrame:
        """Return a DataFrame with one row per look and replica.

        Its index is (step, replica). Quantities of neurons have one column per neuron, such as
        w_norm_1 or angle_between_1_2.

        Raises:
            ImportError: without pandas.
        """
        T, R = self.arrays["w_norm"].shape[:2]
        columns: dict[str, Array] = {"time": self.arrays["time"].repeat(R)}
        for name in self.arrays:
            x = self.arrays[name]
            if name in NO_CURVES or x.shape[1] < R:
                continue
            for place in np.ndindex(x.shape[2:]):
                label = "_".join([name, *(str(i + 1) for i in place)])
                columns[label] = x[:, :R][(..., *place)].reshape(T * R)
        index = pandas_module().MultiIndex.from_product(
            [self.arrays["step"], range(R)], names=["step", "replica"]
        )
        frame: pd.DataFrame = pandas_module().DataFrame(columns, index=index)
        return frame

    def _student(self, look: int) -> ReLUStudent:
        import torch

        from reludyn.network.student import ReLUStudent

        if self.ends is None and self.arrays["W"].shape[1] == 0:
            raise ValueError(f"{self!r} has no weights: trainer.keep_weights was 0")
        kept = self.arrays["W"][look], self.arrays["V"][look]
        W, V = kept if self.ends is None else self.ends[look]
        return ReLUStudent(torch.from_numpy(W).double(), torch.from_numpy(V).double())


@dataclass(frozen=True)
class Job:
    """Run of a sweep, without its trajectory."""

    folder: Path
    config: Mapping[str, Any]

    @cached_property
    def replicas(self) -> Table:
        """Columns of replicas.csv, (R,) each."""
        return Table.read(self.folder / "replicas.csv")

    def load(self) -> Run:
        """Load the run with its trajectory."""
        return load_run(self.folder)


@dataclass(frozen=True)
class Sweep:
    """Sweep over some keys: its jobs, their replicas, and a summary of each combination.

    Examples:
        >>> import reludyn
        >>> sweep = reludyn.load_sweep("outputs/sweep")
        >>> sweep.keys
        ['model.width']
        >>> sweep.replicas["outcome"].shape, sweep.summary["success"].shape
        ((4,), (2,))
    """

    folder: Path

    @cached_property
    def replicas(self) -> Table:
        """Columns of sweep.csv, one row per replica of all jobs.

        They are the job's folder, the values of the swept keys and the columns of replicas.csv.
        """
        return Table.read(self.folder / "sweep.csv")

    @cached_property
    def summary(self) -> Table:
        """Columns of sweep_summary.csv, one row per combination of the keys without the seed.

        They are fractions with 95% Wilson intervals, medians, and 10% and 90% quantiles.
        """
        return Table.read(self.folder / SUMMARY)

    @property
    def keys(self) -> list[str]:
        """Swept keys apart from the seed."""
        names = list(self.summary)
        return names[: names.index("jobs")]

    @cached_property
    def jobs(self) -> list[Job]:
        """Complete runs, in the order of their folders."""
        folders = sorted(done.parent for done in self.folder.rglob(DONE))
        return [Job(folder, config_of(folder)) for folder in folders]

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"a sweep has no {name}; its runs are sweep.jobs[0].load() and so on")

    def __repr__(self) -> str:
        return f"Sweep over {', '.join(self.keys) or 'seed'}: {self.folder}"

    def to_pandas(self) -> pd.DataFrame:
        """Return a DataFrame with one row per replica.

        Raises:
            ImportError: without pandas.
        """
        return self.replicas.to_pandas()


def load_run(folder: str | Path, unfinished: bool = False) -> Run:
    """Load the run in a folder.

    Args:
        folder: folder of the run; `~` is expanded.
        unfinished: also load a run that is not complete, as far as it has been written.

    Returns:
        Run with T looks at R replicas.

    Raises:
        FileNotFoundError: where the folder has no complete run.
        ValueError: where a file is damaged.

    Examples:
        >>> import reludyn
        >>> run = reludyn.load_run("outputs/run")
        >>> run.config["model"]["width"]
        2
    """
    folder = _existing(folder)
    if (folder / SUMMARY).is_file():
        raise FileNotFoundError(f"{folder} is the folder of a sweep: load_sweep reads it")
    if not (unfinished or (folder / DONE).is_file()):
        raise FileNotFoundError(
            f"{folder} is not the folder of a complete run: it has no DONE. unfinished=True reads "
            "what there is"
        )
    if not (folder / "trajectory.npz").is_file():
        raise FileNotFoundError(f"{folder} is not the folder of a run: it has no trajectory.npz")
    written = folder / "summary.json"
    summary = summary_of(written) if written.exists() or not unfinished else {}
    replicas, path = Table.read(folder / "replicas.csv"), folder / "trajectory.npz"
    check_looks(path, arrays := arrays_of(path), replicas.rows)
    return Run(arrays, replicas, summary, config_of(folder), folder)


def load_sweep(folder: str | Path) -> Sweep:
    """Load the sweep in a folder.

    Args:
        folder: folder of the sweep; `~` is expanded.

    Returns:
        Sweep, whose tables and jobs are read when they are used.

    Raises:
        FileNotFoundError: where the folder has no sweep with a complete job.

    Examples:
        >>> import reludyn
        >>> reludyn.load_sweep("outputs/sweep")
        Sweep over model.width: outputs/sweep
    """
    folder = _existing(folder)
    if not (folder / SUMMARY).is_file():
        hint = ": load_run reads it" if (folder / "trajectory.npz").is_file() else ""
        raise FileNotFoundError(f"{folder} is not the folder of a sweep (no {SUMMARY}){hint}")
    return Sweep(folder)


def latest(folder: str | Path = "outputs") -> Path:
    """Return the folder below `folder` whose run or sweep was completed last.

    Args:
        folder: folder to search, by default `outputs`.

    Returns:
        Folder of the run; for a sweep, the sweep's own folder.

    Raises:
        FileNotFoundError: where no run below the folder is complete.

    Examples:
        >>> import reludyn
        >>> reludyn.latest("outputs").name
        'run'
    """
    ends = [end for name in (DONE, SUMMARY) for end in _existing(folder).rglob(name)]
    if not ends:
        raise FileNotFoundError(f"{folder}: no run below it has come to its end")
    return max(ends, key=lambda end: end.stat().st_mtime_ns).parent


def _existing(folder: str | Path) -> Path:
    path = Path(folder)
    if not path.is_dir():  # a folder whose name begins with ~ comes before a home folder
        path = Path(os.path.expanduser(path))
    if not path.is_dir():
        raise FileNotFoundError(f"there is no folder {path}")
    return path
