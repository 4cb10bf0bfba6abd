"""The rooms of the house, in the order data flows: an import points only to a room above."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "reludyn"

# in the order of design.md, with the small rooms that everyone uses on top
ROOMS = [
    "errors", "start", "commands", "signals", "surroundings", "statistics", "launch", "compiler",
    "settings", "differences", "combinations", "files", "arrays", "memory", "randomness",
    "notation", "activation", "kernels", "compensated", "teacher", "student", "initialization",
    "data", "risk", "optim", "order_parameters", "pairing", "theory", "phases", "training",
    "recording", "runs", "figures", "cost", "objective", "assembly", "survey", "stability",
    "resume", "live", "desk", "record", "experiment", "launchers", "config", "messages",
    "arguments", "config_files", "allowed", "sweep", "api", "benchmark", "paper", "redraw", "help",
    "reference", "torchrun", "cli", "__main__",
]  # fmt: skip
SCIENCE = ROOMS[: ROOMS.index("training")]
INSTRUMENTS = {"hydra", "omegaconf", "tensorboard", "matplotlib", "rich"}


def name_of(path: Path) -> str:
    """reludyn/risk/__init__.py -> reludyn.risk, reludyn/cli.py -> reludyn.cli."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports(module: str) -> Iterator[str]:
    """Every module that a file imports, also inside functions and for type checking only."""
    for node in ast.walk(ast.parse(FILES[module].read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in FILES else str(node.module)


def room(module: str) -> str:
    return module.split(".")[1]


MODULES = [module for module in FILES if module != "reludyn"]
OURS = {m: {name for name in imports(m) if name.startswith("reludyn.")} for m in MODULES}
OTHERS = {m: {name.split(".")[0] for name in imports(m)} for m in MODULES}


def test_every_file_has_its_room() -> None:
    assert {room(module) for module in MODULES} <= set(ROOMS)


@pytest.mark.parametrize("module", MODULES)
def test_an_import_points_to_a_room_above(module: str) -> None:
    above = ROOMS[: ROOMS.index(room(module)) + 1]
    assert {name for name in OURS[module] if room(name) not in above} == set()


def test_no_import_goes_round_in_a_circle() -> None:
    TopologicalSorter(OURS).prepare()  # raises CycleError with the circle


@pytest.mark.parametrize("module", [module for module in MODULES if room(module) in SCIENCE])
def test_science_knows_no_instruments(module: str) -> None:
    assert OTHERS[module] & INSTRUMENTS == set()


@pytest.mark.parametrize("module", [module for module in MODULES if room(module) == "figures"])
def test_figures_never_train(module: str) -> None:
    assert {room(name) for name in OURS[module]} & {"training", "experiment", "risk"} == set()
    assert "torch" not in OTHERS[module]


def test_the_package_itself_imports_nothing() -> None:
    """Before something of it is used: what type checkers read does not count."""
    now = "import sys, reludyn; print(*(n for n in sys.modules if n.startswith('reludyn')))"
    out = subprocess.run([sys.executable, "-c", now], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["reludyn"]


def test_what_ends_a_sweep_needs_no_torch() -> None:
    """A process that only waits for jobs ends at once."""
    rooms = "import sys, reludyn.sweep.results, reludyn.sweep.board, reludyn.figures"
    code = f"{rooms}; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["False"]


@pytest.mark.parametrize("module", FILES)
def test_no_file_is_longer_than_400_lines(module: str) -> None:
    assert len(FILES[module].read_text().splitlines()) <= 400
