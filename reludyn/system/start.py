"""Preparations of a process before it imports anything that a file of the user's could replace.

Only modules that Python itself has loaded are used here.
"""

import os
import sys
from collections.abc import Iterator

# packages that every command needs, or the processes of its launchers
NEEDED = (
    "antlr4",
    "cloudpickle",
    "hydra",
    "hydra_plugins",
    "joblib",
    "matplotlib",
    "numpy",
    "omegaconf",
    "packaging",
    "ray",
    "rich",
    "submitit",
    "tensorboard",
    "torch",
    "yaml",
)


def open_streams() -> None:
    """Open standard streams that are closed (`reludyn >&-`) to nowhere.

    Otherwise the next files that are opened would take their numbers, and receive what is printed.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(null, True)  # workers inherit it, too
            setattr(sys, name, os.fdopen(null, mode, encoding="utf-8"))


def refuse_shadows() -> None:
    """End `python -m reludyn` in a folder with a file that would be imported for a module."""
    for file in () if getattr(sys.flags, "safe_path", False) else shadows():
        print(
            f"reludyn: error: ./{file}: has the name of a module that reludyn needs, and would be "
            "imported instead. Rename it, or start `reludyn` without `python -m`",
            file=sys.stderr,
        )
        sys.exit(2)


def shadows() -> Iterator[str]:
    """Yield the files in the working folder that Python would import in place of needed modules."""
    names = {*sys.stdlib_module_names, *NEEDED}
    for path in sorted(os.listdir()):
        package = os.path.isfile(os.path.join(path, "__init__.py"))
        name = path if package else path.removesuffix(".py")
        if name in names and (package or (path.endswith(".py") and os.path.isfile(path))):
            yield path
