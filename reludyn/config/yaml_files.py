"""Config files of a size that can be read: aliases in YAML can stand for more than any memory."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import ClassVar

import yaml
from hydra._internal.config_repository import ConfigRepository
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult

from reludyn.config.parse import conf_directory
from reludyn.system.errors import ConfigError

LARGEST = 2**20  # bytes of a config file
MOST = 20_000  # values in it, those behind aliases counted wherever they stand
DEEPEST = 30  # levels of nesting


class Files(ConfigRepository):
    """Hydra's files, each looked at before it is read; raises ConfigError.

    Our own and those that come with Hydra are read once a process, ours again after a change.
    """

    known: ClassVar[dict[tuple[object, ...], ConfigResult | None]] = {}

    def load_config(self, config_path: str) -> ConfigResult | None:
        source = self._find_object_source(config_path, ObjectType.CONFIG)
        key: tuple[object, ...] = ()
        if source is not None and source.scheme() == "file":
            file = Path(source.path, source._normalize_file_name(config_path))
            if Path(source.path) == conf_directory():
                key = (source.provider, file, file.stat().st_mtime_ns)
            else:
                check_file(file)
        elif source is not None and source.scheme() == "pkg":
            key = (source.provider, source.path, config_path)
        if not key:
            return self._read(config_path)
        if key not in self.known:
            self.known[key] = self._read(config_path)
        return deepcopy(self.known[key])  # composing changes it

    def _read(self, config_path: str) -> ConfigResult | None:
        result: ConfigResult | None = super().load_config(config_path)
        return result


def check_file(path: Path) -> None:
    """Raise ConfigError for a file that is too large, too deep, or not text."""
    if (size := path.stat().st_size) > LARGEST:
        raise ConfigError(str(path), ..., f"has {size:,} bytes; a config file has at most 1 MiB")
    root = None
    try:
        with path.open(encoding="utf-8") as file:  # its name is in YAML's own errors
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
    """How many values a node stands for, and how many levels of nesting."""
    if depth > DEEPEST:  # or it holds itself
        return 1, 1
    if id(node) not in known:
        parts = [] if isinstance(node, yaml.ScalarNode) else node.value
        if isinstance(node, yaml.MappingNode):
            parts = [part for pair in parts for part in pair]
        sizes = [_size(part, known, depth + 1) for part in parts]
        values, levels = 1 + sum(s[0] for s in sizes), 1 + max((s[1] for s in sizes), default=0)
        known[id(node)] = values, levels
    return known[id(node)]
