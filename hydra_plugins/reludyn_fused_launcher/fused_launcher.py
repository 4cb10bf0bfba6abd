"""`hydra/launcher=fused`: the jobs of a sweep as replicas of a few batched programs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

if TYPE_CHECKING:
    from reludyn.sweep.jobs import SweepJob


@dataclass
class FusedLauncherConf:
    """Keys of the launcher, below hydra.launcher."""

    _target_: str = "hydra_plugins.reludyn_fused_launcher.fused_launcher.FusedLauncher"
    max_replicas: int | None = None  # per batch; null: as many as memory holds


class FusedLauncher(Launcher):
    """Launcher of jobs as batches: each leaves its folder as if it had run alone.

    Jobs of a batch differ in seed, init.scale, init.signs, optimizer.lr, data.target_norm or
    trainer.tolerance.
    """

    def __init__(self, max_replicas: int | None = None) -> None:
        self.max_replicas = max_replicas

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        self.context, self.config = hydra_context, config

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        from reludyn.runs.folder import claim
        from reludyn.sweep.jobs import prepare

        jobs = prepare(self.context.config_loader, self.config, job_overrides, initial_job_idx)
        for job in jobs:  # another sweeper than ours has not checked them
            claim(job.folder, "hydra.sweep.dir")
        return self.launch_prepared(jobs)

    def launch_prepared(
        self, jobs: "Sequence[SweepJob]", complete: "Sequence[SweepJob]" = ()
    ) -> Sequence[JobReturn]:
        """Launch jobs that the sweeper has composed; the `complete` ones stay."""
        from reludyn.sweep.fused import Fused  # imports torch

        return Fused(self.config.hydra, self.max_replicas).launch(jobs, complete)


ConfigStore.instance().store(group="hydra/launcher", name="fused", node=FusedLauncherConf)
