"""Settings that exclude each other are refused, with the reason."""

from __future__ import annotations

import re

from reludyn.config.schema import (
    AdamOptimizer,
    Config,
    FlowOptimizer,
    GaussianData,
    GivenData,
    Optimizer,
    PopulationData,
    SGDOptimizer,
    StreamData,
)
from reludyn.system.errors import ConfigError

WIDEST = 256  # the width up to which descent on the population risk is compiled
PATHS = ("neurons", "sums", "pairs", "polar", "portrait", "animation")  # drawn from the weights
RESUME = ("resume", "resume_allow")  # keys that define how a run is resumed, not what it is
RESIDENT = ("gaussian", "file", "digits")  # sources that hold their samples in memory


def check_combinations(config: Config) -> None:
    """Raise ConfigError for values that are each allowed, but not together."""
    check_name(config.name)
    _check_model(config)
    if not isinstance(config.data, GivenData):
        _check_data(config.data)
    _check_init(config)
    _check_optimizer(config)
    _check_theory(config)
    _check_picture(config)
    if config.trainer.engine == "compiled" and (reason := no_program(config)):
        raise ConfigError("trainer.engine", "compiled", reason, "Use trainer.engine=auto")
    if config.precision == "float32":
        _check_single(config)


def check_name(name: str) -> None:
    """Raise ConfigError for the name of an experiment that is not a folder below outputs/."""
    if not re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)*", name):
        raise ConfigError(
            "name", name, "must be letters, digits, - _ . and / within: it names a folder"
        )


# keys that may differ between the replicas of a batch, with a value that stands for all of them
OWN: dict[str, int | float | str] = {
    "seed": 0,
    "init.scale": 1.0,
    "init.signs": "random",
    "optimizer.lr": 1.0,
    "data.target_norm": 1.0,
    "trainer.tolerance": 0.0,
}


def own_keys(config: Config) -> frozenset[str]:
    """Return the keys in which jobs of one batch may differ: each replica has its own value.

    The step size is one of them only where the update rule is the paper's, with one step size for
    both layers; the norm of the target only where the risk is in closed form, for targets that are
    otherwise alike to the last bit. There are none where steps are shared, time is limited, or the
    Hessian or the lemmas are evaluated.
    """
    theory = config.theory
    shared = isinstance(config.optimizer, FlowOptimizer) or config.trainer.max_seconds is not None
    if shared or theory.bounds or theory.spectrum:
        return frozenset()
    keys, data = set(OWN), config.data
    if not is_constant_descent(config) or config.optimizer.output_lr is not None:
        keys.remove("optimizer.lr")
    if data.name != "population" or (data.covariance, data.target) != ("identity", "axis"):
        keys.remove("data.target_norm")
    return frozenset(keys)


def check_shared(config: Config, ranks: int) -> None:
    """Raise ConfigError for settings that several ranks cannot share.

    Ranks share the rows that every step goes through.
    """
    data, optimizer = config.data, config.optimizer
    if ranks == 1:
        return
    if data.name == "population":
        raise ConfigError(
            "data",
            data.name,
            f"must be stream, gaussian, file or digits with {ranks} ranks, "
            "which share its rows; the population risk has none",
            "Start one process",
        )
    if isinstance(optimizer, SGDOptimizer):
        raise ConfigError(
            "optimizer",
            optimizer.name,
            f"must be a full-batch one with {ranks} ranks",
            "Use optimizer=gd, or start one process",
        )
    if config.theory.stability:
        raise ConfigError(
            "theory.stability", True, f"must be false with {ranks} ranks", "Start one process"
        )
    if is_fresh(config):
        raise ConfigError(
            "data.fresh",
            True,
            f"must be false with {ranks} ranks",
            "Use data.fresh=false, or start one process",
        )


def is_stochastic(config: Config) -> bool:
    """Return whether descent follows a part of the samples, another one in every step."""
    return isinstance(config.optimizer, SGDOptimizer) or is_fresh(config)


def is_fresh(config: Config) -> bool:
    """Return whether every step has samples of its own."""
    return isinstance(config.data, StreamData) and config.data.fresh


def stays_in_subspace(config: Config) -> bool:
    """Return whether descent stays in the span of A and W(0).

    The population risk of isotropic inputs has its gradient there, and all update rules but Adam,
    whose steps depend on the axes, combine gradients linearly.
    """
    data = config.data
    isotropic: bool = data.name == "population" and data.covariance == "identity"
    return isotropic and not isinstance(config.optimizer, AdamOptimizer)


def no_program(config: Config) -> str:
    """Return why there is no compiled program for this run; empty where there is one."""
    if config.data.name in RESIDENT:
        return "is for full-batch steps, not for optimizer=sgd" if is_stochastic(config) else ""
    if not stays_in_subspace(config):
        return "is for samples in memory or data=population data.covariance=identity"
    if not is_constant_descent(config):
        return "is for optimizer=gd with a constant step size, or for samples in memory"
    if config.trainer.gradient_tolerance > 0:
        return "has no trainer.gradient_tolerance"
    if config.model.width > WIDEST:
        return f"is for model.width up to {WIDEST}: beyond it all time goes into large products"
    return ""


def is_constant_descent(config: Config) -> bool:
    """Return whether this is gradient descent with a constant step size (one for each layer)."""
    optimizer = config.optimizer
    return optimizer.name == "gd" and (optimizer.schedule, optimizer.warmup) == ("constant", 0)


def has_theory(config: Config) -> bool:
    """Return whether the small-initialisation theory applies to this run.

    It applies to isotropic Gaussian inputs, or, for samples, to their limit n -> infinity, and to
    gradient descent with one constant step size on both layers of a network that is not linear.
    """
    data, optimizer, model = config.data, config.optimizer, config.model
    if isinstance(data, GivenData) or data.covariance != "identity":
        return False
    gaussian = not isinstance(data, GaussianData) or data.law == "gaussian"
    trained = model.train_hidden and model.train_output and model.negative_slope < 1
    constant = is_constant_descent(config) and optimizer.output_lr in (None, optimizer.lr)
    return bool(gaussian and trained and constant)


def _check_model(config: Config) -> None:
    model = config.model
    if model.bias:
        raise ConfigError(
            "model.bias",
            True,
            "must be false: the linear teacher, the closed forms and the "
            "invariances of the paper are those of networks without biases",
        )
    if not (model.train_hidden or model.train_output):
        raise ConfigError(
            "model.train_hidden", False, "one layer must be trained and model.train_output=false"
        )


def _check_data(data: PopulationData) -> None:
    if data.outputs > data.dim:
        raise ConfigError("data.outputs", data.outputs, f"must be at most data.dim={data.dim}")
    if data.name == "population" and data.samples is not None:
        raise ConfigError(
            "data.samples",
            data.samples,
            "must be null with data=population",
            "For an empirical risk use data=gaussian",
        )
    if data.seed is not None and data.name == "population" and data.target != "random":
        raise ConfigError(
            "data.seed",
            data.seed,
            f"must be null with data=population data.target={data.target}",
            "Nothing is drawn there",
        )
    for name, used in (("covariance", data.covariance), ("target", data.target)):
        path = getattr(data, f"{name}_path")
        if (used == "file") != (path is not None):
            allowed = f"must be a path with data.{name}=file, and null without"
            raise ConfigError(f"data.{name}_path", path, allowed)


def _check_init(config: Config) -> None:
    data, init = config.data, config.init
    if init.signs != "random" and data.outputs is not None and data.outputs > 1:
        raise ConfigError(
            "init.signs",
            init.signs,
            f"must be random when data.outputs={data.outputs} > 1",
            "Use init.signs=random: a pattern belongs to scalar output weights",
        )
    if init.scale_to is not None and config.replicas == 1:
        raise ConfigError(
            "init.scale_to",
            init.scale_to,
            "must be null with replicas=1",
            "A range of scales needs a batch: set replicas",
        )


def _check_optimizer(config: Config) -> None:
    optimizer, data, trainer = config.optimizer, config.data, config.trainer
    if optimizer.output_lr is not None and not config.model.train_output:
        raise ConfigError(
            "optimizer.output_lr",
            optimizer.output_lr,
            "must be null with model.train_output=false: the output layer does not move",
        )
    if isinstance(optimizer, Optimizer) and optimizer.warmup >= trainer.steps:
        raise ConfigError(
            "optimizer.warmup", optimizer.warmup, f"must be below trainer.steps={trainer.steps}"
        )
    if isinstance(optimizer, SGDOptimizer):
        if data.name in ("population", "stream"):
            raise ConfigError(
                "optimizer",
                optimizer.name,
                f"needs samples in memory; data={data.name} has none",
                "Use data=gaussian or data=file, or new samples in every step with data=stream "
                "data.fresh=true optimizer=gd",
            )
        if data.samples is not None and optimizer.batch > data.samples:
            raise ConfigError(
                "optimizer.batch", optimizer.batch, f"must be at most data.samples={data.samples}"
            )
    if not is_stochastic(config):
        return
    if isinstance(optimizer, FlowOptimizer):
        raise ConfigError(
            "optimizer",
            optimizer.name,
            "needs the gradient of one risk; with data.fresh=true every step has its own",
            "Use optimizer=gd, or data.fresh=false",
        )
    if trainer.gradient_tolerance > 0:
        raise ConfigError(
            "trainer.gradient_tolerance",
            trainer.gradient_tolerance,
            "must be 0 where steps follow a part of the samples: its gradient is not that of the "
            "risk",
            "Use trainer.tolerance",
        )


def _check_picture(config: Config) -> None:
    """Refuse, before training, a picture whose data the run will not have."""
    if not config.figures:
        return
    if config.picture in PATHS and config.trainer.keep_weights == 0:
        raise ConfigError(
            "trainer.keep_weights",
            0,
            f"must be >= 1 for picture={config.picture}",
            "Use picture=phases",
        )
    if config.picture == "portrait" and config.data.outputs > 1:
        raise ConfigError(
            "picture",
            "portrait",
            f"shows one output, not data.outputs={config.data.outputs}",
            "Use picture=pairs",
        )
    if config.picture == "pairs" and config.data.outputs == 1:
        raise ConfigError(
            "picture", "pairs", "shows several outputs, not data.outputs=1", "Use picture=neurons"
        )


def _check_theory(config: Config) -> None:
    theory, data, model = config.theory, config.data, config.model
    closed = not isinstance(data, GivenData) and getattr(data, "law", "gaussian") == "gaussian"
    if theory.spectrum and not closed:
        raise ConfigError(
            "theory.spectrum",
            True,
            "needs Gaussian inputs: the Hessian is that of their population risk",
        )
    if not (closed and data.covariance == "identity"):
        for name, value, absent in (
            ("stationary", theory.stationary, False),
            ("plane", theory.plane, "none"),
        ):
            if value != absent:
                raise ConfigError(
                    f"theory.{name}", value, "needs Gaussian inputs with data.covariance=identity"
                )
    if theory.bounds and not (
        has_theory(config) and data.outputs == 1 and model.width == 2 and model.negative_slope == 0
    ):
        raise ConfigError(
            "theory.bounds",
            True,
            "the lemmas are about one output, model.width=2, ReLU, "
            "isotropic Gaussian inputs and optimizer=gd with one constant step size on both layers",
        )
    if theory.stability and not (is_constant_descent(config) and config.trainer.tolerance > 0):
        raise ConfigError(
            "theory.stability",
            True,
            "needs optimizer=gd with a constant step size, and a "
            "trainer.tolerance: with a stable step size the loss falls below it",
        )
    if theory.stability and is_stochastic(config):
        raise ConfigError("theory.stability", True, "needs the same samples in every step")
    if theory.plane == "targets" and (data.outputs, model.width) != (1, 2):
        raise ConfigError(
            "theory.plane",
            "targets",
            "needs data.outputs=1 and model.width=2",
            "Use theory.plane=eigenvectors or random",
        )


def _check_single(config: Config) -> None:
    init = config.init
    sizes = {f"init.{name}": getattr(init, name) for name in ("scale", "scale_to", "output_scale")}
    if isinstance(config.data, PopulationData):
        sizes["data.target_norm"] = config.data.target_norm
    for name, value in sizes.items():
        if value is not None and not 1e-15 <= value <= 1e15:
            raise ConfigError(
                name,
                value,
                "must be between 1e-15 and 1e15 with precision=float32",
                "Use precision=float64",
            )
    optimizer = config.optimizer
    if isinstance(optimizer, FlowOptimizer) and (optimizer.rtol or 0) < 1e-6:
        raise ConfigError(
            "optimizer.rtol",
            optimizer.rtol,
            "must be at least 1e-6 with precision=float32",
            "Use precision=float64 or a larger optimizer.rtol",
        )
