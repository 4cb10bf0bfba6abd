"""The floors of the house: an import points to a package on a lower floor, or stays in its own."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "reludyn"
FLOORS = [
    {"system", "numerics"},
    {"config", "network"},
    {"data", "dynamics", "optim", "runs"},
    {"risk", "figures"},
    {"training", "theory", "paper"},
    {"recording"},
    {"experiment"},
    {"sweep", "api", "cli"},
    {"__main__"},
]
SCIENCE = {"network", "numerics", "data", "dynamics", "risk", "optim", "theory"}
INSTRUMENTS = {"hydra", "omegaconf", "tensorboard", "matplotlib", "rich"}
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


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


def test_the_root_holds_the_public_face_alone() -> None:
    assert {path.stem for path in PACKAGE.glob("*.py")} == {"__init__", "__main__", "api", "cli"}
    assert {room(module) for module in MODULES} == set(FLOOR)


def test_an_import_points_to_a_lower_floor() -> None:
    wrong = {
        (module, name)
        for module in MODULES
        for name in OURS[module]
        if room(name) != room(module) and FLOOR[room(name)] >= FLOOR[room(module)]
    }
    assert wrong == set()


def test_no_import_goes_round_in_a_circle() -> None:
    TopologicalSorter(OURS).prepare()  # raises CycleError with the circle


def test_science_knows_neither_config_nor_instruments() -> None:
    for module in MODULES:
        if room(module) in SCIENCE:
            assert OTHERS[module] & INSTRUMENTS == set(), module
            assert "config" not in {room(name) for name in OURS[module]}, module


def test_figures_never_train() -> None:
    for module in MODULES:
        if room(module) == "figures":
            assert "torch" not in OTHERS[module], module


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


def test_no_file_is_longer_than_400_lines() -> None:
    long = {module for module, path in FILES.items() if len(path.read_text().splitlines()) > 400}
    assert long == set()
