"""What theory expects of a run, before it and at each look."""

from __future__ import annotations

import torch

from reludyn.config.rules import has_theory
from reludyn.experiment.build import Experiment, own
from reludyn.network.notation import of_replicas
from reludyn.network.student import ReLUStudent
from reludyn.recording.look import kept_replicas
from reludyn.recording.theory_observer import Checked, TheoryObserver
from reludyn.theory.predictions import Prediction, forecast, predict


def predicted(parts: Experiment) -> Prediction | None:
    """What theory says of the population limit, where it speaks."""
    config = parts.config
    if not has_theory(config):
        return None
    initial, A = _on_host(parts)
    lr, tolerance = (
        own(parts.jobs, key, A.device) for key in ("optimizer.lr", "trainer.tolerance")
    )
    activation = parts.objective.risk.activation
    return predict(initial, A, lr, tolerance, config.trainer.steps, activation)


def theory_observer(parts: Experiment, predicts: bool) -> TheoryObserver:
    config, population = parts.config, parts.objective.population
    kept, checked, expected = kept_replicas([job.share for job in parts.jobs]), None, None
    if predicts and has_theory(config) and len(kept):
        initial, A = _on_host(parts)
        lr = of_replicas(own(parts.jobs, "optimizer.lr", A.device), kept)
        A = A if A.ndim == 2 else A[kept]
        some = initial.map(lambda layer: layer[kept])
        expected = forecast(some, A, lr, parts.objective.risk.activation)
    if config.theory.bounds:
        assert population is not None
        lr, n = config.optimizer.lr, config.data.samples
        checked = Checked(parts.student, population, lr, n)
    of = population if config.theory.spectrum and len(kept) else None
    return TheoryObserver(expected, of, kept, parts.teacher.inputs, checked)


def _on_host(parts: Experiment) -> tuple[ReLUStudent, torch.Tensor]:
    """Initial weights and target, where theory computes."""
    return parts.student.to("cpu", torch.float64), parts.A.to("cpu", torch.float64)
