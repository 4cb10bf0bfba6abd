"""The documentation of keys, quantities and tags, generated from the program: docs/reference.md,
and two tables of docs/glossary.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from reludyn.config.parse import OPTIONS, comment_of, conf_directory, prepare_hydra
from reludyn.config.schema import MISSING, Config
from reludyn.recording.observables import FULL
from reludyn.recording.quantities import CORE
from reludyn.recording.registry import Quantity
from reludyn.recording.tensorboard.tags import TAGS
from reludyn.system.errors import show

_HEAD = """\
# Reference of all keys

Written by `make reference`; a test keeps it current. `GROUP=OPTION` chooses an option and
`GROUP.KEY=VALUE` sets a key. Defaults are those of `experiment=default`. A command that names no
experiment runs `experiment=fig3`, which sets `init.signs=alternating` and `trainer.tolerance=1e-4`.
Steps are iterations, angles are in radians, and the loss of the zero student is E|A x|² / 2.
"""
_TYPES: dict[Any, str] = {
    int: "integer",
    float: "number",
    bool: "`true` `false`",
    str: "text",
    type(None): "`null`",
}
_LIMITS = {"above": ">", "at_least": "≥", "below": "<", "at_most": "≤"}


def with_tables(page: str) -> str:
    """Return the glossary with its tables of quantities and tags, each between its two marks."""
    arrays = ((name, _shape(x), _cell(x.meaning)) for name, x in CORE.items())
    tables = {
        "quantities": [
            "| array | shape | meaning |",
            "|---|---|---|",
            *(f"| `{name}` | {shape} | {meaning} |" for name, shape, meaning in arrays),
        ],
        "tags": [
            "| tag | what it shows |",
            "|---|---|",
            *(f"| `{tag}` | {_cell(meaning)} |" for tag, meaning in TAGS.items()),
        ],
    }
    for name, lines in tables.items():
        begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->\n"
        before, _, rest = page.partition(begin)
        _, _, after = rest.partition(end)
        page = "\n".join([f"{before}{begin}", *lines, "", f"{end}{after}"])
    return page


def _cell(text: str) -> str:
    """Return a text for a table, where bars would end the cell and stars would be emphasis."""
    return text.replace("|", "\\|").replace("*", "\\*").replace("<", "&lt;").replace("_", "\\_")


def reference_text() -> str:
    """Return docs/reference.md: for each group its options, then a table of their keys."""
    prepare_hydra()
    sections = [_HEAD]
    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        top = {"": (Config, _composed())}
        sections.append("\n".join(["## Top level", "", *_table("", top)]))
        for group, schemas in OPTIONS.items():
            options = {
                name: (schema, _composed(f"{group}={name}")[group])
                for name, schema in schemas.items()
            }
            about = [f"- `{group}={name}`: {comment_of(group, name)}" for name in options]
            sections.append("\n".join([f"## {group}", "", *about, "", *_table(group, options)]))
    sections.append(
        "\n".join(["## Observables of `trainer.observables=full`", "", *_observables()])
    )
    return "\n\n".join(sections) + "\n"


def _composed(*overrides: str) -> dict[str, Any]:
    config = compose("config", overrides=["experiment=default", "name=default", *overrides])
    values: dict[str, Any] = OmegaConf.to_container(config)  # type: ignore[assignment]
    return values


def _observables() -> Iterator[str]:
    yield "| array in trajectory.npz | shape | in TensorBoard | meaning |"
    yield "|---|---|---|---|"
    for name, quantity in FULL.items():
        yield _cells(f"`{name}`", _shape(quantity), f"`{quantity.tag}`", quantity.meaning)


def _shape(quantity: Quantity) -> str:
    """Return the axes of an array of trajectory.npz, in the letters of the glossary."""
    return f"$({', '.join(['T', 'R', *quantity.axes])})$"


def _cells(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


Options = Mapping[str, tuple[type, Mapping[str, Any]]]  # the schema and the values of each option


def _table(group: str, options: Options) -> Iterator[str]:
    """Yield a row for each key of any option, except `name`, the name of the option itself."""
    yield "| key | type | default | values | meaning |"
    yield "|---|---|---|---|---|"
    keys = {field.name: None for schema, _ in options.values() for field in fields(schema)}
    for key in keys:
        if not (group and key == "name") and key not in OPTIONS:
            yield _row(f"{group}.{key}" if group else key, key, options)


def _row(path: str, key: str, options: Options) -> str:
    having = {
        name: (schema, values[key])
        for name, (schema, values) in options.items()
        if key in {field.name for field in fields(schema)}
    }
    limits = {name: _limits(schema, key) for name, (schema, _) in having.items()}
    return _cells(
        f"`{path}`",
        _each({name: _type(schema, key) for name, (schema, _) in having.items()}),
        _each({name: _shown(value) for name, (_, value) in having.items()}),
        _each({name: _values(limit) for name, limit in limits.items()}),
        _each({name: limit["meaning"] for name, limit in limits.items()})
        + ("" if len(having) == len(options) else f" *(of {', '.join(having)})*"),
    )


def _each(cells: Mapping[str, str]) -> str:
    """Return a cell with the text that most options share, then the texts of the others."""
    names: dict[str, list[str]] = {}
    for name, cell in cells.items():
        names.setdefault(cell, []).append(name)
    most = next((cell for cell, options in names.items() if 2 * len(options) > len(cells)), None)
    others = [f"*{', '.join(names[cell])}:* {cell}" for cell in names if cell != most]
    return "<br>".join(([] if most is None else [most]) + others)


def _limits(schema: type, key: str) -> Mapping[str, Any]:
    return next(field.metadata for field in fields(schema) if field.name == key)


def _shown(value: object) -> str:
    return "needed" if value == MISSING else f"`{show(value)}`"


def _type(schema: type, key: str) -> str:
    hint = get_type_hints(schema)[key]
    kinds: Sequence[Any] = get_args(hint) if type(None) in get_args(hint) else (hint,)
    return " or ".join(_TYPES.get(kind, "list") for kind in kinds)


def _values(limits: Mapping[str, Any]) -> str:
    lower = "at_least" if limits["at_least"] is not None else "above"
    bounds = [
        f"{sign} {_number(limits[n])}"
        for n, sign in _LIMITS.items()
        if limits[n] is not None and n in (lower, "below", "at_most")
    ]
    return " ".join(f"`{word}`" for word in limits["one_of"]) or ", ".join(bounds)


def _number(limit: float) -> str:
    return "2^53" if limit == 2**53 else f"{limit:g}"


if __name__ == "__main__":
    docs = Path(__file__).parents[1] / "docs"
    glossary = (docs / "glossary.md").read_text(encoding="utf-8")
    for path, text in (
        (docs / "reference.md", reference_text()),
        (docs / "glossary.md", with_tables(glossary)),
    ):
        path.write_text(text, encoding="utf-8")
        print(path)
