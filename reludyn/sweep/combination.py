"""Jobs of a sweep that are shown as one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from reludyn.sweep.tally import Statistics, Tally


@dataclass
class Combination:
    """Combination of swept keys and values, with the jobs that have them.

    These jobs differ by their seed alone.
    """

    values: Mapping[str, str]
    folders: list[Path] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)

    def join(self, other: Combination) -> None:
        """Add all jobs of another combination."""
        self.folders += other.folders
        self.tally.join(other.tally)

    @cached_property
    def statistics(self) -> Statistics:
        """Statistics of all replicas, once all jobs have been joined."""
        return self.tally.statistics()
