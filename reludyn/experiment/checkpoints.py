"""What saves a run, or a batch, while it trains."""

from __future__ import annotations

import math
from pathlib import Path

from reludyn.experiment.build import Setup
from reludyn.experiment.follow import Watcher
from reludyn.experiment.resume import Provenance, ResumePoint, compare_makers
from reludyn.training.checkpoint import Checkpoint, Checkpoints
from reludyn.training.engine import State


def make_checkpoints(
    setup: Setup,
    file: Path,
    provenance: Provenance,
    watcher: Watcher,
    start: ResumePoint | None = None,
) -> Checkpoints:
    """Return what saves a run in a file at its cadence, from a resume point on if there is one."""
    trainer = setup.config.trainer
    checkpoints = Checkpoints(
        file,
        lambda state: checkpoint_of(setup, provenance, state, watcher),
        trainer.checkpoint_steps or math.inf,
        60 * (trainer.checkpoint_minutes or math.inf),
    )
    if start is not None:
        compare_makers(start, provenance.described(setup.plan))
        checkpoints.begin(start.checkpoint.state)
    return checkpoints


def checkpoint_of(
    setup: Setup, provenance: Provenance, state: State, watcher: Watcher | None = None
) -> Checkpoint:
    """Return the checkpoint of a state, with what the instruments had recorded."""
    basis = None if setup.subspace is None else setup.subspace.basis
    seen = {} if watcher is None else watcher.saved()
    return Checkpoint(state, basis, provenance.described(setup.plan), seen)
