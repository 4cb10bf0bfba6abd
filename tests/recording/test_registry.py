"""The registry of quantities: what follows from one decorated function."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from reludyn.recording.observables import FULL
from reludyn.recording.quantities import CORE, largest
from reludyn.recording.registry import Chart, Digest, Quantity, Registry, numbers_of
from reludyn.recording.tensorboard.tags import TAGS

# the public contract, written out here so that a change of it is seen; later versions only add
NAMES = [
    "loss",
    "loss_linear",
    "loss_rectification",
    "loss_population",
    "w_norm",
    "v_norm",
    "angle_to_target",
    "imbalance",
    "angle_between",
]
GROWTH = Chart("Mine", "growth")


def registered(**declared: Any) -> tuple[Registry, Quantity]:
    """A registry of one quantity, `size`."""
    registry = Registry()

    @registry.quantity("mine/size", **declared)
    def size(moment: Any) -> None:
        """A size, in
        metres."""

    return registry, registry["size"]


def test_the_core_quantities_have_their_places() -> None:
    assert [*CORE][: len(NAMES)] == NAMES


def test_no_two_quantities_share_a_name_or_a_tag() -> None:
    both = [*CORE.values(), *FULL.values()]
    assert CORE.keys() & FULL.keys() == set()
    assert sum(len(x.tags) for x in both) == len({tag for x in both for tag in x.tags})


@pytest.mark.parametrize("quantity", [*CORE.values(), *FULL.values()])
def test_each_has_a_meaning(quantity: Quantity) -> None:
    for tag, meaning in quantity.tags.items():
        assert meaning.endswith(".")
        assert TAGS[tag] == meaning
    for tag in quantity.predicted_tags:
        assert TAGS[f"predicted/{tag}"].endswith(TAGS[tag])


def test_one_number_per_replica() -> None:
    registry, quantity = registered(chart=GROWTH, band="size", predicted=True)
    assert quantity.tags == {"mine/size": "A size, in metres."} == registry.meanings
    assert registry.charts(2) == {GROWTH: ["(predicted/)?mine/size$"]}
    assert registry.bands() == {"size": "mine/size"}
    assert quantity.predicted_tags == ["mine/size"]
    assert quantity.numbers(np.arange(3))["mine/size"].tolist() == [0, 1, 2]


def test_the_largest_one_stands_for_all_neurons() -> None:
    digest = Digest("largest", "The largest one.", largest)
    registry, quantity = registered(axes="k", chart=GROWTH, band="largest size", digest=digest)
    assert registry.charts(2) == {GROWTH: [r"mine/(size/\d+|largest)$"]}
    assert registry.bands() == {"largest size": "mine/largest"}
    assert [*quantity.tags] == ["mine/size/<i>", "mine/largest"]
    looks = np.arange(24).reshape(2, 3, 4)  # of three replicas with four neurons
    assert numbers_of(registry, {"size": looks, "other": looks}).keys() == {"mine/largest"}
    np.testing.assert_array_equal(quantity.numbers(looks)["mine/largest"], looks.max(-1))
    np.testing.assert_array_equal(quantity.numbers(looks[0])["mine/largest"], looks[0].max(-1))


def test_mutual_pairs_are_of_narrow_networks() -> None:
    registry, _ = registered(axes="kk", chart=GROWTH, mutual=True)
    assert [len(registry.charts(width)) for width in (1, 2, 16, 17)] == [0, 1, 1, 0]


def test_a_chart_may_name_its_tags() -> None:
    chart = Chart("Mine", "all", r"mine/\w+$")
    registry, _ = registered(chart=chart)
    assert registry.charts(2) == {chart: [r"mine/\w+$"]}


def test_charts_come_in_the_order_that_is_given() -> None:
    second = Chart("Mine", "second")
    registry = Registry(GROWTH)
    registry.quantity("mine/a", chart=second)(lambda moment: None)
    registry.quantity("mine/b", chart=GROWTH)(_other)
    assert [*registry.charts(2)] == [GROWTH, second]
    assert [*registry] == ["<lambda>", "_other"]


def _other(moment: Any) -> None:
    """Another one."""


@pytest.mark.parametrize("run", ["fig3", "ensemble", "empirical"])
def test_the_cosine_between_the_effective_map_and_the_teacher(
    run: str, request: pytest.FixtureRequest
) -> None:
    """In all inputs, though it is measured in the coordinates of the run."""
    arrays = request.getfixturevalue(run).arrays
    product, A = arrays["V"] @ arrays["W"], arrays["A"]
    lengths = np.linalg.norm(product, axis=(-2, -1)) * np.linalg.norm(A)
    expected = (product * A).sum((-2, -1)) / lengths
    found = arrays["map_cosine"][:, : product.shape[1]]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14)
