"""Write requirements-ci.txt anew: constraints.txt with the hashes of every file of a release.

Releases and hashes are those of the package index. Where pip takes PyTorch from elsewhere (a build
for CPUs alone), the hash of that file stands in their place: were the others there, too, pip would
take the file of the index, which wants CUDA.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements-ci.txt"
UNUSED = ("jax", "jaxlib", "ml_dtypes", "opt_einsum", "uv")  # for `make bench` and `make lock`
HEADER = """\
# What continuous integration installs. Written by `make lock` from constraints.txt: do not edit.
"""


def pinned(lines: list[str]) -> list[str]:
    """Return the pins of constraints.txt that continuous integration installs."""
    pins = (line.partition("#")[0].strip() for line in lines)
    return [pin for pin in pins if pin and pin.partition("==")[0] not in UNUSED]


def hashed(pins: list[str], folder: Path) -> str:
    """Return the pins with the hashes that the package index has, by uv."""
    given, found = folder / "pins.in", folder / "pins.txt"
    given.write_text("\n".join(pins) + "\n")
    subprocess.run(
        [
            sys.executable,
            "-m",
            "uv",
            "pip",
            "compile",
            "--quiet",
            "--universal",
            "--no-deps",
            "--generate-hashes",
            "--no-header",
            "--no-annotate",
            "--python-version",
            "3.10",
            "--no-python-downloads",
            given,
            "--output-file",
            found,
        ],
        check=True,
        cwd=folder,
    )
    return found.read_text()


def taken_here(pin: str, folder: Path) -> str:
    """Return the hash of the file that pip takes for a pin on this machine."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest"]
    subprocess.run([*command, folder / "files", pin], check=True)
    (file,) = (folder / "files").iterdir()
    return sha256(file.read_bytes()).hexdigest()


def main() -> None:
    pins = pinned((ROOT / "constraints.txt").read_text().splitlines())
    (torch,) = (pin for pin in pins if pin.startswith("torch=="))
    with tempfile.TemporaryDirectory() as name:
        text = hashed(pins, Path(name))
        own = f"--hash=sha256:{taken_here(torch, Path(name))}"
    if own not in text:
        text = re.sub(
            rf"^{re.escape(torch)} (\\\n +--hash=\S+ ?)+",
            f"{torch} \\\n    {own}",
            text,
            flags=re.M,
        )
    LOCK.write_text(HEADER + text)
    print(LOCK)


if __name__ == "__main__":
    main()
