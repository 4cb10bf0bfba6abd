"""The command line as Hydra takes it; of a run that goes on that with which it was started, and
what is new."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from reludyn.config.differences import flat
from reludyn.config.overrides import overrides_of
from reludyn.config.schema import PATHS
from reludyn.system.commands import override, relative
from reludyn.system.errors import ConfigError

FOLDER = "hydra.run.dir"


def resumed(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with the overrides that the checkpoint of `resume=PATH` holds, but for
    those of keys that are given anew, and with the folder of its run where that is not complete and
    no other one is given.

    A run that saved nothing begins anew. Raises ConfigError where there is neither.
    """
    given = {o.key_or_group: o.value() for o in overrides_of(arguments)}
    if (path := _text(given.get("resume"))) is None:
        return [*arguments]
    if {"-m", "--multirun"} & {*arguments}:
        raise ConfigError(
            "resume",
            path,
            "must be null with -m: a sweep goes on by itself",
            "Repeat its command with its hydra.sweep.dir",
        )
    from reludyn.experiment.resume import begun, locate, run_of  # imports torch
    from reludyn.runs.folder import overrides_of as first_overrides
    from reludyn.runs.folder import settings_of
    from reludyn.training.checkpoint import load_checkpoint

    if path == "auto" and FOLDER not in given:
        raise ConfigError("resume", path, f"needs a folder of its own: {FOLDER}=FOLDER")
    if (run := begun(path)) is not None:
        earlier, goes_on = _with_paths(first_overrides(run), settings_of(run)), []
    else:
        file = locate(path, Path(_text(given.get(FOLDER)) or "."))
        if file is None:
            return [*arguments]
        run, origin = run_of(file), load_checkpoint(file).origin
        earlier = _with_paths(origin["overrides"], origin["config"])
        goes_on = [override("resume", relative(file))]
    kept = [
        str(o.input_line)
        for o in overrides_of(earlier)
        if o.key_or_group not in (*given, "resume") and not o.is_hydra_override()
    ]
    own = [a for a in arguments if not a.startswith("resume=")]
    place = [] if FOLDER in given or (run / "DONE").exists() else [override(FOLDER, str(run))]
    return [*kept, *own, *goes_on, *place]


def _with_paths(overrides: Sequence[str], config: Mapping[str, Any]) -> list[str]:
    """Return overrides with the files of the config of their run, whose names begin at the root."""
    found = {key: path for key, path in flat(config).items() if key in PATHS and path is not None}
    others = [str(o.input_line) for o in overrides_of(overrides) if o.key_or_group not in found]
    return [*others, *(override(key, str(path)) for key, path in found.items())]


def _text(value: object) -> str | None:
    """A value of an override as a word; None is null."""
    text = getattr(value, "text", value)
    with suppress(OmegaConfBaseException):  # it depends on other keys
        text = OmegaConf.create({"value": text}).value
    return None if text is None else str(text)
