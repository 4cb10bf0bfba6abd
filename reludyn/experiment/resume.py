"""Going on from a checkpoint: where it is, and what may differ from the run that left it."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reludyn.config.differences import differences, flat, named
from reludyn.config.parse import OUTPUTS
from reludyn.config.rules import RESUME, is_constant_descent
from reludyn.config.schema import PATHS, Config
from reludyn.experiment.plan import Plan
from reludyn.numerics.nested import map_tensors
from reludyn.optim.gradient_descent import BEGINNING
from reludyn.runs.folder import CONFIG, FILES, LAST, is_begun, is_of_a_sweep
from reludyn.system.errors import ConfigError
from reludyn.training.checkpoint import Checkpoint, Unreadable, dumped, load_checkpoint, loaded
from reludyn.training.distributed import Ranks
from reludyn.training.engine import State

log = logging.getLogger(__name__)
NAMED = 5  # differences that a message names
# keys that may change on the way; a group stands for all of its keys
CHANGEABLE = (
    "optimizer.lr",
    "trainer.steps",
    "trainer.tolerance",
    "trainer.gradient_tolerance",
    "trainer.max_seconds",
    "trainer.engine",
    "trainer.looks",
    "trainer.spacing",
    "trainer.checkpoint_steps",
    "trainer.checkpoint_minutes",
    "device",
    "name",
    "figures",
    "picture",
    "logger",
    "theory.stationary",
    "theory.plane",
    "theory.extent",
    "theory.grid",
    "theory.stability",
    "theory.precision",
    "theory.margins",
)
Change = Mapping[str, Any]  # step, time, and keys: what each was and is


@dataclass(frozen=True)
class Provenance:
    """Where a run comes from, as its checkpoints have it."""

    config: Config  # as it was given
    digest: str  # of it, as in DONE
    overrides: Sequence[str] = ()  # with which the command was started
    changes: Sequence[Change] = field(default_factory=tuple)  # on the way
    jobs: Sequence[str] = ()  # of a batch: what each is, in their order

    def described(self, plan: Plan) -> dict[str, Any]:
        """In plain values, with what else decides how numbers are rounded."""
        jobs = {"jobs": [*self.jobs]} if self.jobs else {}
        return jobs | {
            "config_hash": self.digest,
            "config": _settings(self.config),
            "files": _files(self.config),
            "overrides": [text for text in self.overrides if not _resumes(text)],
            "changes": [dict(change) for change in self.changes],
            "made_by": {
                "reludyn": version("reludyn"),
                "torch": torch.__version__.partition("+")[0],
                "device": plan.device.type,
                "ranks": plan.ranks.place.size,
                "threads": torch.get_num_threads(),
            },
        }


@dataclass(frozen=True)
class ResumePoint:
    """Where a run goes on."""

    checkpoint: Checkpoint
    folder: Path | None  # of the run that left it; None: it lies somewhere else
    changes: Sequence[Change]  # of the config on the way, the last ones included

    @cached_property
    def seen(self) -> Mapping[str, Any]:
        """What the instruments had recorded, with NumPy arrays."""
        seen: Mapping[str, Any] = map_tensors(Tensor.numpy, self.checkpoint.seen)
        return seen

    @property
    def since(self) -> tuple[int, Any]:
        """Iteration and time from which on the step size is what it is."""
        of_lr = [change for change in self.changes if "optimizer.lr" in change["keys"]]
        return (of_lr[-1]["step"], of_lr[-1]["time"]) if of_lr else BEGINNING

    @property
    def spent(self) -> float:
        """The seconds that the earlier parts of the run took."""
        return float(self.seen["seconds"])

    def refused(self) -> ConfigError:
        """Return the error of a checkpoint whose records are those of another run."""
        allowed = "what its checkpoint has recorded is not of this run"
        return ConfigError("resume", self.folder or ..., allowed, "Start the run anew")

    @contextmanager
    def checked(self) -> Iterator[None]:
        """Raise `refused` where restoring what was recorded fails."""
        try:
            yield
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise self.refused() from error


def locate(path: str, folder: Path) -> Path | None:
    """The checkpoint that `resume=PATH` means for a run in a folder: a file, that of a run's
    folder, of the latest one that is not complete, or of this folder itself, if there is one.
    Raises ConfigError where there is none."""
    if path == "auto":
        return folder / LAST if (folder / LAST).is_file() else None
    if path == "latest":
        if (file := _newest(LAST)) is None:
            raise ConfigError(
                "resume",
                path,
                f"there is no run below {OUTPUTS}/ that is not complete and has left a checkpoint",
                "Name its folder: resume=FOLDER",
            )
        return file
    place = Path(os.path.expanduser(path))
    file = place / LAST if place.is_dir() else place
    if not file.is_file():
        allowed = "must be a checkpoint, or the folder of a run that has left one"
        if not place.exists():
            allowed = "there is no such file or folder"
        raise ConfigError("resume", path, allowed, "Or use resume=latest")
    return file


def begun(path: str) -> Path | None:
    """Return the folder that `resume=PATH` means where its run has saved nothing: that one, or the
    latest below outputs/, if no checkpoint is newer."""
    folder = Path(path)
    if path == "latest":
        file, saved = _newest(CONFIG), _newest(LAST)
        if file is None or (saved is not None and _changed(saved) >= _changed(file)):
            return None
        folder = run_of(file)
    saved_nothing = not any((folder / name).exists() for name in FILES)
    return folder if saved_nothing and is_begun(folder) else None


def _newest(name: Path) -> Path | None:
    """The newest file of this name of a run below outputs/ that is not complete, one that is alone
    where it has saved nothing: a sweep has its own command."""
    found = (path for path in OUTPUTS.rglob(str(name)) if not (run_of(path) / "DONE").exists())
    if name == CONFIG:
        found = (
            path
            for path in found
            if not (run_of(path) / LAST).exists() and not is_of_a_sweep(run_of(path))
        )
    return max(found, key=_changed, default=None)


def _changed(path: Path) -> int:
    return path.stat().st_mtime_ns


def run_of(file: Path) -> Path:
    """The folder of the run that has left a checkpoint, or its config."""
    return file.parent.parent


def goes_on_in(path: str | None, folder: Path) -> bool:
    """Whether a run in this folder is one that has been there, and goes on."""
    file = None if path is None else locate(path, folder)
    return file is not None and run_of(file).resolve() == folder.resolve()


def find_resume_point(config: Config, folder: Path) -> ResumePoint | None:
    """Where a run in this folder goes on; None: it begins. Raises ConfigError where the checkpoint
    is not whole, or of a config that differs in what may not change."""
    if config.resume is None or (file := locate(config.resume, folder)) is None:
        return None
    checkpoint = load_checkpoint(file)
    if _is_of_a_batch(checkpoint):
        allowed = "is of jobs of a sweep that ran as one batch: none of them resumes alone"
        remedy = "The command of the sweep runs those that are not complete"
        raise ConfigError("resume", file, allowed, remedy)
    there = checkpoint.origin["config"]
    found = differences(there, _settings(config))
    _check(config, found, checkpoint)
    _check_files(config, checkpoint)
    changes = list(checkpoint.origin["changes"])
    if found:
        keys = {key: list(pair) for key, pair in found.items()}
        state = checkpoint.state
        changes.append({"step": state.step, "time": state.clock_time, "keys": keys})
        log.info("from step %d on: %s", state.step, named(found, len(found)))
    if _is_over(checkpoint.state, config) and (run_of(file) / "DONE").exists():
        raise ConfigError(
            "resume",
            config.resume,
            "the run is complete",
            "To go on longer add trainer.steps=N resume_allow=[trainer.steps]",
        )
    return ResumePoint(
        checkpoint, run_of(file) if file.parent.name == LAST.parts[0] else None, changes
    )


def resumes_alone(folder: Path) -> bool:
    """Whether a job that is not complete has left a checkpoint from which it resumes: the last one
    of a job that ran in a batch does not hold its looks. A damaged one is refused later."""
    if not (folder / LAST).exists():
        return False
    try:
        return not _is_of_a_batch(load_checkpoint(folder / LAST))
    except ConfigError:
        return True


def _is_of_a_batch(checkpoint: Checkpoint) -> bool:
    return "jobs" in checkpoint.origin or not checkpoint.seen


def load_batch(file: Path) -> Checkpoint:
    """Return the checkpoint of a batch (`Provenance.jobs`). Raises ConfigError where the file is
    not that, whole."""
    try:
        checkpoint = loaded(file)
        if "jobs" not in checkpoint.origin:
            raise Unreadable("the checkpoint is not of a batch")
    except Unreadable as error:
        raise refused_batch(file, error) from error
    return checkpoint


def begin_batch(file: Path, config: Config) -> ResumePoint:
    """Return where a batch resumes whose jobs have this config but for what is their own. Raises
    ConfigError where the checkpoint is not whole, or a file that the config names has changed."""
    checkpoint = load_batch(file)
    _check_files(config, checkpoint)
    return ResumePoint(checkpoint, None, ())


def refused_batch(file: Path, reason: Exception) -> ConfigError:
    """Return the error of a batch that cannot resume from its checkpoint."""
    sweep = file.parent.parent
    said = str(reason)
    if isinstance(reason, ConfigError) and reason.key == "resume":  # a word of single runs
        said = reason.allowed
    allowed = f"a batch cannot resume from {file.relative_to(sweep)}: {said}"
    remedy = "Move that file away, and the jobs of the batch begin anew"
    return ConfigError("hydra.sweep.dir", sweep, allowed, remedy)


def shared(start: ResumePoint | None, ranks: Ranks) -> ResumePoint | None:
    """Where rank 0 goes on, on all ranks."""
    if not ranks.several:
        return start
    content = b""
    if start is not None:
        there = start.checkpoint
        origin = {**there.origin, "changes": list(start.changes)}
        seen = {name: x for name, x in there.seen.items() if name != "board"}
        content = dumped(replace(there, origin=origin, seen=seen))
    content = ranks.spread(content)
    if ranks.leads or not content:
        return start
    checkpoint = loaded(content)
    return ResumePoint(checkpoint, None, checkpoint.origin["changes"])


def compare_makers(start: ResumePoint, described: Mapping[str, Any]) -> None:
    """Warn where a run resumes under other conditions than it had (`Provenance.described`)."""
    found = differences(start.checkpoint.origin["made_by"], described["made_by"])
    if found:
        log.warning("the run goes on to rounding, not to the bit: %s", named(found, len(found)))


def _check(config: Config, found: Mapping[str, tuple[Any, Any]], checkpoint: Checkpoint) -> None:
    for key in config.resume_allow:
        if not (_allowed(key, CHANGEABLE) or any(x.startswith(f"{key}.") for x in CHANGEABLE)):
            raise ConfigError(
                "resume_allow",
                key,
                "cannot change in a run that goes on; these can: " + ", ".join(CHANGEABLE),
            )
    refused = {
        key: pair
        for key, pair in found.items()
        if not (_allowed(key, config.resume_allow) and _allowed(key, CHANGEABLE))
    }
    if refused:
        able = [key for key in refused if _allowed(key, CHANGEABLE)]
        remedy = "Leave them as they were"
        if len(able) == len(refused):
            remedy += f", or add resume_allow=[{','.join([*config.resume_allow, *able])}]"
        raise ConfigError(
            "resume", config.resume, f"the run had another config: {named(refused, NAMED)}", remedy
        )
    if "optimizer.lr" in found and not (is_constant_descent(config) and not config.theory.bounds):
        raise ConfigError(
            "resume_allow",
            "optimizer.lr",
            "the step size can change on the way with optimizer=gd "
            "and a constant schedule, without theory.bounds",
            "Leave it as it was",
        )
    if "trainer.steps" in found and getattr(config.optimizer, "schedule", "constant") != "constant":
        raise ConfigError(
            "resume_allow",
            "trainer.steps",
            f"optimizer.schedule={config.optimizer.schedule} ends at the number of steps that the "
            "run had",
            "Leave it as it was",
        )


def _check_files(config: Config, checkpoint: Checkpoint) -> None:
    for key, digest in _files(config).items():
        if checkpoint.origin["files"].get(key) != digest:
            allowed = f"the file that {key} names has changed"
            raise ConfigError("resume", config.resume or ..., allowed, "Start the run anew")


def _is_over(state: State, config: Config) -> bool:
    return state.step >= config.trainer.steps or not bool(state.running.any())


def _allowed(key: str, keys: Sequence[str]) -> bool:
    return key in keys or key.partition(".")[0] in keys


def _settings(config: Config) -> dict[str, Any]:
    return {name: value for name, value in asdict(config).items() if name not in RESUME}


def _files(config: Config) -> dict[str, str]:
    """SHA-256 of the files that the config names, by key."""
    found = {}
    settings = flat(asdict(config))
    for key in PATHS:
        if settings.get(key) is not None and (path := Path(settings[key])).is_file():
            found[key] = _digest(path, path.stat().st_mtime_ns)
    return found


@lru_cache
def _digest(path: Path, _: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(2**20):
            digest.update(part)
    return digest.hexdigest()


def _resumes(override: str) -> bool:
    return override.lstrip("+").partition("=")[0] in RESUME
