"""How many cases are generated, how long one may take, and how it may end: for test_fuzz*.py.

RELUDYN_FUZZ=N generates N times as many cases as the suite does.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.support.commands import Finished

TIMES = int(os.environ.get("RELUDYN_FUZZ", "1"))
LONGEST = 60  # seconds that no case may take
MARKS = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="needs POSIX"),
]


def cases(number: int) -> Any:
    """So many cases, without a limit for each: machines are slow."""
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    return settings(
        max_examples=number * TIMES,
        deadline=None,
        suppress_health_check=checks,
        database=None,
        derandomize=TIMES == 1,
    )


@contextlib.contextmanager
def soon() -> Iterator[None]:
    """Raise TimeoutError in what hangs."""

    def late(_: int, __: FrameType | None) -> None:
        raise TimeoutError(f"no answer within {LONGEST} seconds")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(LONGEST)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def one_line(error: Exception) -> None:
    assert str(error).isprintable()
    assert 0 < len(str(error)) < 3000


def ended(finished: Finished) -> None:
    """With files, or with one line that says what is wrong."""
    assert "Traceback" not in finished.out + finished.err, finished.err
    assert finished.code in (0, 2, 3)
    assert len(finished.errors) == (finished.code == 2) or "usage:" in finished.err
    assert finished.claims_success() == (finished.code != 2)
