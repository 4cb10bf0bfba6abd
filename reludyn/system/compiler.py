"""Functions compiled by torch.compile, where the machine has a compiler."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

log = logging.getLogger(__name__)


class Compiled:
    """A function of tensors, compiled at its first call: fullgraph, one code object each (there is
    a limit to what is compiled from one). `available` is false once compiling has failed: that is
    said once, and `CannotCompile` raised then and later."""

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
        # without a folder for what is compiled, or where nothing in it may be executed, others
        except (TorchDynamoException, OSError, ImportError) as error:
            Compiled.available = False
            lines = [line for line in str(error).splitlines() if line.strip()]
            log.warning(
                "going on as with trainer.engine=eager, since this machine cannot compile: %s",
                lines[0] if lines else type(error).__name__,
            )
            raise CannotCompile from error


def varying(x: Tensor, *axes: int) -> Tensor:
    """Say that these axes may have another length in a later call: nothing is compiled again then,
    unless the length was one or comes to be one."""
    for axis in axes:
        if x.shape[axis] > 1:
            torch._dynamo.mark_dynamic(x, axis)
    return x


class CannotCompile(Exception):
    """There is no working compiler; the caller goes on without."""


def _tensors_alone(guards: Any) -> list[bool]:
    """What is checked before every call: only tensors change, not what a program is made of."""
    return [guard.guard_type in ("TENSOR_MATCH", "SHAPE_ENV") for guard in guards]
