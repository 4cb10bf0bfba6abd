"""Every command and snippet on the pages of docs/ runs: smaller, and without pictures."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from reludyn.config.compose import configure
from reludyn.figures import __main__
from reludyn.risk.unrolled import products
from reludyn.system.errors import BAD_INPUT, DIVERGED, FAILED
from reludyn.system.signals import EXITS
from tests.support.commands import run_command
from tests.support.documents import (
    ELSEWHERE,
    LAUNCHED,
    PAGES,
    ROOT,
    TORCHRUN,
    blocks_of,
    commands,
    shell,
)

SMALL = {"replicas": "8", "trainer.steps": "20", "figures": "false"}
GALLERY = "docs/gallery.md"  # tests/pages/test_gallery.py
NEEDS_CUDA = "reludyn device=cuda"
SHOWN = {  # texts that the snippets of a page print, in order
    "docs/concepts.md": ["True True"],
    "docs/api.md": [
        "0.0",
        "tensor([0.2500]",
        "3.5000",
        "['non_strict_saddle']",
        "tensor([[1, 0]])",
    ],
    "docs/how-to.md": [
        "0.0001 0.1 0.0",
        "max_steps",
        "(21, 1) (21, 1, 2, 100)",
        "T_growth",
        "0 unconverged",
        "21 looks, loss 0.5 -> 0.5",
        "torch.Size([1, 2, 100])",
    ],
}


def short(command: str, **others: str) -> list[str]:
    """The words of a command, its sizes replaced; one that goes on has those it began with."""
    if "resume=" in command:
        longer = "trainer.steps=30"
        return [re.sub(r"^trainer.steps=.*", longer, word) for word in shlex.split(command)[1:]]
    sizes = SMALL | others
    words = [re.sub(r"^seed=range.*", "seed=0,1", word) for word in shlex.split(command)[1:]]
    kept = [word for word in words if word.partition("=")[0] not in sizes]
    batch = any(word.startswith("replicas=") for word in words)
    return kept + [f"{k}={v}" for k, v in sizes.items() if batch or k != "replicas"]


def type_in(command: str, folder: Path) -> None:
    """What a reader does with a line of a shell."""
    program = command.split()[0]
    if program == "reludyn-figures":
        __main__.main(shlex.split(command)[1:])
        return
    assert program == "reludyn", f"no test runs: {command}"
    asks = {"--help", "--cfg"} & {*command.split()}
    done = run_command(folder, *(shlex.split(command)[1:] if asks else short(command)))
    if command.startswith(NEEDS_CUDA) and not torch.cuda.is_available():
        assert "device=cuda: " in done.err
        return
    assert done.code == 0, f"{command}: {done.err}"


@pytest.mark.slow
@pytest.mark.parametrize("page", [p for p in PAGES if blocks_of(p) and p != GALLERY])
def test_a_page_can_be_followed(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From its beginning to its end, in one folder; Python goes on where it was."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in blocks_of(page):
        if block.title:
            path = tmp_path / block.title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
        elif block.language == "python":
            exec(compile(block.text, page, "exec"), names)
        else:
            for command in block.commands:
                if command not in ELSEWHERE:
                    type_in(command, tmp_path)
    printed, at = capsys.readouterr().out, 0
    for text in SHOWN.get(page, []):
        at = printed.find(text, at)
        assert at >= 0, f"{text} is not printed, or not in order"


def test_every_page_that_prints_is_compared() -> None:
    printing = {page for page in PAGES for b in blocks_of(page) if "print(" in b.text}
    assert printing == set(SHOWN)


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    sorted({tuple(short(c, **{"data.samples": "9000", "trainer.steps": "3"})) for c in TORCHRUN}),
)
def test_a_run_of_several_processes_finishes(words: Sequence[str], tmp_path: Path) -> None:
    done = shell(shlex.join(["torchrun", *words, "hydra.run.dir=ranks"]), tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "ranks" / "DONE").exists()


def mentioned(page: str) -> list[str]:
    """Commands within sentences."""
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(), flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"`(reludyn [^`]*=[^`]*)`", text)


@pytest.mark.parametrize("command", sorted({c for page in PAGES for c in mentioned(page)}))
def test_a_command_within_a_sentence_means_something(command: str) -> None:
    """Composed, not run; of a sweep the first values."""
    words = [word for word in command.split()[1:] if word not in ("-m", "...")]
    assert configure(*(word.partition(",")[0] for word in words))


def test_launchers_start_what_composes() -> None:
    words = [
        [w for w in shlex.split(c)[2:] if not w.startswith(("hydra", "seed="))] for c in LAUNCHED
    ]
    for some in {tuple(re.sub(r"(?<=\d),.*", "", word) for word in line) for line in words}:
        assert configure(*some)


def test_the_pages_have_commands() -> None:
    assert len(commands(*PAGES)) > 30


def test_the_exit_codes_are_those_of_the_program() -> None:
    page = (ROOT / "docs" / "how-to.md").read_text()
    cells = re.findall(r"^\| ([\d, ]+) \|", page.split("## Call it from a script")[1], re.MULTILINE)
    codes = {int(code) for cell in cells for code in cell.split(",")}
    assert codes == {0, FAILED, BAD_INPUT, DIVERGED, *EXITS.values()}


def test_the_page_counts_the_products_of_a_step() -> None:
    """docs/scale.md: its flops are two a product, a multiplication and an addition."""
    page = (ROOT / "docs" / "scale.md").read_text()
    table = re.findall(r"^\| (\d+), (\d+), (\d+) \| ([\d,]+) \|", page, re.MULTILINE)
    assert len(table) == 5
    for *sizes, flops in table:
        k, r, m = map(int, sizes)
        assert 2 * products(k, m, r) == int(flops.replace(",", ""))
