"""What theory expects of a run, before it and at each look."""

from __future__ import annotations

import torch

from reludyn.experiment.build import Setup, per_replica
from reludyn.network.notation import of_replicas
from reludyn.network.student import ReLUStudent
from reludyn.recording.look import kept_replicas
from reludyn.recording.theory_observer import Checked, TheoryObserver
from reludyn.theory.predictions import Prediction, forecast, predict


def predicted(setup: Setup) -> Prediction | None:
    """What theory says of the population limit, where it speaks."""
    if not setup.plan.theory:
        return None
    initial, A = _on_host(setup)
    lr, tolerance = (
        per_replica(setup.jobs, key, A.device) for key in ("optimizer.lr", "trainer.tolerance")
    )
    activation = setup.objective.risk.activation
    return predict(initial, A, lr, tolerance, setup.config.trainer.steps, activation)


def theory_observer(setup: Setup) -> TheoryObserver:
    config, population = setup.config, setup.objective.population
    kept, checked, expected = kept_replicas([job.share for job in setup.jobs]), None, None
    if setup.plan.theory and len(kept):
        initial, A = _on_host(setup)
        lr = of_replicas(per_replica(setup.jobs, "optimizer.lr", A.device), kept)
        A = A if A.ndim == 2 else A[kept]
        some = initial.map(lambda layer: layer[kept])
        expected = forecast(some, A, lr, setup.objective.risk.activation)
    if config.theory.bounds:
        assert population is not None
        lr, n = config.optimizer.lr, config.data.samples
        checked = Checked(setup.student, population, lr, n)
    of = population if config.theory.spectrum and len(kept) else None
    return TheoryObserver(expected, of, kept, setup.teacher.inputs, checked)


def _on_host(setup: Setup) -> tuple[ReLUStudent, torch.Tensor]:
    """Initial weights and target, where theory computes."""
    return setup.student.to("cpu", torch.float64), setup.A.to("cpu", torch.float64)
