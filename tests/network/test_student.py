"""The teacher, the student and the invariant subspace."""

import pytest
import torch

from reludyn.network.student import ReLUStudent
from reludyn.network.subspace import InvariantSubspace
from reludyn.network.teacher import LinearTeacher, axis_teacher, random_teacher
from reludyn.risk import PopulationRisk
from reludyn.system.errors import ConfigError
from tests.support.parts import drawn


def close(a: torch.Tensor, b: torch.Tensor, atol: float = 1e-14) -> None:
    torch.testing.assert_close(a, b, rtol=1e-13, atol=atol)


def general_teacher(r: int, d: int) -> LinearTeacher:
    generator = torch.Generator().manual_seed(r * d)
    return LinearTeacher(torch.randn(r, d, dtype=torch.float64, generator=generator))


def test_students_compute_v_relu_w_x() -> None:
    student = ReLUStudent(torch.tensor([[[1.0, -1.0], [0.0, 2.0]]]), torch.tensor([[[3.0, -1.0]]]))
    x = torch.tensor([[2.0, 1.0], [-1.0, 0.5], [0.0, -1.0]])
    assert student(x).tolist() == [[[3.0 - 2.0], [-1.0], [3.0]]]


@pytest.mark.parametrize("make", [axis_teacher, random_teacher])
def test_teachers_are_multiples_of_orthonormal_frames(make) -> None:  # type: ignore[no-untyped-def]
    teacher = make(3, 8, 2.5)
    close(teacher.A @ teacher.A.T, 2.5**2 * torch.eye(3).double())
    close(teacher.singular_values, torch.full((3,), 2.5).double())
    assert teacher.smallest_scale == pytest.approx(2.5)
    assert teacher.zero_loss == pytest.approx(3 * 2.5**2 / 2)


def test_random_teachers_depend_on_their_seed() -> None:
    assert torch.equal(random_teacher(2, 5, seed=3).A, random_teacher(2, 5, seed=3).A)
    assert not torch.equal(random_teacher(2, 5, seed=3).A, random_teacher(2, 5, seed=4).A)


def test_more_outputs_than_inputs_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"data.outputs=4: must be at most data.dim=3"):
        axis_teacher(4, 3)


def test_the_smallest_scale_ignores_zero_singular_values() -> None:
    A = torch.diag(torch.tensor([3.0, 0.5, 0.0], dtype=torch.float64))
    assert LinearTeacher(A).smallest_scale == pytest.approx(0.5)


SIZES = [(2, 1, 10), (2, 1, 3), (2, 1, 2), (1, 1, 1), (4, 3, 20), (6, 3, 7), (5, 5, 5)]


@pytest.mark.parametrize("make", [axis_teacher, random_teacher, general_teacher])
@pytest.mark.parametrize(("k", "r", "d"), SIZES)
def test_the_subspace_holds_teacher_and_student(make, k: int, r: int, d: int) -> None:  # type: ignore[no-untyped-def]
    teacher, student = make(r, d), drawn("xavier_normal", range(3), k, d, r, 1e-8)
    subspace = InvariantSubspace.spanned(teacher, student)
    m = min(d, k + r)
    assert subspace.basis.shape == (3, d, m)
    close(subspace.basis.mT @ subspace.basis, torch.eye(m).double().expand(3, m, m))
    close(subspace.teacher.A.expand(3, r, m) @ subspace.basis.mT, teacher.A.expand(3, r, d))
    close(subspace.lift(subspace.reduce(student)).W, student.W, atol=1e-22)

    def evaluate(s: ReLUStudent, A: torch.Tensor) -> tuple[torch.Tensor, ...]:
        evaluation = PopulationRisk(A).evaluate(s)
        return evaluation.loss, evaluation.gradient.W, evaluation.gradient.V

    loss, gW, gV = evaluate(student, teacher.A)
    reduced = evaluate(subspace.reduce(student), subspace.teacher.A)
    close(reduced[0], loss)
    close(reduced[1] @ subspace.basis.mT, gW, atol=1e-22)
    close(reduced[2], gV, atol=1e-22)


def test_the_subspace_survives_dependent_rows() -> None:
    """Neurons along the teacher, or zero, span nothing of their own."""
    teacher = random_teacher(1, 9)
    W = torch.stack([teacher.A[0], -2 * teacher.A[0], torch.zeros(9).double()])[None]
    student = ReLUStudent(W, torch.ones(1, 1, 3, dtype=torch.float64))
    subspace = InvariantSubspace.spanned(teacher, student)
    close(subspace.basis.mT @ subspace.basis, torch.eye(4).double()[None])
    close(subspace.lift(subspace.reduce(student)).W, W)


def test_components_along_axis_targets_are_kept_exactly() -> None:
    teacher, student = axis_teacher(2, 30), drawn("xavier_normal", range(4), 3, 30, 2, 1e-8)
    subspace = InvariantSubspace.spanned(teacher, student)
    assert torch.equal(subspace.reduce(student).W[..., :2], student.W[..., :2])
    assert torch.equal(subspace.lift(subspace.reduce(student)).W[..., :2], student.W[..., :2])
