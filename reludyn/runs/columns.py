"""The columns of replicas.csv, apart from what computes them: readers of tables need no torch."""

from __future__ import annotations

COLUMNS = (
    "replica", "seed", "outcome", "loss", "loss_linear", "loss_rectification",
    "T_align", "T_growth", "T_converged", "rate_measured",
    "predicted_T_align", "predicted_T_growth", "predicted_T_converged", "predicted_outcome",
    "effective_weight_error", "group_sum_error", "saddle_c", "init_scale", "stopped_because",
    "loss_population", "signs", "predicted_signs", "basin_rule", "sign_rule", "predicted_saddle_c",
    "predicted_rate", "pair_residual", "pair_cosine_hidden", "pair_cosine_output",
    "steps", "last_finite_loss",
)  # fmt: skip
