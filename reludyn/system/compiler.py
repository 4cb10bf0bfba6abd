"""Functions compiled by torch.compile, where the machine has a compiler."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

log = logging.getLogger(__name__)


class Compiled:
    """Function of tensors, compiled at its first call: fullgraph, with a code object of its own.

    (PyTorch limits how often it compiles one code object.) `available` is false once compiling has
    failed: that is reported once, and `CannotCompile` raised then and at every later call.
    """

    available = True

    def __init__(self, function: Callable[..., Any], **options: Any) -> None:
        def program(*arguments: Any) -> Any:
            return function(*arguments)

        program.__code__ = program.__code__.replace()
        self.program = torch.compile(
            program, fullgraph=True, options=options | {"guard_filter_fn": _tensors_alone}
        )

    def __call__(self, *arguments: Any) -> Any:
        if not Compiled.available:
            raise CannotCompile
        from torch._dynamo.exc import TorchDynamoException  # takes a second

        try:
            return self.program(*arguments)
        # OSError: no folder for compiled code; ImportError: nothing may be executed in the folder
        except (TorchDynamoException, OSError, ImportError) as error:
            Compiled.available = False
            lines = [line for line in str(error).splitlines() if line.strip()]
            log.warning(
                "continuing as with trainer.engine=eager, since this machine cannot compile: %s",
                lines[0] if lines else type(error).__name__,
            )
            raise CannotCompile from error


def varying(x: Tensor, *axes: int) -> Tensor:
    """Mark axes whose length may differ in a later call, so that nothing is compiled again then.

    A length that is one, or becomes one, is compiled anyway.
    """
    for axis in axes:
        if x.shape[axis] > 1:
            torch._dynamo.mark_dynamic(x, axis)
    return x


class CannotCompile(Exception):
    """Error for a machine without a working compiler; the caller continues without."""


def _tensors_alone(guards: Any) -> list[bool]:
    """Return which conditions to check before every call: those on tensors alone change."""
    return [guard.guard_type in ("TENSOR_MATCH", "SHAPE_ENV") for guard in guards]
