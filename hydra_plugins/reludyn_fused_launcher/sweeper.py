"""The sweeper of reludyn: sweeps resume where they were interrupted, and end in one table."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn

from reludyn.config.overrides import check_count


@dataclass
class SweeperConf:
    """Keys of the sweeper, below hydra.sweeper: those of Hydra's own."""

    _target_: str = "hydra_plugins.reludyn_fused_launcher.sweeper.Sweeper"
    max_batch_size: int | None = None
    params: dict[str, str] | None = field(default=None)


class Sweeper(BasicSweeper):
    """Sweeper over every combination of the values, as Hydra's own.

    Jobs that are complete are not run again; jobs that fail do not stop the others.
    """

    def sweep(self, arguments: list[str]) -> list[Sequence[JobReturn]]:
        from reludyn.sweep.run import run

        assert self.hydra_context is not None
        assert self.config is not None
        assert self.launcher is not None
        loader = self.hydra_context.config_loader
        texts = [*self._parse_config(), *arguments]
        parsed = OverridesParser.create(config_loader=loader).parse_overrides(texts)
        check_count(parsed)
        batches: Any = self.split_arguments(parsed, self.max_batch_size)
        return run(loader, self.config, self.launcher, batches)


ConfigStore.instance().store(group="hydra/sweeper", name="reludyn", node=SweeperConf)
