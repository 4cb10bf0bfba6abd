"""An extension of Griffe: the comment behind a field of a class describes it on docs/api.md."""

from __future__ import annotations

from typing import Any

from griffe import Attribute, Docstring, Extension


class FieldComments(Extension):
    """Give a field `name: Type  # what it is` the docstring "what it is"."""

    def on_attribute_instance(self, *, attr: Attribute, **_: Any) -> None:
        if attr.docstring is None and attr.parent is not None and attr.parent.is_class:
            _, mark, comment = attr.source.partition("  # ")
            if mark:
                attr.docstring = Docstring(comment, parent=attr)
