"""Checked settings for Python, composed without a command line."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from hydra import version
from hydra._internal.utils import create_config_search_path
from hydra.core.utils import setup_globals
from hydra.types import RunMode
from omegaconf import OmegaConf
from omegaconf.basecontainer import BaseContainer

from reludyn.config.explain import explain, is_for_the_user
from reludyn.config.overrides import check_overrides
from reludyn.config.parse import EXPERIMENT, conf_directory, parse, prepare_hydra, without_hydra
from reludyn.config.schema import Config
from reludyn.config.security import Loader, given
from reludyn.system.errors import ConfigError

_COMPOSING = threading.Lock()


def configure(*overrides: str) -> Config:
    """Return the checked settings of `reludyn OVERRIDES`. Raises ValueError as `train` does."""
    try:
        check_overrides(overrides)
        with _hydra_aside():
            search = create_config_search_path(str(conf_directory()))
            loader = Loader(search, given(overrides))
            whole = loader.load_configuration("config", [*overrides], RunMode.RUN, from_shell=False)
            whole.name = whole.name  # resolved while Hydra's part is still there
            return parse(without_hydra(whole))
    except Exception as error:
        if isinstance(error, ConfigError) or not is_for_the_user(error):
            raise
        raise ValueError(explain(error, overrides)) from error


@contextmanager
def _hydra_aside() -> Iterator[None]:
    """Compose without disturbing a program that uses Hydra itself.

    Its resolvers and its version of Hydra's behaviour are restored afterwards; `GlobalHydra` is
    left alone.
    """
    with _COMPOSING:
        resolvers, base = {**BaseContainer._resolvers}, version.getbase()
        setup_globals()
        BaseContainer._resolvers |= resolvers  # the program's own take precedence
        prepare_hydra()
        version.setbase("1.3")
        try:
            yield
        finally:
            version.VersionBase.instance().version_base = base
            for name in {"now", "hydra", "python_version", EXPERIMENT} - {*resolvers}:
                OmegaConf.clear_resolver(name)
