"""Every picture and claim of the paper: outputs/paper/DATE/report.html (conf/paper.yaml)."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

os.environ["MPLBACKEND"] = "agg"  # a notebook may have left another backend there

from reludyn.config.explain import explain, is_for_the_user
from reludyn.config.parse import conf_directory
from reludyn.config.security import guarded
from reludyn.paper.reproduce import reproduce
from reludyn.system.errors import ConfigError


def report(composed: DictConfig) -> NoReturn:
    """Write the whole report; exit with code 1 where a row failed."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    options = OmegaConf.to_container(composed, resolve=True)
    assert isinstance(options, dict)
    try:
        complete = reproduce(folder, **{str(key): value for key, value in options.items()})
    except ConfigError as error:
        refuse(error)
    print(f"report   {folder / 'report.html'}")
    sys.exit(not complete)


def refuse(error: Exception) -> NoReturn:
    """End the command with one line for an error."""
    sys.exit(f"reludyn.paper: error: {explain(error, sys.argv[1:])}")


def main() -> None:
    """Run the command `python -m reludyn.paper OVERRIDES`."""
    app = hydra.main(version_base="1.3", config_path=str(conf_directory()), config_name="paper")
    try:
        with guarded(sys.argv[1:]):
            app(report)()
    except Exception as error:
        if not is_for_the_user(error):
            raise
        refuse(error)


if __name__ == "__main__":
    main()
