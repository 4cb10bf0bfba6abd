"""Settings: the keys of a run, with their types, ranges and meanings.

There is one dataclass for each option of a group. The values are in conf/*.yaml, so no field has a
default.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

MISSING: Any = "???"  # OmegaConf's mark for a value that is still missing


def key(
    meaning: str,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    one_of: tuple[str, ...] = (),
) -> Any:
    """Return a dataclass field for a key: its meaning and the values it may take."""
    limits = {
        "at_least": at_least,
        "above": above,
        "at_most": at_most,
        "below": below,
        "one_of": one_of,
    }
    return field(default=MISSING, metadata={"meaning": meaning, **limits})


MATRIX = "an .npy, .npz, .csv, .parquet or .safetensors file"


PATHS = ("data.path", "data.target_path", "data.covariance_path", "init.path")  # keys of files


@dataclass
class PopulationData:
    """Population limit n -> infinity of Gaussian inputs."""

    name: str = key("the source of inputs")
    dim: int = key("number d of inputs", at_least=1, at_most=1e9)
    outputs: int = key("number r of outputs, at most d", at_least=1)
    target: str = key(
        "rows of A: the first r axes, r random orthonormal rows, or from a file",
        one_of=("axis", "random", "file"),
    )
    target_norm: float = key(
        "norm |a| of the target (every singular value of A); file: a factor on A",
        above=0,
        at_least=1e-100,
        at_most=1e100,
    )
    target_path: str | None = key(f"target=file: the matrix A (r, d), {MATRIX}")
    covariance: str = key(
        "covariance of the inputs: the identity, diagonal with a power law, or from a file",
        one_of=("identity", "power_law", "file"),
    )
    covariance_exponent: float = key(
        "power_law: eigenvalue i is proportional to i^-exponent, with mean 1",
        at_least=0,
        at_most=100,
    )
    covariance_path: str | None = key(f"covariance=file: the matrix Sigma (d, d), {MATRIX}")
    samples: int | None = key(
        "number n of samples; null is the population limit", at_least=1, at_most=1e12
    )
    seed: int | None = key(
        "null: each replica samples with its own seed; a number: one sample for all; a random "
        "target is drawn from it (null: 0)",
        at_least=0,
        at_most=2**53,
    )


@dataclass
class GaussianData(PopulationData):
    """Fixed samples, all n of them in every step."""

    law: str = key(
        "law of the inputs before they take their covariance",
        one_of=("gaussian", "rademacher", "student_t", "uniform_sphere"),
    )
    samples: int | None = key("number n of samples; null: ratio d", at_least=1, at_most=1e12)
    ratio: float = key("n/d where samples is null", above=0, at_most=1e9)
    freedom: float = key("degrees of freedom of student_t", above=2)
    noise: float = key("standard deviation of the label noise", at_least=0, at_most=1e100)


@dataclass
class StreamData(GaussianData):
    """Samples that are drawn again from their seeds in every step and never held."""

    fresh: bool = key("true: every step has n samples of its own (online SGD)")


@dataclass
class GivenData:
    """Samples that exist already."""

    name: str = key("the source of inputs")
    dim: int | None = key("number d of inputs; null: that of the data", at_least=1)
    outputs: int | None = key("number r of outputs; null: that of the data", at_least=1)
    samples: int | None = key("the first n rows; null: all", at_least=1)


@dataclass
class FileData(GivenData):
    """Samples from a file: X (n, d), and Y (n, r) or A (r, d)."""

    path: str = key("an .npz, .npy, .csv, .parquet or .safetensors file with X, and Y or A")
    columns_x: list[Any] | None = key(
        "the columns of a table that are inputs, by name, or by number from 0 where they have no "
        "names; null: all but those of columns_y"
    )
    columns_y: list[Any] | None = key(
        "the columns of a table that are outputs; null: those named y, y1, y_2, ... at one end of "
        "the table, or else the last data.outputs ones"
    )


@dataclass
class DigitsData(GivenData):
    """Images of digits."""

    target: str = key(
        "what is learned: the image itself (an autoencoder), the blurred image, or the image from "
        "the blurred one",
        one_of=("identity", "blur", "deblur"),
    )
    blur: float = key("width of the Gaussian blur in pixels", above=0, at_most=8)
    whiten: bool = key("whether the inputs are made to have covariance 1")


@dataclass
class ReLUModel:
    """Network f(x) = V phi(W x), phi(z) = z for z > 0 and negative_slope z otherwise, no biases."""

    name: str = key("the architecture")
    width: int = key("number k of hidden neurons", at_least=1, at_most=1e6)
    negative_slope: float = key(
        "slope of the activation for z < 0: 0 is ReLU, 1 a linear network", at_least=0, at_most=1
    )
    bias: bool = key("false: the closed forms and the theory are for networks without biases")
    train_hidden: bool = key("whether W is trained (else it keeps its initial value)")
    train_output: bool = key("whether V is trained (else it keeps its initial value)")


@dataclass
class Init:
    """Law of the initial weights."""

    name: str = key("the initialisation")
    scale: float = key("scale sigma of both layers", above=0, at_least=1e-100, at_most=1e100)
    scale_to: float | None = key(
        "null, or the scale of the last replica: from scale to here, log-spaced over the batch",
        above=0,
        at_least=1e-100,
        at_most=1e100,
    )
    output_scale: float | None = key(
        "scale of the output layer; null: that of the hidden layer",
        above=0,
        at_least=1e-100,
        at_most=1e100,
    )
    signs: str = key("signs of v_i, for r = 1", one_of=("random", "alternating", "same"))


@dataclass
class DominatedInit(Init):
    """Output weights larger than hidden ones."""

    ratio: float = key("|v_i| / |w_i|", above=1, at_most=1e10)


@dataclass
class ExplicitInit(Init):
    """Given weights."""

    W: list[Any] | None = key("rows w_i of the hidden layer; shorter ones are filled up with zeros")
    V: list[Any] | None = key("rows of the output layer, k numbers each")
    path: str | None = key("an .npz or .safetensors file with W and V instead")


@dataclass
class NearSaddleInit(Init):
    """Weights near a non-strict saddle of Theorem 1."""

    c: float = key("v_1 w_1 = (c + 1) a, |v_2| w_2 = c a; > 0 or < -1")
    distance: float = key("length of the random offset, in units of sqrt|a|", at_least=0)


@dataclass
class UpdateRule:
    """Update rule of the weights."""

    name: str = key("the update rule")
    lr: float = key("step size mu of both layers; for gradient_flow the time per step", above=0)
    output_lr: float | None = key("step size of the output layer; null: lr", above=0)


@dataclass
class Optimizer(UpdateRule):
    """Gradient descent in steps."""

    schedule: str = key(
        "the step size: constant, or falling as a cosine to zero at trainer.steps",
        one_of=("constant", "cosine"),
    )
    warmup: int = key("steps in which the step size rises linearly to lr", at_least=0)


@dataclass
class MomentumOptimizer(Optimizer):
    """Gradient descent with momentum."""

    momentum: float = key("factor beta of the earlier steps", at_least=0, below=1)


@dataclass
class AdamOptimizer(Optimizer):
    """Adam (Kingma, Ba 2015)."""

    beta1: float = key("decay of the mean of the gradient", at_least=0, below=1)
    beta2: float = key("decay of the mean of its square", at_least=0, below=1)
    eps: float = key("added to the root of the latter", above=0)


@dataclass
class SGDOptimizer(MomentumOptimizer):
    """Mini-batches of the samples, reshuffled every epoch."""

    batch: int = key("samples per step", at_least=1)


@dataclass
class FlowOptimizer(UpdateRule):
    """Gradient flow, the limit of small steps."""

    method: str = key("integrator of torchdiffeq", one_of=("dopri8", "dopri5", "bosh3"))
    rtol: float | None = key(
        "its error per step, relative to the weights; null: 1e-10, and 1e-5 on samples, where the "
        "gradient jumps",
        at_least=1e-14,
        at_most=1e-2,
    )


@dataclass
class Trainer:
    """Length of the run, and how often it is recorded."""

    steps: int = key("largest number of iterations", at_least=1, at_most=1e12)
    tolerance: float = key("a replica stops once its loss is below this (0: never)", at_least=0)
    gradient_tolerance: float = key(
        "a replica stops once the norm of its gradient, at the start of the order of init.scale, "
        "is below this (0: never)",
        at_least=0,
    )
    max_seconds: float | None = key("the run stops after this wall time; null: never", above=0)
    engine: str = key(
        "what makes the steps: eager, PyTorch's operations one by one; compiled, a program that a "
        "C++ compiler builds once (seconds to a minute), for gradient descent on the population "
        "risk, or for the gradient on samples in memory; auto compiles where that pays",
        one_of=("auto", "eager", "compiled"),
    )
    looks: int = key("number of recorded iterations", at_least=1, at_most=1e6)
    checkpoint_steps: int | None = key(
        "iterations between checkpoints, each at the end of a stretch of steps; null: "
        "only by the clock and when the run ends",
        at_least=1,
    )
    checkpoint_minutes: float | None = key(
        "minutes between checkpoints, or more where writing them would take over "
        "5% of the time; null: never",
        above=0,
    )
    spacing: str = key(
        "log: the first half of the looks dense, then log-spaced; linear: evenly spaced",
        one_of=("log", "linear"),
    )
    observables: str = key(
        "core, or full: gradients, updates, distances, overlaps, activation patterns, test loss",
        one_of=("core", "full"),
    )
    keep_weights: int = key(
        "number of replicas whose weights are kept in trajectory.npz", at_least=0
    )


@dataclass
class Logger:
    """Place where scalars are written while training."""

    name: str = key("the logger")


@dataclass
class TensorBoardLogger(Logger):
    """TensorBoard event files."""

    replicas: int = key("number of replicas that are shown singly beside the ensemble", at_least=0)
    jobs: bool = key(
        "true: each job of a sweep has event files of its own, and TensorBoard shows a run for "
        "each combination, however many there are; false: only the sweep has event files, with a "
        "run for each combination, or one run for all where there are more than 20"
    )


@dataclass
class Theory:
    """Evaluations of the theory beside a run (predictions are always computed)."""

    bounds: bool = key("whether the paper's lemmas are checked at every look: bounds.csv")
    spectrum: bool = key(
        "whether the Hessian's eigenvalues are computed at every look, for the replicas whose "
        "weights are kept"
    )
    stationary: bool = key(
        "whether stationary points are searched from the initial and the final weights: "
        "stationary_points.csv"
    )
    plane: str = key(
        "the plane on which the loss is evaluated: none; targets, w_1 = x a, w_2 = y a with "
        "v = (1, -1); around the final weights of the first replica that did not diverge the "
        "eigenvectors of the largest and the smallest eigenvalue of the Hessian, or two random "
        "directions: plane.npz",
        one_of=("none", "targets", "eigenvectors", "random"),
    )
    extent: float = key("the plane's largest coordinate, in units of sqrt|a|", above=0)
    grid: int = key("points of the plane in each direction", at_least=2, at_most=2000)
    stability: bool = key(
        "whether the largest step size with which descent still reaches a minimum is searched for "
        "each replica, by bisection from optimizer.lr on: stability.csv"
    )
    precision: float = key("relative precision of that step size", above=1e-12, at_most=1)
    margins: bool = key(
        "whether the functions of the angle behind Lemmas 8 and 13 are tabulated: margins.npz"
    )


@dataclass
class Config:
    """Everything that defines a run."""

    data: Any = MISSING
    model: Any = MISSING
    init: Any = MISSING
    optimizer: Any = MISSING
    trainer: Any = MISSING
    logger: Any = MISSING
    theory: Any = MISSING
    name: str = key("the name of the experiment: outputs/NAME/DATE_TIME")
    replicas: int = key("number R of runs trained in one batch", at_least=1, at_most=1e9)
    seed: int = key("seed of replica 0; replica j uses seed + j", at_least=0, at_most=2**53)
    device: str = key("auto takes a CUDA device if there is one", one_of=("auto", "cpu", "cuda"))
    precision: str = key("floating point numbers", one_of=("float64", "float32"))
    figures: bool = key("whether pictures are drawn at the end")
    picture: str = key(
        "what the picture shows: phases (figure 3), neurons and their sums in the plane of a "
        "(figures 1, 2), pairs of neurons of several outputs (figures 6 to 8), the parts of the "
        "loss, polar: where neurons point, portrait: the phase plane of one output, animation: "
        "neurons as they move, a GIF, all: every one of these but the animation; of a sweep who is "
        "stuck against the width, who recovers A against n/d, times against the scale; or none",
        one_of=(
            "phases",
            "neurons",
            "sums",
            "pairs",
            "loss",
            "polar",
            "portrait",
            "animation",
            "all",
            "stuck",
            "samples",
            "burn_in",
            "none",
        ),
    )
    resume: str | None = key(
        "null, or the run to resume: a checkpoint, the folder of a run, latest (the last one below "
        "outputs/ that is not complete), or auto (hydra.run.dir, if it has a checkpoint)"
    )
    resume_allow: list[str] = key(
        "keys, or groups of keys, in which a resumed run may differ from what it was"
    )
