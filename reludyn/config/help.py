"""The text of `reludyn --help`; groups and their keys are those of the settings."""

from __future__ import annotations

from dataclasses import fields

from reludyn.config.parse import OPTIONS, conf_directory
from reludyn.config.schema import Config

_TEXT = """\
reludyn: training dynamics of ReLU networks whose two layers learn a linear model jointly.
Trains f(x) = V relu(W x) on y = A x by gradient descent on W and V at once (COLT 2026,
"When Both Layers Learn"). Without arguments it runs the paper's figure 3.

Five commands to start with
  reludyn                                                figure 3, a folder below outputs/
  reludyn init.scale=1e-8 seed=7                         change one thing
  reludyn replicas=1000 trainer.keep_weights=0           a thousand seeds in one batch
  reludyn data=gaussian data.samples=1600                the empirical risk of 1,600 samples
  reludyn -m init.scale=1e-2,1e-4,1e-8 optimizer.lr=0.05,0.1     a sweep

Groups (GROUP=OPTION) and, below each, its keys (GROUP.KEY=VALUE)
{groups}
Top level: {top}

Every key and its value:           reludyn --cfg job
Shell completion:                  eval "$(reludyn -sc install=bash)"
Your own experiments:              reludyn --config-dir DIR experiment=NAME
                                   (DIR/experiment/NAME.yaml)
Hydra's own options:               reludyn --hydra-help
"""


def help_text() -> str:
    """Return the commands, the groups with their options and keys, and where to read on."""
    experiments = sorted(file.stem for file in (conf_directory() / "experiment").glob("*.yaml"))
    lines = [f"  {'experiment':<12}{' | '.join(experiments)}"]
    for group, options in OPTIONS.items():
        keys = {field.name: None for schema in options.values() for field in fields(schema)}
        names = [key for key in keys if key != "name"]
        lines += [f"  {group:<12}{' | '.join(options)}", f"  {group + '.':<12}{' '.join(names)}"]
    top = " ".join(field.name for field in fields(Config) if field.name not in OPTIONS)
    return _TEXT.format(groups="\n".join(lines), top=top)
