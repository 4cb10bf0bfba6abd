"""What README.md, CONTRIBUTING.md and the pages of docs/ tell the reader to type."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
PAGES = sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))
DOCUMENTS = ["README.md", "CONTRIBUTING.md", *PAGES]


class Block(NamedTuple):
    """A fenced block: its language, the title of a file that it is, its text."""

    language: str
    title: str
    text: str

    @property
    def commands(self) -> list[str]:
        """The lines of a shell, without comments."""
        lines = (line.split("  #")[0].strip() for line in self.text.splitlines())
        return [line for line in lines if line] if self.language == "bash" else []


def blocks_of(document: str) -> list[Block]:
    fence = r'^```(\w+)(?: title="(.*?)")?\n(.*?)^```'
    text = (ROOT / document).read_text()
    return [Block(*found) for found in re.findall(fence, text, flags=re.DOTALL | re.MULTILINE)]


def blocks(document: str, language: str) -> list[str]:
    return [block.text for block in blocks_of(document) if block.language == language]


def commands(*documents: str) -> list[str]:
    """Each once, in order."""
    found = [c for name in documents for block in blocks_of(name) for c in block.commands]
    return list(dict.fromkeys(found))


ALL = commands(*DOCUMENTS)
MAKES = [c for c in ALL if c.startswith("make ")]  # planned by tests/pages/test_readme.py
# started by tests/sweep/test_launchers.py: they need a plugin, or a cluster
LAUNCHED = [c for c in ALL if c.startswith("reludyn -m") and re.search("launcher=(?!fused)", c)]
TORCHRUN = [c for c in ALL if c.startswith("torchrun ")]  # with few samples, in test_documents.py
# programs of others; TensorBoard is started by tests/pages/test_readme.py
TENSORBOARD = "tensorboard --logdir outputs --host 127.0.0.1"
OTHERS = [TENSORBOARD, "source .venv/bin/activate"]
ELSEWHERE = {*MAKES, *LAUNCHED, *TORCHRUN, *OTHERS}


def shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """What a line does that is typed there."""
    env = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}", "COLUMNS": "100"}
    return subprocess.run(
        command, shell=True, cwd=folder, env=env, capture_output=True, text=True, check=False
    )
