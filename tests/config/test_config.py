"""conf/ and the dataclasses say the same, and every limit of a dataclass is kept."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_type_hints

import pytest
from hydra.errors import HydraException
from omegaconf import OmegaConf

from reludyn.config.parse import OPTIONS, conf_directory, config_hash, parse
from reludyn.config.schema import Config
from reludyn.system.errors import ConfigError
from tests.support.commands import Composer

CONF = conf_directory()
EXPERIMENTS = sorted(path.stem for path in CONF.glob("experiment/*.yaml"))
ALL_OPTIONS = [(group, option) for group, options in OPTIONS.items() for option in options]
# what an option cannot do without
NEEDS = {
    ("data", "file"): ["data.path=x.npz"],
    ("data", "digits"): ["init.signs=random"],
    ("optimizer", "sgd"): ["data=gaussian"],
}


@pytest.mark.quick(4)
@pytest.mark.parametrize("data", ["gaussian", "stream"])
@pytest.mark.parametrize(
    ("overrides", "n"),
    [
        ([], 1600),
        (["data.dim=20"], 320),
        (["data.dim=30", "data.ratio=3.25"], 98),
        (["data.dim=30", "data.ratio=3.25", "data.samples=7"], 7),
        (["data.dim=3", "data.ratio=0.1"], 1),
    ],
)
def test_a_ratio_is_that_of_samples_to_inputs(
    composed: Composer, data: str, overrides: list[str], n: int
) -> None:
    assert parse(composed(f"data={data}", *overrides)).data.samples == n


def choose(group: str, option: str) -> list[str]:
    """The overrides that choose an option."""
    return [f"{group}={option}", *NEEDS.get((group, option), [])]


def keys_of(schema: type) -> set[str]:
    return {field.name for field in fields(schema)}


# --- conf/ and the schemas --------------------------------------------------------------------


def test_the_files_are_the_options() -> None:
    ours = {"hydra", "experiment"}
    groups = {folder.name for folder in CONF.iterdir() if folder.is_dir()} - ours
    files = {group: {path.stem for path in CONF.glob(f"{group}/*.yaml")} for group in groups}
    assert files == {group: set(options) for group, options in OPTIONS.items()}


@pytest.mark.parametrize(("group", "option"), ALL_OPTIONS)
def test_a_file_holds_no_key_that_its_schema_lacks(group: str, option: str) -> None:
    written = set(OmegaConf.load(CONF / group / f"{option}.yaml")) - {"defaults"}
    assert written <= keys_of(OPTIONS[group][option])


@pytest.mark.quick(5)
@pytest.mark.parametrize(("group", "option"), ALL_OPTIONS)
def test_an_option_gives_every_key_of_its_schema_a_value(
    composed: Composer, group: str, option: str
) -> None:
    config = composed(*choose(group, option))
    assert set(config[group]) == keys_of(OPTIONS[group][option])
    assert OmegaConf.missing_keys(config) == set()


@pytest.mark.quick(5)
@pytest.mark.parametrize(("group", "option"), ALL_OPTIONS)
def test_an_option_is_parsed_into_its_schema(composed: Composer, group: str, option: str) -> None:
    part = getattr(parse(composed(*choose(group, option))), group)
    assert type(part) is OPTIONS[group][option]
    assert getattr(part, "name", option) == option


@pytest.mark.quick(8)
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_an_experiment_can_be_run(composed: Composer, experiment: str) -> None:
    assert isinstance(parse(composed(f"experiment={experiment}")), Config)


@pytest.mark.parametrize(
    "schema", dict.fromkeys([Config, *(OPTIONS[g][o] for g, o in ALL_OPTIONS)])
)
def test_every_key_says_what_it_means(schema: type) -> None:
    keys = [field for field in fields(schema) if field.name not in OPTIONS]
    assert all(key.metadata.get("meaning") for key in keys)


def test_the_defaults_are_the_paper_s(composed: Composer) -> None:
    config = parse(composed())
    assert (config.data.name, config.data.dim, config.data.outputs) == ("population", 100, 1)
    assert (config.model.width, config.model.train_output) == (2, True)
    assert (config.optimizer.lr, config.init.name, config.init.scale) == (
        0.1,
        "xavier_normal",
        1e-4,
    )
    assert (config.init.signs, config.trainer.tolerance) == ("alternating", 1e-4)
    assert (config.replicas, config.seed, config.precision) == (1, 0, "float64")


# --- Limits -----------------------------------------------------------------------------------


class Limited(NamedTuple):
    """A key that has limits."""

    choice: list[str]  # the overrides that make it exist
    key: str
    kind: type
    limits: Mapping[str, Any]

    def beyond(self) -> Iterator[object]:
        """Values just outside."""
        if self.limits["one_of"]:
            yield "nonsense"
        if self.kind is float:
            yield from (math.nan, math.inf, -math.inf)
        if self.limits["above"] is not None:
            yield float(self.limits["above"])
        if self.limits["below"] is not None:
            yield float(self.limits["below"])
        for name, side in (("at_least", -1), ("at_most", 1)):
            if self.limits[name] is not None:
                edge = self.kind(self.limits[name])
                whole = self.kind is int
                yield edge + side if whole else math.nextafter(edge, side * math.inf)


def _limited() -> Iterator[Limited]:
    places = [([], "", Config), *((choose(g, o), f"{g}.", OPTIONS[g][o]) for g, o in ALL_OPTIONS)]
    for choice, prefix, schema in places:
        hints = get_type_hints(schema)
        for field in fields(schema):
            if field.metadata:
                hint = hints[field.name]
                kind = (get_args(hint) or (hint,))[0]  # int | None: int
                yield Limited(choice, prefix + field.name, kind, field.metadata)


LIMITED = list({limited.key: limited for limited in _limited()}.values())
NUMBERS = [limited for limited in LIMITED if limited.kind in (int, float, bool)]
COUNTS = [limited for limited in LIMITED if limited.kind is int]
OUTSIDE = [(limited, value) for limited in LIMITED for value in limited.beyond()]


def name(value: object) -> str | None:
    return value.key if isinstance(value, Limited) else None


@pytest.mark.quick(15)
@pytest.mark.parametrize(("limited", "value"), OUTSIDE, ids=name)
def test_a_value_beyond_its_limit_is_refused(
    composed: Composer, limited: Limited, value: object
) -> None:
    config = composed(*limited.choice, f"{limited.key}={value}")
    with pytest.raises(ConfigError) as error:
        parse(config)
    assert error.value.key == limited.key
    assert str(error.value.value) == str(value)


@pytest.mark.quick(5)
@pytest.mark.parametrize("limited", COUNTS, ids=name)
def test_the_smallest_count_is_allowed(composed: Composer, limited: Limited) -> None:
    smallest = limited.limits["at_least"]
    assert parse(composed(*limited.choice, f"{limited.key}={smallest}"))


@pytest.mark.quick(5)
@pytest.mark.parametrize("limited", NUMBERS, ids=name)
def test_a_word_is_not_a_number(composed: Composer, limited: Limited) -> None:
    with pytest.raises(HydraException, match=f"{limited.key}=many"):
        composed(*limited.choice, f"{limited.key}=many")


@pytest.mark.quick(5)
@pytest.mark.parametrize("limited", COUNTS, ids=name)
def test_a_fraction_is_not_a_count(composed: Composer, limited: Limited) -> None:
    with pytest.raises(HydraException, match=f"{limited.key}=2.5"):
        composed(*limited.choice, f"{limited.key}=2.5")


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        (["data.dim=3", "data.outputs=4"], "data.outputs"),
        (["data.samples=10"], "data.samples"),
        (["data.outputs=2", "init.signs=alternating"], "init.signs"),
        (["data.outputs=2", "init.signs=same"], "init.signs"),
        (["precision=float32", "init.scale=1e-20"], "init.scale"),
        (["precision=float32", "data.target_norm=1e30"], "data.target_norm"),
        (["model.train_hidden=false", "model.train_output=false"], "model.train_hidden"),
        (["model.bias=true"], "model.bias"),
    ],
)
def test_values_that_exclude_each_other_are_refused(
    composed: Composer, overrides: list[str], key: str
) -> None:
    with pytest.raises(ConfigError) as error:
        parse(composed(*overrides))
    assert error.value.key == key


@pytest.mark.parametrize(
    "overrides",
    [
        ["data.dim=4", "data.outputs=4", "init.signs=random"],
        ["data=gaussian", "data.samples=1"],
        ["data=gaussian", "data.seed=0"],
        ["trainer.tolerance=0"],
        ["trainer.keep_weights=0", "logger.replicas=0"],
        ["seed=9007199254740992"],
        ["model.negative_slope=1"],
        ["model.train_hidden=false"],
    ],
)
def test_values_at_the_edge_are_allowed(composed: Composer, overrides: list[str]) -> None:
    assert parse(composed(*overrides))


@pytest.mark.parametrize("group", OPTIONS)
def test_a_group_cannot_be_a_plain_value(composed: Composer, group: str) -> None:
    config = OmegaConf.to_container(composed())
    with pytest.raises(ConfigError, match=rf"^{group}=3: must be one of "):
        parse(OmegaConf.create(config | {group: 3}))


@pytest.mark.parametrize("group", OPTIONS)
def test_a_group_cannot_be_left_out(composed: Composer, group: str) -> None:
    config = OmegaConf.to_container(composed())
    del config[group]
    with pytest.raises(ConfigError, match=rf"^{group}=\?\?\?: a value is needed"):
        parse(OmegaConf.create(config))


# --- The hash ---------------------------------------------------------------------------------


def test_the_hash_is_a_sha256(composed: Composer) -> None:
    assert len(bytes.fromhex(config_hash(composed()))) == 32


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["seed=1", "replicas=2"], ["replicas=2", "seed=1"]),
        (["init.scale=1e-3"], ["init.scale=0.001"]),
        (["model.width=2"], []),
    ],
)
def test_equal_settings_have_equal_hashes(
    composed: Composer, one: list[str], other: list[str]
) -> None:
    assert config_hash(composed(*one)) == config_hash(composed(*other))


def test_the_hash_ignores_the_order_of_keys(composed: Composer) -> None:
    config = OmegaConf.to_container(composed())
    reversed_keys = dict(reversed(config.items()))
    assert config_hash(OmegaConf.create(reversed_keys)) == config_hash(OmegaConf.create(config))


@pytest.mark.parametrize("override", ["seed=1", "init.scale=2e-4", "logger=none", "figures=false"])
def test_every_setting_counts_in_the_hash(composed: Composer, override: str) -> None:
    assert config_hash(composed(override)) != config_hash(composed())


def test_the_hash_is_taken_of_resolved_values(composed: Composer) -> None:
    assert config_hash(composed("seed=${replicas}")) == config_hash(composed("seed=1"))


def test_conf_is_found_beside_or_inside_the_package() -> None:
    package = Path(__import__("reludyn").__file__).parent
    assert CONF in (package / "conf", package.parent / "conf")
