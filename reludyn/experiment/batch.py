"""Several jobs trained as one batch."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console

from reludyn.config.schema import Config
from reludyn.experiment.build import Setup, build
from reludyn.experiment.checkpoints import make_checkpoints
from reludyn.experiment.follow import Trained, follow
from reludyn.experiment.instruments import BatchLooks, Instruments
from reludyn.experiment.results import Results, collect
from reludyn.experiment.resume import Provenance, ResumePoint
from reludyn.experiment.run import events_folder, log_setup
from reludyn.training.trainer import reason_of


@dataclass(frozen=True)
class Together:
    """Several jobs that were trained as one batch."""

    setup: Setup
    trained: Trained
    looks: BatchLooks

    def results(self, place: int, folder: Path | None = None) -> Results:
        """Return what came out of a job, by its place, as if it had been alone. Nothing is logged
        of it before, and its events are written now."""
        job = self.setup.jobs[place]
        replicas, alone = job.share.replicas, self.setup.of(job)
        indices = torch.arange(replicas.start, replicas.stop, device=alone.plan.device)
        state, prediction = self.trained.state.select(indices), self.trained.prediction
        reason = self.trained.reason if state.running.any() else reason_of(state)
        part = Trained(state, reason, None if prediction is None else prediction.of(replicas))
        log_setup(alone)
        events = None if folder is None else events_folder(alone.config, folder, alone=False)
        with closing(Instruments(alone, events)) as instruments:
            self.looks.show(job.share, instruments)
        return collect(alone, part, instruments)


def train_together(
    configs: Sequence[Config],
    console: Console,
    file: Path | None = None,
    provenance: Provenance | None = None,
    start: ResumePoint | None = None,
) -> Together:
    """Train several jobs as one batch, from a resume point on if there is one; with a file, its
    checkpoints go there."""
    setup, checkpoints = build(*configs, start=start), None
    looks = BatchLooks(len(setup.plan.looks), start)
    if file is not None and provenance is not None:
        checkpoints = make_checkpoints(setup, file, provenance, looks, start)
    return Together(setup, follow(setup, looks, console, None, checkpoints, start), looks)
