"""Files of samples, and what reading them says."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet
from safetensors.numpy import save_file

from reludyn.data.files import Samples, read_samples
from reludyn.system.errors import ConfigError

RNG = np.random.default_rng(0)


X, A = RNG.standard_normal((12, 4)), RNG.standard_normal((2, 4))


Y = X @ A.T + 0.1


NAMED = {
    ".npz": lambda path, **arrays: np.savez(path, **arrays),
    ".safetensors": lambda path, **arrays: save_file(
        {name: np.ascontiguousarray(a) for name, a in arrays.items()}, path
    ),
}


TABLES = {
    ".npy": lambda path, table, _: np.save(path, table),
    ".csv": lambda path, table, names: np.savetxt(
        path, table, delimiter=",", header=",".join(names), comments="", fmt="%.17g"
    ),
    ".parquet": lambda path, table, names: parquet.write_table(
        pyarrow.table([pyarrow.array(c) for c in table.T], names=names), path
    ),
}


def read(path: Path, outputs: int | None = None, **columns: Any) -> Samples:
    """Read a file of samples."""
    return read_samples(str(path), outputs=outputs, **columns)


def refusal(path: Path, outputs: int | None = None, **columns: Any) -> str:
    """The message for a file of samples; it names the key and, where that is its path, the file."""
    with pytest.raises(ConfigError) as error:
        read(path, outputs, **columns)
    assert error.value.key.startswith("data.")
    assert error.value.key != "data.path" or path.name in str(error.value)
    assert "\n" not in str(error.value)
    return str(error.value)


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()
