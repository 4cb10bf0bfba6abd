"""Config files of a size that can be read: aliases in YAML can expand beyond any memory."""

from __future__ import annotations

from copy import copy, deepcopy
from pathlib import Path
from typing import ClassVar

import yaml
from hydra._internal.config_repository import (
    CachingConfigRepository,
    ConfigRepository,
    IConfigRepository,
)
from hydra.core.config_store import ConfigStore
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult

from reludyn.config.parse import conf_directory
from reludyn.system.errors import ConfigError

LARGEST = 2**20  # bytes of a config file
MOST = 20_000  # values in it; those behind aliases are counted wherever they are used
DEEPEST = 30  # levels of nesting
Stamp = tuple[object, ...]


class Files(ConfigRepository):
    """Hydra's files, each checked before it is read; raises ConfigError.

    Files of this package, of Hydra and types are read once per process, and again after a change.
    Every caller gets the same result, and must copy it before changing it.
    """

    known: ClassVar[dict[Stamp, tuple[ConfigResult | None, object]]] = {}

    def load_config(self, config_path: str) -> ConfigResult | None:
        stamp, version = self._stamp(config_path)
        if stamp is None:
            if isinstance(version, Path):
                check_file(version)
            return self._read(config_path)
        if stamp not in self.known:
            self.known[stamp] = self._read(config_path), version
        return self.known[stamp][0]

    def stamp(self, config_path: str) -> Stamp | None:
        """Return a key that changes when a config does.

        None for the files of others, which are read every time.
        """
        return self._stamp(config_path)[0]

    def _stamp(self, config_path: str) -> tuple[Stamp | None, object]:
        """Return the stamp, and the object whose id is in it, which must live as long."""
        source = self._find_object_source(config_path, ObjectType.CONFIG)
        if source is None:
            return None, None
        name = source._normalize_file_name(config_path)
        place = source.scheme(), source.provider, source.path, name
        if source.scheme() == "pkg":
            return place, None
        if source.scheme() == "structured":
            node = ConfigStore.instance()._load(name)
            return (*place, id(node)), node
        path = Path(source.path, name)
        if Path(source.path) == conf_directory():
            return (*place, path.stat().st_mtime_ns), None
        return None, path

    def _read(self, config_path: str) -> ConfigResult | None:
        result: ConfigResult | None = super().load_config(config_path)
        return result

    def __deepcopy__(self, memo: object) -> Files:
        """Return a copy with the same sources, which do not change: Hydra copies a repository to
        add sources to it, and would copy all types that it knows."""
        other = copy(self)
        other.sources = [*self.sources]
        return other


class Copies(CachingConfigRepository):
    """Copies of what a repository has, which may be changed."""

    def __init__(self, delegate: IConfigRepository) -> None:
        self.delegate = delegate

    def load_config(self, config_path: str) -> ConfigResult | None:
        return deepcopy(self.delegate.load_config(config_path))


def check_file(path: Path) -> None:
    """Raise ConfigError for a file that is too large, too deep, or not text."""
    if (size := path.stat().st_size) > LARGEST:
        raise ConfigError(str(path), ..., f"has {size:,} bytes; a config file has at most 1 MiB")
    root = None
    try:
        with path.open(encoding="utf-8") as file:  # YAML's own errors name it
            root = yaml.compose(file, yaml.SafeLoader)
        values, levels = (0, 0) if root is None else _size(root, {}, 0)
    except (UnicodeDecodeError, yaml.reader.ReaderError) as error:
        raise ConfigError(str(path), ..., f"must be text in UTF-8: {error.reason}") from error
    except RecursionError:
        values, levels = 0, DEEPEST + 1
    empty = root is None or root.tag == "tag:yaml.org,2002:null"
    if not (empty or isinstance(root, yaml.MappingNode)):
        raise ConfigError(str(path), ..., "must hold keys and their values")
    if levels > DEEPEST:
        raise ConfigError(str(path), ..., f"is nested deeper than {DEEPEST} levels")
    if values > MOST:
        raise ConfigError(str(path), ..., f"stands for more than {MOST:,} values")


def _size(node: yaml.Node, known: dict[int, tuple[int, int]], depth: int) -> tuple[int, int]:
    """Return how many values a node stands for, and how many levels of nesting it has."""
    if depth > DEEPEST:  # also where it holds itself
        return 1, 1
    if id(node) not in known:
        parts = [] if isinstance(node, yaml.ScalarNode) else node.value
        if isinstance(node, yaml.MappingNode):
            parts = [part for pair in parts for part in pair]
        sizes = [_size(part, known, depth + 1) for part in parts]
        values, levels = 1 + sum(s[0] for s in sizes), 1 + max((s[1] for s in sizes), default=0)
        known[id(node)] = values, levels
    return known[id(node)]
