"""Event files, as TensorBoard's own backend reads them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.context import RequestContext
from tensorboard.data.provider import RunTagFilter
from tensorboard.plugins.hparams import api_pb2 as api
from tensorboard.plugins.hparams import backend_context, get_experiment, list_session_groups


def events(folder: Path) -> list[Event]:
    """Everything in the one event file of a folder, but the header."""
    (file,) = folder.glob("events.out.tfevents.*")
    header, *rest = LegacyEventFileLoader(str(file)).Load()
    assert header.HasField("file_version")
    return rest


def looks(folder: Path) -> list[Event]:
    """The events that are looks."""
    return [
        event
        for event in events(folder)
        if any(v.HasField("simple_value") and "result/" not in v.tag for v in event.summary.value)
    ]


def curves(folder: Path, group: str = "") -> dict[str, dict[int, float]]:
    """Value at each step, by tag; of the tags in a group, by what follows it."""
    found: dict[str, dict[int, float]] = {}
    for event in looks(folder):
        for value in event.summary.value:
            if value.HasField("simple_value") and value.tag.startswith(group):
                tag = value.tag.removeprefix(group)
                found.setdefault(tag, {})[event.step] = value.simple_value
    return found


def runs(logdir: Path) -> list[str]:
    """What TensorBoard counts as runs: the folders with event files, of which one has one."""
    files = [file.parent for file in logdir.rglob("events.out.tfevents.*")]
    assert len(files) == len({*files})
    return sorted(str(folder.relative_to(logdir)) for folder in files)


class Board:
    """What TensorBoard shows of a folder."""

    def __init__(self, folder: Path) -> None:
        multiplexer = EventMultiplexer().AddRunsFromDirectory(str(folder)).Reload()
        self.provider = MultiplexerDataProvider(multiplexer, str(folder))
        self.asked: Any = {"ctx": RequestContext(), "experiment_id": ""}

    def meanings(self) -> dict[str, dict[str, str]]:
        """What the scalars of each run mean, by tag."""
        found = self.provider.list_scalars(**self.asked, plugin_name="scalars")
        return {
            run: {tag: about.description for tag, about in tags.items()}
            for run, tags in found.items()
        }

    def texts(self, run: str = ".") -> dict[str, str]:
        """The cards of the page TEXT."""
        return {tag: x.decode() for tag, x in self._tensors("text", run).items()}

    def tensor(self, plugin: str, run: str = ".") -> bytes:
        """The one tensor that a plugin finds."""
        (found,) = self._tensors(plugin, run).values()
        return found

    def images(self, run: str = ".") -> dict[str, tuple[int, bytes]]:
        """Step and PNG of the latest picture, by tag."""
        found = self.provider.read_blob_sequences(
            **self.asked, plugin_name="images", downsample=9, run_tag_filter=RunTagFilter([run])
        )
        return {
            tag: (
                data[-1].step,
                self.provider.read_blob(
                    ctx=self.asked["ctx"], blob_key=data[-1].values[2].blob_key
                ),
            )
            for tag, data in found.get(run, {}).items()
        }

    def _tensors(self, plugin: str, run: str) -> dict[str, bytes]:
        found = self.provider.read_tensors(
            **self.asked, plugin_name=plugin, downsample=9, run_tag_filter=RunTagFilter([run])
        )
        return {tag: data[-1].numpy.item() for tag, data in found.get(run, {}).items()}


class Tab(Board):
    """The page HPARAMS."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        about = backend_context.Context(SimpleNamespace(data_provider=self.provider))
        asked = api.ListSessionGroupsRequest(
            start_index=0,
            slice_size=1000,
            allowed_statuses=[api.STATUS_SUCCESS, api.STATUS_FAILURE],
        )
        place: Any = RequestContext(), about, ""
        answer = list_session_groups.Handler(*place, asked).run()
        self.groups = {group.name: group for group in answer.session_groups}
        experiment = get_experiment.Handler(*place, api.GetExperimentRequest()).run()
        self.infos = {info.name: info for info in experiment.hparam_infos}
        self.metrics = [info.name.tag for info in experiment.metric_infos]

    def values(self, name: str) -> dict[str, object]:
        """Of a run, by key."""
        return {
            key: getattr(value, value.WhichOneof("kind"))
            for key, value in self.groups[name].hparams.items()
        }

    def results(self, name: str) -> dict[str, float]:
        return {metric.name.tag: metric.value for metric in self.groups[name].metric_values}

    def succeeded(self, name: str) -> bool:
        """Whether a run came to a good end."""
        (session,) = self.groups[name].sessions
        return session.status == api.STATUS_SUCCESS
