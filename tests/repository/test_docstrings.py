"""Docstrings in plain English: functions begin with a verb, classes with a noun."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
DONE = (
    "reludyn/network",
    "reludyn/numerics",
    "reludyn/data",
    "reludyn/dynamics",
    "reludyn/risk",
    "reludyn/optim",
    "reludyn/theory",
    "reludyn/system",
    "reludyn/config",
    "reludyn/runs",
    "reludyn/figures",
    "reludyn/paper",
    "reludyn/recording/tensorboard",
    "reludyn/sweep",
    "scripts",
    "hydra_plugins",
)
Function = ast.FunctionDef | ast.AsyncFunctionDef
# words that no imperative is; a noun in the plural is refused by its ending
NO_VERB = {
    *("The", "A", "An", "All", "Any", "As", "At", "By", "Each", "For", "From", "How", "In", "Of"),
    *("On", "One", "Some", "That", "Those", "To", "What", "Whether", "Where", "Which", "Who"),
    *("Whose", "With", "Without", "None", "Nothing", "Both", "Another", "Its", "Itself"),
}
SINGULAR = re.compile(r"[A-Z][a-z]*([^s]|ss)")
DANGLING = re.compile(r"(Of|That|Those|Who|Whose|Itself)\b")


def documented() -> Iterator[tuple[str, ast.AST, str]]:
    """Yield a place, a node and its docstring for all that has one."""
    for folder in DONE:
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, Function | ast.ClassDef | ast.Module):
                    text = ast.get_docstring(node)
                    if text:
                        name = getattr(node, "name", "")
                        yield f"{path.relative_to(ROOT)} {name}", node, text


def is_statement(node: ast.AST) -> bool:
    """Return whether a docstring is text that users read: the one of a registered lemma, or of a
    registered quantity."""
    decorators = [ast.unparse(x) for x in getattr(node, "decorator_list", [])]
    return any(x.startswith(("statement(", "CORE.quantity(", "FULL.quantity(")) for x in decorators)


def is_property(node: ast.AST) -> bool:
    """Return whether a function is read like an attribute."""
    decorators = getattr(node, "decorator_list", [])
    return any(ast.unparse(x).split(".")[-1].endswith("property") for x in decorators)


def is_verb(word: str) -> bool:
    """Return whether a word may be an imperative: "Return", but neither "The" nor "Angles"."""
    return word not in NO_VERB and SINGULAR.fullmatch(word) is not None


def sentences(text: str) -> list[str]:
    """Return the sentences of a docstring."""
    return [s for part in text.split("\n\n") for s in re.split(r"(?<=[.?!])\s+", part)]


def test_a_function_begins_with_a_verb() -> None:
    wrong = {
        place: text.split("\n")[0]
        for place, node, text in documented()
        if isinstance(node, Function)
        and not (is_property(node) or is_statement(node) or is_verb(text.split()[0]))
    }
    assert wrong == {}


def test_a_property_or_class_begins_with_a_noun() -> None:
    wrong = {
        place: text.split("\n")[0]
        for place, node, text in documented()
        if (isinstance(node, ast.ClassDef) or is_property(node))
        and text.split()[0] in NO_VERB - {"Whether"} | {"Return"}
    }
    assert wrong == {}


def test_no_sentence_dangles() -> None:
    wrong = [
        (place, sentence)
        for place, _, text in documented()
        for sentence in sentences(text)
        if DANGLING.match(sentence)
    ]
    assert wrong == []
