"""Samples and matrices from files: every format as it was written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import yaml

from reludyn.data.files import Read
from reludyn.system.arrays import read_matrix
from reludyn.system.errors import ConfigError
from tests.support.boards import Board
from tests.support.commands import Command, refused
from tests.support.tables import NAMED, TABLES, A, X, Y, read, refusal

# --- What is written is read ------------------------------------------------------------------


@pytest.mark.parametrize("suffix", NAMED)
@pytest.mark.parametrize("names", ["XY", "XA", "XYA"])
def test_named_arrays_are_read_exactly(tmp_path: Path, suffix: str, names: str) -> None:
    arrays = {"X": X, "Y": Y, "A": A}
    path = tmp_path / f"data{suffix}"
    NAMED[suffix](path, **{name: arrays[name] for name in names})
    found = dict(zip("XYA", read(path)[:3], strict=True))
    for name in "XYA":
        assert (found[name] is None) == (name not in names)
        if name in names:
            np.testing.assert_array_equal(found[name], arrays[name])
            assert found[name].dtype == np.float64
    np.testing.assert_array_equal(read(path, 2)[0], X)


@pytest.mark.parametrize("suffix", NAMED)
def test_one_output_may_have_one_axis(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"data{suffix}"
    NAMED[suffix](path, X=X, Y=Y[:, 0], A=A[0])
    _, labels, matrix, _ = read(path, 1)
    np.testing.assert_array_equal(labels, Y[:, :1])
    np.testing.assert_array_equal(matrix, A[:1])


@pytest.mark.parametrize("suffix", TABLES)
@pytest.mark.parametrize("outputs", [1, 2])
def test_the_last_columns_of_a_table_are_the_outputs_where_their_number_is_given(
    tmp_path: Path, suffix: str, outputs: int
) -> None:
    path, r = tmp_path / f"data{suffix}", outputs
    TABLES[suffix](path, np.hstack([X, Y[:, :r]]), [*"abcdefgh"[: 4 + r]])
    inputs, labels, matrix, _ = read(path, outputs)
    np.testing.assert_array_equal(inputs, X)
    np.testing.assert_array_equal(labels, Y[:, :r])
    assert matrix is None


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("labels", [["y", "Y2"], ["y_1", "y_2"]])
def test_columns_named_y_are_the_outputs(tmp_path: Path, suffix: str, labels: list[str]) -> None:
    path, others = tmp_path / f"data{suffix}", ["age", "year", "x", "yes"]
    for table, names in (
        (np.hstack([X, Y]), [*others, *labels]),
        (np.hstack([Y, X]), [*labels, *others]),
    ):
        TABLES[suffix](path, table, names)
        for outputs in (None, 2):
            inputs, found, *_ = read(path, outputs)
            np.testing.assert_array_equal(inputs, X)
            np.testing.assert_array_equal(found, Y)
        assert "data.outputs=1: must be null or 2" in refusal(path, 1)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize(
    ("names", "said"),
    [
        (
            "x z y w target",
            "y may be its outputs, or not; its columns are x, z, y, w, target. Name "
            "them, such as data.columns_y=[target]",
        ),
        ("x y z u w", "y may be its outputs, or not"),
        ("target x z w y", "y may be its outputs, or not"),
        ("y a b c y2", "y, y2 may be its outputs, or not"),
        (
            "a b c target_a target_b",
            "nothing says which of its columns are outputs; its columns are a, b, c, target_a, "
            "target_b. Name them, such as data.columns_y=[target_a,target_b]",
        ),
        (
            "a b c d e",
            "nothing says which of its columns are outputs; its columns are a, b, c, d, "
            "e. Name them, such as data.columns_y=[e], or take the last ones: data.outputs=1",
        ),
    ],
)
def test_outputs_are_not_guessed(tmp_path: Path, suffix: str, names: str, said: str) -> None:
    """Neither taken to be the last column, nor whatever is called y."""
    path = tmp_path / f"data{suffix}"
    TABLES[suffix](path, np.column_stack([X, Y[:, 0]]), names.split())
    assert said in refusal(path)


def test_columns_without_names_and_outputs_are_not_guessed(tmp_path: Path) -> None:
    np.save(tmp_path / "data.npy", X)
    assert (
        "its columns are 0, 1, 2, 3. Name them, such as data.columns_y=[3], or take the last "
        "ones: data.outputs=1" in refusal(tmp_path / "data.npy")
    )


@pytest.mark.parametrize("suffix", TABLES)
def test_columns_may_be_chosen(tmp_path: Path, suffix: str) -> None:
    """By name, in their order, or by number in a table without names; others are left out."""
    path = tmp_path / f"data{suffix}"
    TABLES[suffix](path, np.hstack([X, Y]), [*"abcdef"])
    x, y = ([2, 0], [5]) if suffix == ".npy" else ([*"ca"], ["f"])
    samples = read(path, columns_x=x, columns_y=y)
    np.testing.assert_array_equal(samples.X, X[:, [2, 0]])
    np.testing.assert_array_equal(samples.Y, Y[:, 1:])
    left_out = [1, 3, 4] if suffix == ".npy" else [*"bde"]
    assert samples.read == Read(str(path), 12, x, y, left_out)
    samples = read(path, columns_y=y)
    np.testing.assert_array_equal(samples.X, np.hstack([X, Y[:, :1]]))


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"columns_y": ["g"]}, "data.columns_y=[g]: g is none of the names of columns: a, b, c, d"),
        ({"columns_y": [0]}, "0 is none of the names"),
        ({"columns_y": [["a"]]}, "is none of the names"),
        ({"columns_y": []}, "must name a column, or be null"),
        ({"columns_y": ["a", "a"]}, "names a column twice"),
        ({"columns_x": ["a"]}, "data.columns_x=[a]: needs data.columns_y as well"),
        ({"columns_x": ["a", "b"], "columns_y": ["b"]}, "b is one of data.columns_y"),
        ({"columns_y": [*"abcd"]}, "its 4 columns leave no inputs"),
        ({"columns_y": ["a"], "outputs": 2}, "data.outputs=2: must be null or 1, the outputs a"),
    ],
)
def test_columns_that_cannot_be_chosen_are_refused(
    tmp_path: Path, columns: dict[str, Any], said: str
) -> None:
    TABLES[".csv"](tmp_path / "data.csv", X, [*"abcd"])
    assert said in refusal(tmp_path / "data.csv", **columns)


def test_arrays_have_no_columns_to_choose(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", X=X, Y=Y)
    said = refusal(tmp_path / "data.npz", columns_y=[3])
    assert "data.columns_y=[3]: must be null" in said


# --- Tables of pandas and of spreadsheets -----------------------------------------------------

FRAME = pandas.DataFrame(np.column_stack([X, Y[:, 0]]), columns=[*"abcd", "y"])


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("index", [None, "row", "id"])
def test_the_index_of_a_frame_is_no_column(tmp_path: Path, suffix: str, index: str | None) -> None:
    """That of a shuffled or filtered frame goes along with it, whether it has a name or not. A CSV
    file does not say that a column with a name is an index."""
    path, frame = tmp_path / f"data{suffix}", FRAME.sample(frac=0.7, random_state=0)
    if index is not None:
        frame.index.name = index
    if suffix == ".csv":
        frame.index.name = None
    getattr(frame, f"to_{suffix[1:]}")(path)
    samples = read(path)
    np.testing.assert_allclose(samples.X, frame[[*"abcd"]], rtol=1e-15)
    np.testing.assert_allclose(samples.Y, frame[["y"]], rtol=1e-15)
    assert samples.read.inputs == [*"abcd"]
    assert len(samples.read.left_out) == 1


def test_an_index_of_words_or_of_a_frame_that_was_written_twice_is_no_column(
    tmp_path: Path,
) -> None:
    words, again = tmp_path / "words.parquet", tmp_path / "again.csv"
    FRAME.set_index(pandas.Index([*"abcdefghijkl"])).to_parquet(words)
    FRAME.to_csv(again)
    pandas.read_csv(again).to_csv(again, index=False)
    for path in (words, again):
        assert read(path).read.inputs == [*"abcd"]


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    for suffix in (".csv", ".parquet"):
        TABLES[suffix](tmp_path / f"data{suffix}", X, ["a", "b", "a", "y"])
        assert "two columns are called a" in refusal(tmp_path / f"data{suffix}")


@pytest.mark.parametrize("index", [False, True])
def test_numbers_above_columns_are_names(tmp_path: Path, index: bool) -> None:
    """A frame without names has 0, 1, ... there: no sample."""
    path = tmp_path / "data.csv"
    pandas.DataFrame(np.column_stack([X, Y[:, 0]])).to_csv(path, index=index)
    samples = read(path, columns_y=[4])
    assert samples.read.inputs == [*"0123"]
    np.testing.assert_allclose(samples.X, X, rtol=1e-15)


@pytest.mark.parametrize("text", ["0,1,2\n3,4,5\n", "7,1,2\n0.5,4,5\n", "7,1,2\n3,4,5\n6,7,8.5\n"])
def test_a_line_that_may_be_names_or_a_row_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "data.csv"
    path.write_text(text)
    assert "line 1 may be names of columns, or a row" in refusal(path, 1)
    path.write_text(text.replace(",", ".0,", 1))
    assert len(read(path, 1).X) == len(text.splitlines())


@pytest.mark.parametrize(
    "text",
    [
        "a;b;y\n1,5;-2,25;3e0\n4;5;6,125\n",
        "a;b;y\n1.5;-2.25;3\n4;5;6.125\n",
        "a\tb\ty\n1,5\t-2,25\t3\n4\t5\t6,125\n",
        "a\tb\ty\r\n1.5\t-2.25\t3\r\n4\t5\t6.125\r\n",
        '"a";"b";"y"\n"1,5";"-2,25";"3"\n"4";"5";"6,125"\n',
        '"a","b","y"\n"1.5","-2.25","3"\n"4","5","6.125"\n',
        '"","a","b","y"\n"1",1.5,-2.25,3\n"2",4,5,6.125\n',
        "# a,b,y\n1.5,-2.25,3\n4,5,6.125\n",
    ],
)
def test_csv_as_others_write_it(tmp_path: Path, text: str) -> None:
    (tmp_path / "data.csv").write_text(text)
    samples = read(tmp_path / "data.csv")
    assert samples.X.tolist() == [[1.5, -2.25], [4, 5]]
    assert samples.Y.tolist() == [[3], [6.125]]
    assert samples.read.inputs == ["a", "b"]


def test_a_csv_may_have_no_header_a_mark_and_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "data.CSV"
    path.write_text("\ufeff1.0,2,3\n\n4, 5e0 ,6\n", encoding="utf-8")
    inputs, labels, *_ = read(path, 1)
    assert (inputs.tolist(), labels.tolist()) == ([[1, 2], [4, 5]], [[3], [6]])


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int64, np.uint8, ">f8"])
def test_numbers_of_any_width_become_float64(tmp_path: Path, dtype: Any) -> None:
    table = np.arange(12).reshape(4, 3).astype(dtype)
    np.save(tmp_path / "data.npy", table)
    inputs, *_ = read(tmp_path / "data.npy", 1)
    assert inputs.dtype == np.float64
    np.testing.assert_array_equal(inputs, np.arange(12).reshape(4, 3)[:, :2])


@pytest.mark.parametrize("suffix", [*NAMED, *TABLES])
def test_a_matrix_is_read_exactly(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"target{suffix}"
    if suffix in NAMED:
        NAMED[suffix](path, A=A, other=X)
    else:
        TABLES[suffix](path, A, [*"abcd"])
    np.testing.assert_array_equal(read_matrix(str(path), "data.target_path", "A", (2, 4)), A)
    with pytest.raises(ConfigError, match=r"data.target_path=.*A must have the shape \(1, 4\)"):
        read_matrix(str(path), "data.target_path", "A", (1, 4))


def test_a_row_is_a_matrix(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", A[0])
    found = read_matrix(str(tmp_path / "a.npy"), "data.target_path", "A", (1, 4))
    np.testing.assert_array_equal(found, A[:1])


def test_a_file_without_the_matrix_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", B=A, C=A)
    with pytest.raises(ConfigError, match="must hold the array A; it has B, C"):
        read_matrix(str(tmp_path / "a.npz"), "data.target_path", "A", (2, 4))


# --- Through the command ----------------------------------------------------------------------

RUN = ["data=file", "trainer.steps=30", "figures=false", "logger=none", "init.signs=random"]


def test_a_run_on_a_file_equals_the_run_on_the_samples(reludyn: Command, tmp_path: Path) -> None:
    """data=gaussian and a file with the same rows: the same trajectory."""
    from reludyn.network.teacher import axis_teacher
    from tests.support.parts import sampled

    inputs, labels = sampled(axis_teacher(1, 5), 40, [0], noise=0.2)
    np.savez(tmp_path / "samples.npz", X=inputs[0], Y=labels[0], A=np.eye(1, 5))
    common = ["trainer.steps=30", "figures=false", "logger=none", "init.scale=0.3"]
    drawn = reludyn(
        *common,
        "data=gaussian",
        "data.dim=5",
        "data.samples=40",
        "data.noise=0.2",
        "hydra.run.dir=drawn",
    )
    read = reludyn(*common, "data=file", "data.path=samples.npz", "hydra.run.dir=read")
    assert (drawn.code, read.code) == (0, 0)
    runs = [dict(np.load(tmp_path / name / "trajectory.npz")) for name in ("drawn", "read")]
    for name in ("loss", "W", "V", "angle_to_target", "A", "step"):
        np.testing.assert_allclose(runs[1][name], runs[0][name], rtol=1e-12, atol=1e-14)


def test_without_a_the_target_is_that_of_least_squares(reludyn: Command, tmp_path: Path) -> None:
    np.savez(tmp_path / "samples.npz", X=X, Y=Y)
    finished = reludyn(*RUN, "data.path=samples.npz", "replicas=2")
    assert finished.code == 0
    expected, *_ = np.linalg.lstsq(X, Y, rcond=None)
    np.testing.assert_allclose(finished.arrays["A"], expected.T, rtol=1e-10)
    assert finished.arrays["W"].shape[-1] == 4
    assert finished.arrays["V"].shape[-2] == 2


def test_a_run_says_what_it_has_read(reludyn: Command, tmp_path: Path) -> None:
    """On the console, in its log, in summary.json and on TensorBoard's page TEXT."""
    TABLES[".csv"](tmp_path / "data.csv", np.hstack([X, Y]), ["a", "b", "c", "d", "s", "t"])
    words = [*RUN[:3], "init.signs=random", "data.path=data.csv", "data.samples=7"]
    columns = ["data.columns_x=[a,c,d]", "data.columns_y=[t]"]
    finished = reludyn(*words, *columns)
    said = "data.csv: 7 rows; inputs a, c, d; outputs t; left out b, s"
    assert said in finished.out
    assert said in (finished.folder / "reludyn.log").read_text()
    assert said in Board(finished.folder / "tensorboard").texts()["about/how_to_read"]
    read = finished.summary["data"]
    assert Path(read.pop("path")).name == "data.csv"
    assert read == {"rows": 7, "inputs": ["a", "c", "d"], "outputs": ["t"], "left_out": ["b", "s"]}
    assert finished.arrays["W"].shape[-1] == 3
    config = yaml.safe_load((finished.folder / ".hydra" / "config.yaml").read_text())
    assert config["data"]["columns_y"] == ["t"]


def test_the_jobs_of_a_batch_say_it_too(reludyn: Command, tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", X=X, A=A)
    words = ["data.path=data.npz", "hydra/launcher=fused", "hydra.sweep.dir=s", "seed=0,1"]
    assert reludyn("-m", *RUN, *words).code == 0
    for job in ("0", "1"):
        assert "12 rows; inputs X; outputs A" in (tmp_path / "s" / job / "reludyn.log").read_text()
        summary = json.loads((tmp_path / "s" / job / "summary.json").read_text())
        assert summary["data"]["rows"] == 12


@pytest.mark.parametrize(
    "words", ["data.columns_y=t", "data.columns_y=[t],[s]", "data.columns_y=[3]"]
)
def test_columns_on_the_command_line(reludyn: Command, tmp_path: Path, words: str) -> None:
    """A list is needed; a number may be a name."""
    TABLES[".csv"](tmp_path / "data.csv", X, [*"0123"])
    finished = reludyn(*RUN, "data.path=data.csv", words)
    if words.endswith("[3]"):
        assert finished.summary["data"]["outputs"] == ["3"]
    else:
        assert refused(finished).startswith("data.columns_y=")


def test_a_run_may_take_the_first_rows(reludyn: Command, tmp_path: Path) -> None:
    np.savez(tmp_path / "all.npz", X=X, A=A)
    np.savez(tmp_path / "few.npz", X=X[:7], A=A)
    few = reludyn(*RUN, "data.path=few.npz", "hydra.run.dir=few")
    first = reludyn(*RUN, "data.path=all.npz", "data.samples=7", "hydra.run.dir=first")
    assert (few.code, first.code) == (0, 0)
    losses = [np.load(tmp_path / name / "trajectory.npz")["loss"] for name in ("few", "first")]
    np.testing.assert_array_equal(*losses)


@pytest.mark.quick(3)
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], "data.path=???: a value is needed"),
        (["data.path=samples.npz", "data.dim=5"], "data.dim=5: must be null or 4"),
        (["data.path=samples.npz", "data.samples=13"], "data.samples=13: must be at most 12"),
        (["data.path=samples.npz", "data.outputs=1"], "data.outputs=1: must be null or 2"),
        (["data.path=zero.npz"], "zero.npz: the target A must not be zero"),
        (["data.path=samples.npz", "optimizer=sgd"], "optimizer.batch=64: must be at most 12"),
        (["data.path=wide.npz"], "data.outputs=5: must be at most data.dim=4"),
    ],
)
def test_keys_that_do_not_fit_the_file_are_refused(
    reludyn: Command, tmp_path: Path, overrides: list[str], message: str
) -> None:
    np.savez(tmp_path / "samples.npz", X=X, Y=Y)
    np.savez(tmp_path / "zero.npz", X=X, A=0 * A)
    np.savez(tmp_path / "wide.npz", X=X, A=np.ones((5, 4)))
    assert message in refused(reludyn(*RUN, *overrides))


def test_the_target_may_come_from_a_file(reludyn: Command, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", A)
    overrides = ["data.target=file", "data.target_path=a.npy", "data.dim=4", "data.outputs=2"]
    common = ["trainer.steps=5", "figures=false", "logger=none", "init.signs=random"]
    finished = reludyn(*common, *overrides, "data.target_norm=0.5")
    assert finished.code == 0
    np.testing.assert_array_equal(finished.arrays["A"], 0.5 * A)
