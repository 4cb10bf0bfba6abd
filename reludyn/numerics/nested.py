"""One map over tensors nested in tuples, lists and dictionaries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map, tree_structure, tree_unflatten


def map_tensors(change: Callable[..., Any], *values: Any) -> Any:
    """Return nested values with each tensor x replaced by change(x, ...).

    `change` also gets the tensors at the same place in further values of the same form.
    """

    def leaf(x: Any, *others: Any) -> Any:
        return change(x, *others) if isinstance(x, Tensor) else x

    return tree_map(leaf, *values)


def in_form_of(form: Any, values: Any) -> Any:
    """Return nested values, which a file may hold in plain lists, in the containers of `form`."""
    return tree_unflatten(tree_leaves(values), tree_structure(form))
