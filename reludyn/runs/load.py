"""Finished runs and sweeps, read from their files: typed objects of NumPy arrays."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Container, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from reludyn.runs.table import Array, Table, pandas_module, whole
from reludyn.system.arrays import read_npz

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from reludyn.network.student import ReLUStudent

Layers = tuple[Array, Array]  # W (R, k, d), V (R, r, k)
NO_CURVES = {  # arrays that are no curve of each replica, or more than a table can hold
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
NEEDED = {  # in trajectory.npz
    "step",
    "time",
    "loss",
    "loss_linear",
    "loss_rectification",
    "w_norm",
    "v_norm",
    "imbalance",
    "angle_to_target",
    "A",
    "W",
    "V",
    "thinned",
}
DONE, SUMMARY = "DONE", "sweep_summary.csv"
ASKED = {  # what a run leaves only where it is asked to
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
    """A run: T looks at R replicas of k neurons, d inputs, r outputs.

    The arrays of trajectory.npz are attributes too: `step` (T,) iterations; `time` (T,) = mu step;
    `loss`, `loss_linear`, `loss_rectification` (T, R); `w_norm`, `v_norm`, `imbalance`,
    `angle_to_target` (T, R, k) and `angle_between` (T, R, k, k), angles in radians; `W`
    (T, R', k, d), `V` (T, R', r, k) of the R' replicas whose weights were kept; and what else was
    recorded. A replica that has stopped keeps its last values.
    """

    arrays: Mapping[str, Array]
    replicas: Table  # the columns of replicas.csv, (R,) each
    summary: Mapping[str, Any]  # summary.json
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
        """Initial weights, float64: of all replicas of a run in memory, of those whose weights were
        kept of one that was loaded."""
        return self._student(0)

    @cached_property
    def final(self) -> ReLUStudent:
        """Final weights, likewise."""
        return self._student(-1)

    @cached_property
    def A(self) -> Tensor:
        """The target (r, d)."""
        import torch

        return torch.from_numpy(self.arrays["A"])

    def table(self, name: str) -> Table:
        """Another table of its folder, such as `stability.csv`."""
        return Table.read(self.file(name))

    def npz(self, name: str) -> dict[str, Array]:
        """Another file of arrays of its folder, such as `plane.npz`."""
        return arrays_of(self.file(name))

    def file(self, name: str) -> Path:
        """The path of a file that it left. Raises FileNotFoundError where there is none."""
        if self.folder is None or not (self.folder / name).exists():
            asked = f": {ASKED[name]} leaves it" if name in ASKED else ""
            raise FileNotFoundError(f"{name}: {self!r} has no such file{asked}")
        return self.folder / name

    def to_pandas(self) -> pd.DataFrame:
        """One row for each look and replica, with the index (step, replica); a column for each
        neuron, w_norm_1, angle_between_1_2, ... Raises ImportError without pandas."""
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
    """One run of a sweep, without its trajectory."""

    folder: Path
    config: Mapping[str, Any]

    @cached_property
    def replicas(self) -> Table:
        """The columns of replicas.csv, (R,) each."""
        return Table.read(self.folder / "replicas.csv")

    def load(self) -> Run:
        """With its trajectory."""
        return load_run(self.folder)


@dataclass(frozen=True)
class Sweep:
    """A sweep: swept keys; a row a replica of all its jobs (sweep.csv: the job's folder, the values
    of the keys, the columns of replicas.csv); a row a combination of the keys but seed
    (sweep_summary.csv: fractions with 95% Wilson intervals, medians, 10% and 90% quantiles)."""

    folder: Path

    @cached_property
    def replicas(self) -> Table:
        return Table.read(self.folder / "sweep.csv")

    @cached_property
    def summary(self) -> Table:
        return Table.read(self.folder / SUMMARY)

    @property
    def keys(self) -> list[str]:
        """What was swept, apart from the seed."""
        names = list(self.summary)
        return names[: names.index("jobs")]

    @cached_property
    def jobs(self) -> list[Job]:
        """The runs that came to their end, in the order of their folders."""
        folders = sorted(done.parent for done in self.folder.rglob(DONE))
        return [Job(folder, config_of(folder)) for folder in folders]

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"a sweep has no {name}; its runs are sweep.jobs[0].load() and so on")

    def __repr__(self) -> str:
        return f"Sweep over {', '.join(self.keys) or 'seed'}: {self.folder}"

    def to_pandas(self) -> pd.DataFrame:
        """A row a replica. Raises ImportError without pandas."""
        return self.replicas.to_pandas()


def load_run(folder: str | Path, unfinished: bool = False) -> Run:
    """The run in a folder. Raises FileNotFoundError for one that did not come to its end, unless
    `unfinished`: then what it had written is read. Raises ValueError where a file is damaged."""
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
    summary = _summary(written) if written.exists() or not unfinished else {}
    replicas, path = Table.read(folder / "replicas.csv"), folder / "trajectory.npz"
    _check_looks(path, arrays := arrays_of(path), replicas.rows)
    return Run(arrays, replicas, summary, config_of(folder), folder)


def load_sweep(folder: str | Path) -> Sweep:
    """The sweep in a folder. Raises FileNotFoundError where no job of one came to its end."""
    folder = _existing(folder)
    if not (folder / SUMMARY).is_file():
        hint = ": load_run reads it" if (folder / "trajectory.npz").is_file() else ""
        raise FileNotFoundError(f"{folder} is not the folder of a sweep (no {SUMMARY}){hint}")
    return Sweep(folder)


def latest(folder: str | Path = "outputs") -> Path:
    """The folder of the run or sweep below a folder that came to its end last: for a sweep, the
    sweep's own folder. Raises FileNotFoundError where there is none."""
    ends = [end for name in (DONE, SUMMARY) for end in _existing(folder).rglob(name)]
    if not ends:
        raise FileNotFoundError(f"{folder}: no run below it has come to its end")
    return max(ends, key=lambda end: end.stat().st_mtime_ns).parent


def _existing(folder: str | Path) -> Path:
    path = Path(folder)
    if not path.is_dir():  # one that is called so comes before a home folder
        path = Path(os.path.expanduser(path))
    if not path.is_dir():
        raise FileNotFoundError(f"there is no folder {path}")
    return path


def _summary(path: Path) -> dict[str, Any]:
    with whole(path):
        summary = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(summary, dict):
            raise ValueError("it is no object of JSON")
        return summary


def arrays_of(path: Path, names: Container[str] | None = None) -> dict[str, Array]:
    """Return the arrays of an .npz file, all or those of these names that it has. Raises ValueError
    where it is damaged: each member has a checksum."""
    with whole(path):
        return read_npz(path, names).arrays


def _check_looks(path: Path, arrays: Mapping[str, Array], replicas: int) -> None:
    """Raise ValueError where arrays of a trajectory are not there, or not of the same looks and
    replicas."""
    with whole(path):
        missing = NEEDED - arrays.keys()
        if missing:
            raise ValueError(f"it lacks {', '.join(sorted(missing))}")
        (T,), (r, _) = arrays["step"].shape, arrays["A"].shape
        _, kept, k, d = arrays["W"].shape
        some = arrays["w_norm"].shape[1:2]
        shapes = {
            "time": (T,),
            "loss": (T, replicas),
            "loss_linear": (T, replicas),
            "loss_rectification": (T, replicas),
            "w_norm": (T, *some, k),
            "v_norm": (T, *some, k),
            "imbalance": (T, *some, k),
            "angle_to_target": (T, *some, k),
            "A": (r, d),
            "W": (T, kept, k, d),
            "V": (T, kept, r, k),
            "thinned": (),
        }
        wrong = [name for name, shape in shapes.items() if arrays[name].shape != shape]
        wrong += [name for name, x in arrays.items() if x.dtype.kind not in "Ufiub"]
        if wrong or not T:
            raise ValueError(f"{[*wrong, 'step'][0]} is not what a run has there")


def config_of(folder: Path) -> dict[str, Any]:
    """The config of the run in a folder. Raises ValueError where the file is damaged: Hydra's
    writing of it may have been interrupted."""
    path = folder / ".hydra" / "config.yaml"
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError):
        config = None
    if not isinstance(config, dict) or "figures" not in config:  # one of the last
        raise ValueError(f"{path} is damaged: going on with the run writes it anew")
    return config
