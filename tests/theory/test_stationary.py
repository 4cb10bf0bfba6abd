"""Stationary points: what they are, and the search for them, against Theorem 1 and by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from reludyn.network.activation import LeakyReLU
from reludyn.network.notation import Gradient
from reludyn.network.student import ReLUStudent
from reludyn.network.subspace import InvariantSubspace
from reludyn.network.teacher import axis_teacher
from reludyn.numerics.kernels import norm
from reludyn.risk import PopulationRisk
from reludyn.theory.landscape import Plane, loss_on_line, loss_on_plane, target_plane
from reludyn.theory.spectrum import spectrum
from reludyn.theory.stationary import find_stationary, identify, symmetries
from tests.support.commands import Finished, refused, reludyn_in
from tests.support.parts import drawn

D = 9


def ray(*products: tuple[float, float], d: int = D, norm: float = 1.0) -> ReLUStudent:
    """Neurons on the line of a = norm e_1: for each (v, x) the neuron v, w = x a / |v|."""
    W = torch.zeros(1, len(products), d, dtype=torch.float64)
    for i, (v, x) in enumerate(products):
        W[0, i, 0] = x * norm / abs(v)
    return ReLUStudent(W, torch.tensor([[[v for v, _ in products]]], dtype=torch.float64))


def risk(d: int = D, norm: float = 1.0, r: int = 1, slope: float = 0.0) -> PopulationRisk:
    return PopulationRisk(axis_teacher(r, d, norm).A, LeakyReLU(slope))


# --- What a point is --------------------------------------------------------------------------


@pytest.mark.parametrize("norm", [1.0, 2.5])
@pytest.mark.parametrize(
    ("student", "kind", "theorem"),
    [
        ([(0.8, 1.0), (-1.3, -1.0)], "global_minimum", True),
        ([(0.8, 1.7), (-1.3, 0.7)], "non_strict_saddle", True),
        ([(0.8, -1.2), (-1.3, -2.2)], "non_strict_saddle", True),
        ([(0.8, 0.4), (1.3, 0.6)], "local_minimum", False),
        ([(-0.8, -0.4), (-1.3, -0.6)], "local_minimum", False),
        ([(1.0, 1.2), (-0.7, 0.6)], "not_stationary", False),
        ([(0.9, 0.5), (1.1, 0.5), (-0.7, -0.4), (-0.6, -0.6)], "global_minimum", False),
        ([(0.9, 0.8), (1.1, 0.7), (-0.7, 0.5)], "non_strict_saddle", False),
    ],
)
def test_points_of_one_output(
    student: list[tuple[float, float]], kind: str, theorem: bool, norm: float
) -> None:
    found = identify(risk(norm=norm), ray(*student, norm=norm))
    assert found.kind == [kind]
    assert found.theorem == [theorem]


@pytest.mark.parametrize("c", [-3.0, -1.5, 0.4, 2.0])
def test_the_saddles_of_theorem_1(c: float) -> None:
    """Loss |a|^2/4, c, and the verdict by an example: a lower point nearby."""
    found = identify(risk(), ray((0.9, c + 1), (-1.2, c)))
    assert float(found.loss[0]) == pytest.approx(0.25, rel=1e-12)
    assert float(found.c[0]) == pytest.approx(c, rel=1e-12)
    assert found.kind == ["non_strict_saddle"]
    assert float(found.lower[0]) < -1e-8  # rounding is 1e-16
    assert int(found.spectrum.negative()[0]) == 0


@pytest.mark.parametrize("off", [1e-3, 1e-5])
@pytest.mark.parametrize("balance", [0.3, 1.0, 3.0])
def test_a_search_that_ended_near_a_saddle_has_found_it(off: float, balance: float) -> None:
    """w_2 turned away, so that the gradient is no more than 1e-7: no isolated minimum, however the
    neurons are scaled, and a lower point with a margin; its loss on the way is that of the risk."""
    point = ray((1.0, 1.4), (-1.0, 0.4))
    turn = math.cos(off / 10), math.sin(off / 10)
    point.W[0, 1, :2] = 0.4 * torch.tensor(turn, dtype=torch.float64)
    point.W[0, 0, 1] = point.W[0, 1, 1]  # the linear part is as it was
    point = ReLUStudent(point.W * balance, point.V / balance)
    found = identify(risk(), point)
    assert found.kind == ["non_strict_saddle"]
    assert float(found.lower) < -1e-6
    t = torch.zeros(2, D, dtype=torch.float64)
    t[:, 2] = 0.1
    straight = loss_on_line(
        risk(),
        Gradient(*ray((1.0, 1.4), (-1.0, 0.4)).map(lambda x: x[0])),
        Gradient(t, torch.zeros(1, 2).double()),
        torch.tensor([1.0]).double(),
    )
    # to third order in 0.1: (1/6 pi) t^3 / (c (c + 1))^2 below 1/4
    expected = 0.1**3 / (6 * math.pi * (0.4 * 1.4) ** 2)
    assert 0.25 - float(straight) == pytest.approx(expected, rel=0.2)


def test_signs_that_agree_leave_no_way_down() -> None:
    """v_1, v_2 > 0: f(x) + f(-x) >= |f(x) - f(-x)|, hence L >= 1/4: nothing lower in 10,000 random
    neighbours, though the Hessian has d + 2 zero eigenvalues as at the saddles."""
    point, rng = ray((0.9, 0.3), (1.2, 0.7)), np.random.default_rng(0)
    assert identify(risk(), point).kind == ["local_minimum"]
    offsets = [torch.from_numpy(0.2 * rng.standard_normal((10_000, *x.shape[1:]))) for x in point]
    near = ReLUStudent(point.W + offsets[0], point.V + offsets[1])
    near = near.map(lambda layer: layer[(near.V > 0).all(-1).all(-1)])
    assert near.replicas > 9_000
    assert float(risk().loss(near).total.min()) > 0.25
    assert int(spectrum(risk().hessian(point)).near_zero()[0]) == D + 2


def test_leaky_slopes_have_their_own_value() -> None:
    """All on one ray with the best slope p = odd/(odd^2 + even^2)."""
    slope = 0.4
    odd, even = (1 + slope) / 2, (1 - slope) / 2
    p = odd / (odd**2 + even**2)
    found = identify(risk(slope=slope), ray((0.9, 0.3 * p), (1.2, 0.7 * p)))
    assert found.kind == ["local_minimum"]
    assert float(found.loss[0]) == pytest.approx(even**2 / (odd**2 + even**2) / 2, rel=1e-12)


def test_the_origin_is_a_strict_saddle() -> None:
    """Eigenvalues of the pairs (v_i, w_i along a): +-1/2."""
    origin = ReLUStudent(torch.zeros(1, 2, D).double(), torch.zeros(1, 1, 2).double())
    found = identify(risk(), origin)
    assert found.kind == ["strict_saddle"]
    expected = [-0.5] * 2 + [0.0] * (2 * D - 2) + [0.5] * 2
    np.testing.assert_allclose(found.spectrum.values[0], expected, atol=1e-15)


def residual(student: ReLUStudent, A: Tensor, x: Tensor) -> Tensor:
    """f(x) - A x of one student, (n, r)."""
    return student(x.unsqueeze(0), LeakyReLU(0.0))[0] - x @ A.mT


@pytest.mark.parametrize("r", [1, 2])
def test_a_dead_neuron_makes_a_strict_saddle(r: int) -> None:
    """Beside the best that others can do: v.g(w) with g(u) = E[(f - A x) relu(u.x)] is the
    change of the loss to second order, by the risk itself and by Monte Carlo; <M, A> = -2 L."""
    student, A = ray((0.8, 0.4), (1.3, 0.6), d=4), axis_teacher(r, 4).A
    if r == 2:  # relu(x_1) for the first output
        student = ray((1.0, 1.0), d=4)
        student = ReLUStudent(student.W, torch.cat([student.V, 0 * student.V], 1))
    of, loss = risk(4, r=r), float(risk(4, r=r).loss(student).total)
    M = student.V[0] @ student.W[0] / 2 - A
    assert float((M * A).sum()) == pytest.approx(-2 * loss, rel=1e-9)
    size = float(torch.linalg.matrix_norm(M, ord=2))
    u = torch.linalg.svd(M)[2][0]
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((400_000, 4)))
    terms = residual(student, A, x).unsqueeze(-1) * (x @ torch.stack([u, -u], 1)).relu().unsqueeze(
        1
    )
    g, spread = terms.mean(0).mT, terms.std(0).mT / math.sqrt(len(x))  # (2, r)
    steepest = []
    for i, side in enumerate((u, -u)):
        h = 1e-3
        w, v = h * side.view(1, 1, 4), -h * (g[i] / norm(g[i])).view(1, r, 1)
        near = ReLUStudent(torch.cat([student.W, w], 1), torch.cat([student.V, v], 2))
        steepest.append((loss - float(of.loss(near).total)) / h**2)
        assert abs(steepest[-1] - float(norm(g[i]))) < 5 * float(norm(spread[i])) + h
    assert max(steepest) > size / 2 - 1e-3
    still = torch.zeros(1, 1, 4, dtype=torch.float64), torch.zeros(1, r, 1, dtype=torch.float64)
    point = ReLUStudent(torch.cat([student.W, still[0]], 1), torch.cat([student.V, still[1]], 2))
    found = identify(of, point)
    assert found.kind == ["strict_saddle"]
    assert found.reason == [f"a dead neuron can grow: -{size / 2:.2g}"]


def test_what_rounding_leaves_of_a_neuron_decides_nothing() -> None:
    """1e-64 in 50 random directions, v of either sign: the same verdict, the one of zero."""
    rng = np.random.default_rng(3)
    W = torch.zeros(50, 2, D, dtype=torch.float64)
    W[:, 0, 0] = 1.25
    W[:, 1] = 1e-64 * torch.from_numpy(rng.standard_normal((50, D)))
    V = torch.tensor([0.8, 0.0], dtype=torch.float64).repeat(50, 1, 1)
    V[:, 0, 1] = 1e-64 * torch.from_numpy(rng.standard_normal(50))
    found = identify(risk(), ReLUStudent(W, V))
    assert set(found.kind) == {"strict_saddle"}
    assert set(found.reason) == {"a dead neuron can grow: -0.25"}
    assert not found.point.W[:, 1].any()
    assert not found.point.V[:, 0, 1].any()


@pytest.mark.parametrize("sign", [1, -1])
def test_an_output_weight_of_zero_frees_its_neuron(sign: int) -> None:
    """v_2 = +-1e-9. Along a it is no local minimum for either sign: w_2 turns by 0.3, at no cost,
    from where v_2 < 0 lowers the loss. Across a it is a strict saddle by the Hessian."""
    point = ray((0.8, 1.0), (sign * 1e-9, 1e-9))
    assert identify(risk(), point).kind == ["non_strict_saddle"]
    point.W[0, 1, :2] = torch.tensor([math.cos(0.3), math.sin(0.3)])
    level = float(risk().loss(point).total)
    assert level == pytest.approx(0.25, abs=1e-9)
    point.V[0, 0, 1] = -1e-3
    assert float(risk().loss(point).total) < level - 1e-7
    W, V = ray((0.8, 1.0), (sign * 1e-9, 1e-9))
    W[0, 1] = 0.0
    W[0, 1, 0] = -1.0  # where the residual relu(-a.x) is large: not even stationary
    assert identify(risk(), ReLUStudent(W, V)).kind == ["not_stationary"]


def test_an_output_weight_of_zero_by_the_hessian() -> None:
    """One neuron, v = 0, w across A: g(w) = -A w / 2 is zero, its derivative is not, and so the
    eigenvalue of the Hessian decides."""
    W, V = torch.zeros(1, 1, 4, dtype=torch.float64), torch.zeros(1, 2, 1, dtype=torch.float64)
    W[0, 0, 2] = 1.0
    found = identify(risk(4, r=2), ReLUStudent(W, V))
    assert found.kind == ["strict_saddle"]
    assert found.reason[0].startswith("eigenvalue -")


@pytest.mark.parametrize(("v", "kind"), [(0.7, "local_minimum"), (-0.7, "not_stationary")])
def test_a_hidden_weight_of_zero(v: float, kind: str) -> None:
    """v_2 = +-0.7, w_2 = 0 or 1e-30 in a random direction: the loss has a slope v_2 g(u) in each
    direction u of w_2, which is none down where v_2 > 0, since L >= 1/4 while signs agree."""
    point, rng = ray((0.8, 1.0), (1.0, 0.0)), np.random.default_rng(0)
    point.V[0, 0, 1] = v
    for size in (0.0, 1e-30):
        point.W[0, 1] = size * torch.from_numpy(rng.standard_normal(D))
        found = identify(risk(), point)
        assert found.kind == [kind]
        # f - y = relu(-x_1), so g(-a) = E relu(-x_1)^2 = 1/2
        assert float(found.gradient) == pytest.approx(0.35 if v < 0 else 0.0, abs=1e-15)


def test_a_reduced_point_is_the_same_point() -> None:
    """In two coordinates of R^30: the same spectrum, with multiplicities, and the same verdict."""
    for student in ([(0.8, 1.7), (-1.3, 0.7)], [(0.8, 1.0), (-1.3, -1.0)]):
        full = identify(risk(30), ray(*student, d=30))
        part = identify(risk(2), ray(*student, d=2), inputs=30)
        assert full.kind == part.kind
        listed = part.spectrum.values[0].repeat_interleave(part.spectrum.multiplicity[0])
        torch.testing.assert_close(listed, full.spectrum.values[0], atol=1e-12, rtol=0)


def test_isolated_up_to_symmetries() -> None:
    """r = 2, k = 2: the best that two neurons can do, found by descent; as many zero eigenvalues as
    independent symmetries."""
    start = drawn("xavier_normal", range(150), 2, 5, 2, 3.0)
    found = find_stationary(risk(5, r=2), start)
    points = identify(risk(5, r=2), found)
    minima = [j for j, kind in enumerate(points.kind) if kind == "local_minimum"]
    assert len(minima) > 2
    assert np.ptp(points.loss[minima].numpy()) < 1e-10
    for j in minima:
        one = found.map(lambda layer, j=j: layer[j : j + 1])
        sizes = torch.linalg.svdvals(symmetries(risk(5, r=2), one))[0]
        assert int((sizes > 1e-8).sum()) == int(points.spectrum.near_zero()[j])


@pytest.mark.parametrize("r", [1, 2, 3])
def test_symmetries_do_not_change_the_loss(r: int) -> None:
    """A step of 1e-4 along each direction changes the loss of any student to second order only."""
    student = drawn("theorem", range(3), 3, 5, r, 1.0)
    directions = symmetries(risk(5, r=r), student)
    assert directions.shape[1] == 3 + (r * (r - 1) + (5 - r) * (4 - r)) // 2
    before = risk(5, r=r).loss(student).total
    for direction in directions.unbind(1):
        h = 1e-4
        W = student.W + h * direction[:, :15].view(3, 3, 5)
        V = student.V + h * direction[:, 15:].view(3, r, 3)
        after = risk(5, r=r).loss(ReLUStudent(W, V)).total
        assert float((after - before).abs().max()) < 100 * h**2


# --- The search -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def searched() -> tuple[ReLUStudent, object]:
    """k = 2 from 300 starts around the minima and saddles."""
    teacher = axis_teacher(1, 50)
    start = drawn("xavier_normal", range(300), 2, 50, 1, 4.0, teacher=teacher)
    subspace = InvariantSubspace.spanned(teacher, start)
    small = PopulationRisk(subspace.teacher.A)
    points = find_stationary(small, subspace.reduce(start))
    return points, identify(small, points, inputs=50)


def test_the_search_finds_the_saddles_of_theorem_1(searched) -> None:
    points, found = searched
    saddles = [j for j, own in enumerate(found.theorem) if own and math.isfinite(found.c[j])]
    assert len(saddles) > 20
    c = found.c[saddles]
    assert bool(((c > 0) | (c < -1)).all())
    assert float(c.min()) < -1.5
    assert float(c.max()) > 0.5
    v = points.V[saddles, 0].abs()
    order = points.V[saddles, 0].argsort(-1, descending=True)  # the positive one first
    products = (v * points.W[saddles, :, 0]).gather(-1, order)
    torch.testing.assert_close(products, torch.stack([c + 1, c], -1), atol=1e-5, rtol=0)
    across = (v.unsqueeze(-1) * points.W[saddles, :, 1:]).abs().amax()
    assert float(across) < 1e-2  # the gradient is of second order in the angle


def test_the_search_reports_what_the_theorem_leaves_out(searched) -> None:
    _, found = searched
    others = {kind for kind, own in zip(found.kind, found.theorem, strict=True) if not own}
    assert {"strict_saddle", "local_minimum"} <= others


@pytest.mark.parametrize("norm", [1e-6, 1e4])
def test_the_search_does_not_depend_on_units(norm: float) -> None:
    """Weights in sqrt|a|: a search of 60 iterations goes the same way."""
    start = drawn("theorem", range(20), 2, 3, 1, 2.0)
    one = find_stationary(risk(3), start, 60)
    scaled = find_stationary(risk(3, norm), start.map(lambda x: math.sqrt(norm) * x), 60)
    back = scaled.map(lambda x: x / math.sqrt(norm))
    kinds = identify(risk(3), one).kind
    assert identify(risk(3, norm), scaled).kind == kinds
    settled = [j for j, kind in enumerate(kinds) if kind != "not_stationary"]
    torch.testing.assert_close(back.W[settled], one.W[settled], rtol=1e-4, atol=1e-4)


def test_the_search_finds_minima_from_nearby() -> None:
    """From 30% away from a minimum."""
    student = ray(*[(1.0, 1.0), (-1.0, -1.0)], d=4)
    rng = np.random.default_rng(1)
    start = ReLUStudent(
        *(x + torch.from_numpy(0.3 * rng.standard_normal((50, *x.shape[1:]))) for x in student)
    )
    found = identify(risk(4), find_stationary(risk(4), start))
    assert found.kind.count("global_minimum") > 25
    assert set(found.kind) <= {
        "global_minimum",
        "not_stationary",
        "non_strict_saddle",
        "strict_saddle",
    }


# --- Lines and planes -------------------------------------------------------------------------


def test_slices_are_losses_along_the_way() -> None:
    """A line and a plane against the loss of each point alone; a valley along the saddles."""
    A, rng = axis_teacher(2, 4).A, np.random.default_rng(0)
    of = PopulationRisk(A)
    origin, one, other = (
        Gradient(*(torch.from_numpy(rng.standard_normal(shape)) for shape in ((3, 4), (2, 3))))
        for _ in range(3)
    )
    x, y = torch.tensor([-0.5, 0.0, 2.0]).double(), torch.tensor([0.1, 0.7]).double()
    found = loss_on_plane(of, Plane(origin, one, other), x, y)
    line = loss_on_line(of, origin, one, x)
    for i in range(3):
        for j in range(2):
            layers = (o + x[i] * p + y[j] * q for o, p, q in zip(origin, one, other, strict=True))
            point = ReLUStudent(*(layer.unsqueeze(0) for layer in layers))
            assert float(found[i, j]) == pytest.approx(float(of.loss(point).total), rel=1e-14)
        layers = (o + x[i] * p for o, p in zip(origin, one, strict=True))
        point = ReLUStudent(*(layer.unsqueeze(0) for layer in layers))
        assert float(line[i]) == pytest.approx(float(of.loss(point).total), rel=1e-14)
    saddle = ray((1.0, 2.0), (-1.0, 1.0))
    along = Gradient(torch.zeros(2, D).double(), torch.zeros(1, 2).double())
    along.W[:, 0] = 1.0  # both move along a: c changes
    valley = loss_on_line(risk(), Gradient(saddle.W[0], saddle.V[0]), along, x)
    torch.testing.assert_close(valley, torch.full_like(valley, 0.25), rtol=1e-12, atol=0)


# --- The experiment ---------------------------------------------------------------------------


def test_the_plane_of_the_targets_is_that_of_figure_1c() -> None:
    """Both neurons along a, with signs (1, -1): for s = <a, z> and x, y of one sign only one half
    of s is met, by x - y; of signs (+, -) each half is met by one neuron."""
    A = torch.tensor([[0.6, -1.7, 0.4]], dtype=torch.float64)
    x, y = torch.linspace(-2, 2, 9).double(), torch.linspace(-3, 1, 9).double()
    found = loss_on_plane(PopulationRisk(A), target_plane(A), x, y).numpy()
    square = float((A**2).sum())
    for i, j in np.ndindex(9, 9):
        a, b = float(x[i]), float(y[j])
        # E of the square on the half s > 0 and on s < 0, where relu(x s) = |x| relu(+-s)
        positive, negative = max(a, 0) - max(b, 0) - 1, max(-a, 0) - max(-b, 0) + 1
        assert found[i, j] == pytest.approx(square / 4 * (positive**2 + negative**2), abs=1e-13)
    (best,) = np.argwhere(found < 1e-13)
    assert (float(x[best[0]]), float(y[best[1]])) == (1, -1)


@pytest.mark.slow
def test_the_experiment(reludyn: Callable[..., Finished]) -> None:
    run = reludyn("experiment=landscape", "replicas=60", "logger=none", "theory.grid=21")
    rows = run.table("stationary_points.csv")
    kinds = {(row["start"], row["kind"]) for row in rows}
    assert ("final", "global_minimum") in kinds
    assert {kind for _, kind in kinds} >= {"non_strict_saddle", "strict_saddle", "local_minimum"}
    with np.load(run.folder / "stationary_points.npz", allow_pickle=False) as file:
        assert file["kind"].tolist() == [row["kind"] for row in rows]
        assert file["eigenvalues"].shape == file["multiplicity"].shape
        assert (file["multiplicity"].sum(1) == 2 * 100 + 2).all()
    with np.load(run.folder / "plane.npz", allow_pickle=False) as file:
        data = dict(file)
    assert data["loss"].shape == (21, 21)
    at = {
        (x, y): data["loss"][i, j] for i, x in enumerate(data["x"]) for j, y in enumerate(data["y"])
    }
    assert at[1.0, -1.0] == pytest.approx(0, abs=1e-20)
    for x, y in [(2.0, 1.0), (1.2, 0.2), (-1.0, -2.0)]:  # the valley
        near = min(at, key=lambda point: math.hypot(point[0] - x, point[1] - y))
        assert at[near] == pytest.approx(0.25, rel=1e-12)
    for name in ("surface", "stationary"):
        assert (run.folder / "figures" / f"{name}.png").stat().st_size > 10_000


@pytest.mark.parametrize("theory", ["theory.stationary=true", "theory.plane=eigenvectors"])
def test_a_hessian_that_is_too_large_is_refused_before_training(
    reludyn: Callable[..., Finished], theory: str
) -> None:
    line = refused(reludyn_in(reludyn, "run", theory, "model.width=40", "init.signs=random"))
    assert f"{theory}: needs a Hessian of at most 1,500 rows; this model has 1,680" in line


@pytest.mark.quick(1)
@pytest.mark.parametrize("plane", ["eigenvectors", "random", "targets"])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_there_is_no_plane_around_weights_that_diverged(
    reludyn: Callable[..., Finished], plane: str
) -> None:
    run = reludyn(
        "theory.stationary=true",
        "theory.spectrum=true",
        f"theory.plane={plane}",
        "optimizer.lr=1e300",
        "figures=false",
        "logger=none",
    )
    assert run.code == 3
    assert (run.folder / "plane.npz").exists() == (plane == "targets")
    assert {row["start"] for row in run.table("stationary_points.csv")} == {"initial"}


@pytest.mark.parametrize("plane", ["eigenvectors", "random"])
@pytest.mark.parametrize("data", [[], ["data=gaussian", "data.samples=40"]])
def test_planes_around_the_final_weights(
    reludyn: Callable[..., Finished], plane: str, data: list[str]
) -> None:
    """At its origin the loss is that of the run; the directions are orthogonal, of length one."""
    run = reludyn(
        f"theory.plane={plane}",
        "theory.grid=5",
        "data.dim=6",
        *data,
        "model.width=3",
        "init.signs=random",
        "trainer.steps=30",
        "figures=false",
        "logger=none",
    )
    with np.load(run.folder / "plane.npz", allow_pickle=False) as file:
        plane_of = dict(file)
    arrays, row = run.arrays, run.rows[0]
    population = float(row["loss_population"] or row["loss"])
    assert plane_of["loss"][2, 2] == pytest.approx(population, rel=1e-9)
    np.testing.assert_allclose(plane_of["origin_W"], arrays["W"][-1, 0], atol=1e-12)
    one, other = (
        np.concatenate([plane_of[f"{name}_{layer}"].ravel() for layer in "WV"])
        for name in ("one", "other")
    )
    np.testing.assert_allclose([one @ one, other @ other, one @ other], [1, 1, 0], atol=1e-12)
