"""Every picture and claim of the paper: outputs/paper/DATE/report.html (conf/paper.yaml)."""

from __future__ import annotations

import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from reludyn.config import conf_directory
from reludyn.errors import ConfigError
from reludyn.paper.reproduce import reproduce


@hydra.main(version_base="1.3", config_path=str(conf_directory()), config_name="paper")
def main(options: DictConfig) -> None:
    folder = Path(HydraConfig.get().runtime.output_dir)
    given = OmegaConf.to_container(options, resolve=True)
    assert isinstance(given, dict)
    try:
        complete = reproduce(folder, **{str(key): value for key, value in given.items()})
    except ConfigError as error:
        sys.exit(f"reproduce_paper: error: {error}")
    print(f"report   {folder / 'report.html'}")
    sys.exit(not complete)


if __name__ == "__main__":
    main()
