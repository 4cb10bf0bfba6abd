"""Run all commands and lines of docs/gallery.md, and keep the pictures beside it."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[1] / "docs" / "gallery.md"
Step = tuple[str, str]  # "bash" or "python", and the lines


def steps() -> Iterator[Step]:
    """Yield the blocks of the page."""
    yield from re.findall(r"```(bash|python)\n(.*?)```", PAGE.read_text(), re.DOTALL)


def play() -> None:
    """Perform all steps in the current folder."""
    names: dict[str, Any] = {}
    for kind, lines in steps():
        print(lines, end="", flush=True)
        if kind == "python":
            exec(lines, names)
            continue
        command, *words = shlex.split(lines)
        beside = str(Path(sys.executable).with_name(command))
        subprocess.run([beside, *words], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        play()
        shutil.rmtree(PAGE.with_suffix(""), ignore_errors=True)
        PAGE.with_suffix("").mkdir()
        for picture in [*Path().glob("*.png"), *Path().glob("*.gif")]:
            shutil.copy(picture, PAGE.with_suffix(""))
        os.chdir(PAGE.parent)
