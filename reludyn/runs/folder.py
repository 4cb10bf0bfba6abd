"""The folder of a run: what this program writes in it, whether it may, and what it removes.

It removes only files that are named here, from a folder whose `.hydra` is that of the same run: a
folder may hold files of other programs, or come from somebody else.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from reludyn.config.differences import differences, named
from reludyn.config.rules import RESUME
from reludyn.system.commands import override, relative
from reludyn.system.errors import ConfigError
from reludyn.system.files import atomic

LAST = Path("checkpoints", "last.pt")
CONFIG, SETTINGS, OVERRIDES = (
    Path(".hydra", f"{name}.yaml") for name in ("config", "hydra", "overrides")
)
# files that show that a run has saved something
FILES = (
    Path("DONE"),
    Path("summary.json"),
    Path("replicas.csv"),
    Path("trajectory.npz"),
    Path("bounds.csv"),
    Path("plane.npz"),
    Path("stability.csv"),
    Path("stationary_points.csv"),
    Path("stationary_points.npz"),
    Path("margins.npz"),
    Path("reconstructions.npz"),
    LAST,
)
FOLDERS = ("checkpoints", "tensorboard", "figures", ".hydra")
LEAVES = (*(path.name for path in FILES if path != LAST), *FOLDERS)  # all but the log
OF_A_SWEEP = ("multirun.yaml", "sweep.csv", "sweep_summary.csv")
EVENTS = "events.out.tfevents.*"
KEYS = {"data", "model", "init", "optimizer", "trainer", "theory", "seed", "replicas"}  # of a run
LARGEST = 2**20  # bytes of a config, at most
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where there is one
NAMED = 3  # differences that a message names, at most


# --- May a run write here? --------------------------------------------------------------------


def check_plain(folder: Path, key: str, within: Iterable[str] = FOLDERS) -> None:
    """Refuse a folder that holds a link, or anything that is neither file nor folder.

    Through a link, files outside the folder would be written. Among its own folders, those named in
    `within` are checked.
    """
    if not folder.is_dir():
        return
    inner = (folder / name for name in within if (folder / name).is_dir())
    for path in (*folder.iterdir(), *(path for top in inner for path in _below(top))):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise ConfigError(
                key,
                folder,
                "must hold files and folders only, since through a link files elsewhere would be "
                f"written; {path.relative_to(folder)} is neither",
                "Remove it, or choose another folder",
            )


def _below(top: Path) -> Iterator[Path]:
    for where, folders, files in os.walk(top):
        yield from (Path(where, name) for name in (*folders, *files))


def claim(folder: Path, key: str = "hydra.run.dir", goes_on: bool = False) -> None:
    """Refuse a folder in which a run has saved something: nothing is overwritten.

    A run that is resumed (`goes_on`) may have saved anything but DONE.
    """
    for path in FILES[:1] if goes_on else FILES:
        if (folder / path).exists():
            _refuse(folder, key, path.parts[0])


def claim_new(folder: Path, key: str, config: str) -> bool:
    """Refuse a folder with anything that a run would write.

    Return whether a run of the same config (its text) had begun there without saving anything; it
    then begins again.
    """
    there = [name for name in (*LEAVES, *OF_A_SWEEP) if (folder / name).exists()]
    saved = [path.parts[0] for path in FILES if (folder / path).exists()]
    differs = unlike(folder, config)
    begun = differs == "" and not saved
    if there and not begun:
        _refuse(folder, key, [*saved, *there][0], differs or "")
    return begun


def claim_sweep(folder: Path, key: str = "hydra.sweep.dir") -> None:
    """Refuse a folder with a run of its own, or with results that are not those of a sweep."""
    names = ["DONE", "trajectory.npz", "summary.json", "checkpoints"]
    if not is_of_us(_settings(folder / OF_A_SWEEP[0])):
        names += ["tensorboard", "figures", *OF_A_SWEEP]
    for name in names:
        if (folder / name).exists():
            _refuse(folder, key, name)


def _refuse(folder: Path, key: str, name: str, differs: str = "") -> None:
    remedy = "Choose another folder, or move the old one away"
    if (folder / LAST).exists() and not (folder / "DONE").exists():
        remedy += f"; {override('resume', relative(folder))} resumes it"
    other = f" of another config ({differs})" if differs else ""
    raise ConfigError(
        key, folder, f"must be a folder without an earlier run; it has {name}{other}", remedy
    )


def unlike(folder: Path, config: str) -> str | None:
    """Return how the config of the run that began in a folder differs from a config (its text).

    It is empty where they are the same apart from keys of resuming. It is also empty where the
    folder has only the beginning of the config, since Hydra may be interrupted while writing. It is
    None where the folder has no config of this program.
    """
    try:
        there = (folder / CONFIG).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    if there == config:
        return ""
    others = [name for name in LEAVES if name != ".hydra" and (folder / name).exists()]
    if _is_part(there, config) and (is_begun(folder) or not others):
        return ""
    found = settings_of(folder)
    if not is_of_us(found):
        return None
    here: Any = OmegaConf.to_container(OmegaConf.create(config))
    pairs = differences(found, here)
    own = {key: pair for key, pair in pairs.items() if key not in RESUME}
    return named({key: pair for key, pair in own.items() if "${" not in str(pair[0])}, NAMED)


def _is_part(there: str, config: str) -> bool:
    """Return whether a text is a config, or its beginning, as Hydra writes it at first.

    Such a text has interpolations where the config has their values.
    """
    *lines, last = there.split("\n")
    whole = config.split("\n")
    alike = all("${" in line or line == other for line, other in zip(lines, whole, strict=False))
    return len(lines) < len(whole) and alike and ("$" in last or whole[len(lines)].startswith(last))


def is_begun(folder: Path) -> bool:
    """Return whether this program's command has begun a run in a folder."""
    hydra = _settings(folder / SETTINGS).get("hydra")
    callbacks = hydra.get("callbacks") if isinstance(hydra, dict) else None
    return isinstance(callbacks, dict) and "reludyn.cli.Folders" in str(callbacks.get("folders"))


def is_of_a_sweep(folder: Path) -> bool:
    """Return whether the run in a folder is a job of a sweep."""
    hydra = _settings(folder / SETTINGS).get("hydra")
    return isinstance(hydra, dict) and hydra.get("mode") == "MULTIRUN"


def overrides_of(folder: Path) -> list[str]:
    """Return the overrides of the run that began in a folder."""
    found = _read(folder / OVERRIDES)
    return [str(text) for text in found] if isinstance(found, list) else []


def settings_of(folder: Path) -> dict[Any, Any]:
    """Return the config of the run that began in a folder, empty where there is none."""
    return _settings(folder / CONFIG)


def is_of_us(settings: dict[Any, Any]) -> bool:
    """Return whether settings have the keys of this program."""
    return {*settings} >= KEYS


def _settings(path: Path) -> dict[Any, Any]:
    found = _read(path)
    return found if isinstance(found, dict) else {}


def _read(path: Path) -> Any:
    """Return the content of a YAML file that this program has written, else None.

    A file that is large is refused, and one with aliases, which can expand beyond any memory.
    """
    try:
        if path.stat().st_size > LARGEST:
            return None
        text = path.read_text(encoding="utf-8")
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, LOADER)):
            return None
        return OmegaConf.to_container(OmegaConf.create(text))
    except (OSError, ValueError, yaml.YAMLError, OmegaConfBaseException, RecursionError):
        return None


def write_done(folder: Path, digest: str) -> None:
    """Write DONE, after all other files: the run finished, with the config of this hash."""
    with atomic(folder / "DONE") as file:
        file.write(f"{digest}\n".encode())


# --- What is removed --------------------------------------------------------------------------


def clear(folder: Path) -> None:
    """Remove what a run in this folder has written, except pictures and log, which are continued.

    The run has been found to be the same (`unlike`).
    """
    for path in (*FILES, CONFIG, SETTINGS, OVERRIDES):
        (folder / path).unlink(missing_ok=True)
    for events in (folder / "tensorboard").rglob(EVENTS):
        events.unlink()
    _take_away_empty(folder, FOLDERS)


class Before:
    """State of a folder before a run."""

    def __init__(self, folder: Path, log: str, hydra: str) -> None:
        """Remember the state, given the names of the log and of the folder of Hydra's texts."""
        self.folder = folder.absolute()
        names = {*FOLDERS, hydra}
        self.folders = [name for name in names if not (self.folder / name).exists()]
        self.saved = self._saved()
        self.events = {*self._events()}
        texts = [self.folder / hydra / path.name for path in (CONFIG, SETTINGS, OVERRIDES)]
        self.texts = {path: _content(path) for path in texts}
        self.log = self.folder / log
        self.length = self.log.stat().st_size if self.log.exists() else None

    def restore(self) -> None:
        """Restore the folder, where the run has saved nothing."""
        if self._saved() != self.saved:
            return
        for events in {*self._events()} - self.events:
            events.unlink()
        for path, content in self.texts.items():
            if content is None:
                path.unlink(missing_ok=True)
            elif content != _content(path):
                with atomic(path) as file:
                    file.write(content)
        if self.length is None:
            self.log.unlink(missing_ok=True)
        else:
            os.truncate(self.log, self.length)
        _take_away_empty(self.folder, self.folders)

    def _saved(self) -> dict[Path, tuple[int, int]]:
        found = (self.folder / path for path in FILES)
        states = {path: path.stat() for path in found if path.exists()}
        return {path: (state.st_ino, state.st_mtime_ns) for path, state in states.items()}

    def _events(self) -> Iterator[Path]:
        return (self.folder / "tensorboard").rglob(EVENTS)


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _take_away_empty(folder: Path, names: Iterable[str]) -> None:
    """Remove those of its folders in which nothing is left."""
    for name in names:
        for where, _, _ in os.walk(folder / name, topdown=False):
            if not os.listdir(where):
                os.rmdir(where)
