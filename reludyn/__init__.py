"""reludyn: training dynamics of ReLU networks whose two layers learn a linear model jointly.

    run = reludyn.train("init.scale=1e-3", "replicas=100")
    prediction = reludyn.predict(run.initial, run.A, lr=0.1, tolerance=1e-4, steps=3000)
    print(prediction.T_converged.numpy() - run.replicas["T_converged"])

Nothing is imported before it is used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str
    from reludyn import figures as figures
    from reludyn.api import train as train
    from reludyn.dynamics.pairing import pair_neurons as pair_neurons
    from reludyn.network.activation import LeakyReLU as LeakyReLU
    from reludyn.network.student import ReLUStudent as ReLUStudent
    from reludyn.risk import PopulationRisk as PopulationRisk
    from reludyn.runs.load import Run as Run
    from reludyn.runs.load import Sweep as Sweep
    from reludyn.runs.load import latest as latest
    from reludyn.runs.load import load_run as load_run
    from reludyn.runs.load import load_sweep as load_sweep
    from reludyn.runs.table import Table as Table
    from reludyn.theory.landscape import loss_on_line as loss_on_line
    from reludyn.theory.landscape import loss_on_plane as loss_on_plane
    from reludyn.theory.predictions import effective_sign as effective_sign
    from reludyn.theory.predictions import forecast as forecast
    from reludyn.theory.predictions import predict as predict
    from reludyn.theory.spectrum import spectrum as spectrum
    from reludyn.theory.stationary import find_stationary as find_stationary
    from reludyn.theory.stationary import identify as identify

_WHERE = {
    "LeakyReLU": "network.activation",
    "Run": "runs.load",
    "Sweep": "runs.load",
    "Table": "runs.table",
    "latest": "runs.load",
    "load_run": "runs.load",
    "load_sweep": "runs.load",
    "train": "api",
    "pair_neurons": "dynamics.pairing",
    "PopulationRisk": "risk",
    "ReLUStudent": "network.student",
    "loss_on_line": "theory.landscape",
    "loss_on_plane": "theory.landscape",
    "effective_sign": "theory.predictions",
    "forecast": "theory.predictions",
    "predict": "theory.predictions",
    "spectrum": "theory.spectrum",
    "find_stationary": "theory.stationary",
    "identify": "theory.stationary",
}
__all__ = ["__version__", "figures", *_WHERE]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name == "__version__":
        return import_module("importlib.metadata").version("reludyn")
    if name == "figures":
        return import_module("reludyn.figures")
    if name not in _WHERE:
        raise AttributeError(f"module 'reludyn' has no attribute {name!r}")
    return getattr(import_module(f"reludyn.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
