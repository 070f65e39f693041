from __future__ import annotations

import json
import math
from array import array

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tfmodel_serving import comparison
from tfmodel_serving.comparison import Difference
from tfmodel_serving.state import INCOMPARABLE, OutputDifference
from tfmodel_serving.tensors import Tensor

NAN, INF = math.nan, math.inf


def floats(*rows, dtype="DT_DOUBLE"):
    """A tensor of rows, or of single values."""
    made = np.array(rows, dtype=np.float64)
    return Tensor(dtype, made.shape, array("d", made.ravel().tolist()))


def strings(*values):
    return Tensor("DT_STRING", (len(values),), list(values))


def integers(*values, dtype="DT_INT64"):
    return Tensor(dtype, (len(values),), array("q", values))


def difference(baseline, candidate):
    return comparison.differences({"y": baseline}, {"y": candidate})["y"]


@pytest.mark.parametrize(
    ("baseline", "candidate", "expected"),
    [
        pytest.param(floats(2.5, 3.0), floats(2.5, 3.0), Difference(), id="the same"),
        pytest.param(floats(2.5, 3.0), floats(3.5, 4.0), Difference(1.0, 1 / 3.5), id="single values are compared each for itself"),
        pytest.param(floats([1000.0, 1e-9]), floats([1000.0, 2e-9]), Difference(1e-9, 1e-12, 1, 1), id="a value beside a large one"),
        pytest.param(floats([1000.0], [1e-9]), floats([1000.0], [2e-9]), Difference(1e-9, 0.5), id="a column is single values"),
        pytest.param(floats(0.0), floats(-0.0), Difference(), id="zero has no sign"),
        pytest.param(floats(0.0), floats(1e-300), Difference(1e-300, 1.0), id="nothing against next to nothing"),
        pytest.param(floats(1.0), floats(-1.0), Difference(2.0, 2.0), id="another sign is the largest difference"),
        pytest.param(floats(-1e308), floats(1e308), Difference(1.7976931348623157e308, 2.0), id="further apart than a double says"),
        pytest.param(floats(1e308, 1e308), floats(1e308, 0.5e308), Difference(0.5e308, 0.5), id="a sum that overflows"),
        pytest.param(floats(NAN, INF, -INF), floats(NAN, INF, -INF), Difference(), id="NaN and infinities are themselves"),
        pytest.param(floats(NAN, 1.0), floats(NAN, 2.0), Difference(1.0, 0.5), id="a value beside NaN"),
        pytest.param(floats(1.0, 3.0), floats(NAN, 4.0), Difference(1.0, 0.25, message="[0] is nan instead of 1.0"), id="NaN instead"),
        pytest.param(floats([1.0, INF]), floats([1.0, -INF]), Difference(rows=1, message="[0, 1] is -inf instead of inf"), id="inf"),
        pytest.param(floats([0.1, 0.9], [0.8, 0.2]), floats([0.2, 0.8], [0.4, 0.6]), Difference(0.4, 0.5, 2, 1), id="a class changes"),
        pytest.param(floats([0.5, 0.5]), floats([0.5, 0.5]), Difference(rows=1, agreeing=1), id="the first one of equals"),
        pytest.param(floats([1.0, NAN]), floats([2.0, NAN]), Difference(1.0, 0.5, 1, 1), id="NaN is the largest"),
        pytest.param(
            Tensor("DT_COMPLEX64", (2,), array("f", [1, 2, 3, 4]), 2),
            Tensor("DT_COMPLEX64", (2,), array("f", [1, 2, 3, 8]), 2),
            Difference(4.0, 0.5),
            id="complex numbers part by part",
        ),
        pytest.param(
            Tensor("DT_COMPLEX64", (1, 2), array("f", [1, 1, 8, 8]), 2),
            Tensor("DT_COMPLEX64", (1, 2), array("f", [1, 2, 8, 8]), 2),
            Difference(1.0, 0.125),
            id="a row of complex numbers",
        ),
        pytest.param(
            Tensor("DT_COMPLEX64", (2,), array("f", [1, 2, 3, 4]), 2),
            Tensor("DT_COMPLEX64", (2,), array("f", [1, 2, 3, NAN]), 2),
            Difference(message="[1] is nan instead of 4.0"),
            id="a complex number that is none",
        ),
        pytest.param(integers(1, 5, 7), integers(1, 6, 9), Difference(2.0, message="[1] is 6 instead of 5, and 1 more differ"), id="integers"),
        pytest.param(
            Tensor("DT_QUINT8", (2, 2), array("B", [0, 0, 0, 255])),
            Tensor("DT_QUINT8", (2, 2), array("B", [0, 0, 0, 0])),
            Difference(255.0, message="[1, 1] is 0 instead of 255"),
            id="quantised numbers are integers",
        ),
        pytest.param(strings(b"a", b"b"), strings(b"a", b"c"), Difference(message="[1] is b'c' instead of b'b'"), id="strings"),
        pytest.param(strings(b"a"), strings(b"a"), Difference(), id="equal strings"),
        pytest.param(floats(1.0), floats(1.0, 2.0), Difference(message="it has the shape [2] instead of [1]"), id="another shape"),
        pytest.param(
            floats(1.0), floats(1.0, dtype="DT_FLOAT"), Difference(message="it is DT_FLOAT instead of DT_DOUBLE"), id="another type"
        ),
        pytest.param(Tensor("DT_DOUBLE", (), array("d", [1])), Tensor("DT_DOUBLE", (), array("d", [4])), Difference(3.0, 0.75), id="a scalar"),
        pytest.param(
            Tensor("DT_INT64", (), array("q", [1])), Tensor("DT_INT64", (), array("q", [4])), Difference(3.0, message="it is 4 instead of 1"),
            id="a scalar integer",
        ),
        pytest.param(Tensor("DT_FLOAT", (0, 3), array("f")), Tensor("DT_FLOAT", (0, 3), array("f")), Difference(), id="nothing at all"),
    ],
)  # fmt: skip
def test_differences(baseline, candidate, expected):
    found = difference(baseline, candidate)
    assert found.absolute == pytest.approx(expected.absolute, rel=1e-12, abs=0)
    assert found.relative == pytest.approx(expected.relative, rel=1e-12, abs=0)
    assert (found.rows, found.agreeing, found.message) == (expected.rows, expected.agreeing, expected.message)


def test_an_output_that_only_one_of_them_has():
    found = comparison.differences({"a": floats(1.0), "b": floats(1.0)}, {"b": floats(1.0), "c": floats(1.0)})
    assert {name: one.message for name, one in found.items()} == {"a": "the candidate does not have it", "b": "", "c": "only the candidate has it"}


def test_a_string_that_is_long_is_cut():
    assert len(difference(strings(b"a" * 1000), strings(b"b" * 1000)).message) < 200


shapes = arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5)
any_two = st.tuples(st.sampled_from([np.float32, np.float64]), shapes).flatmap(
    lambda kind: st.tuples(arrays.arrays(*kind), arrays.arrays(*kind))
)


def tensor(made):
    code, dtype = ("f", "DT_FLOAT") if made.dtype == np.float32 else ("d", "DT_DOUBLE")
    return Tensor(dtype, made.shape, array(code, made.ravel().tolist()))


@given(any_two)
def test_the_figures_are_numpys(two):
    baseline, candidate = two
    found = difference(tensor(baseline), tensor(candidate))
    b, c = (one.astype(np.float64) for one in two)
    odd = ~((b == c) | (np.isnan(b) & np.isnan(c)) | (np.isfinite(b) & np.isfinite(c)))
    assert bool(found.message) == bool(odd.any())
    b, c = (np.where(np.isfinite(baseline) & np.isfinite(candidate), one, 0.0) for one in (b, c))
    width = b.shape[-1] if b.ndim > 1 else 1
    b, c = (one.reshape(-1, width) if one.size else np.zeros((1, 1)) for one in (b, c))
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        gaps = np.abs(c - b).max(axis=1)
        relative = np.nan_to_num(gaps / np.maximum(np.abs(b), np.abs(c)).max(axis=1), posinf=2.0)
    assert found.absolute == min(gaps.max(), np.finfo(np.float64).max)
    assert found.relative == min(relative.max(), INCOMPARABLE)
    assert 0.0 <= found.relative <= INCOMPARABLE
    json.dumps([found.absolute, found.relative], allow_nan=False)


@given(any_two.filter(lambda two: two[0].ndim > 1 and two[0].size and two[0].shape[-1] > 1))
def test_argmax_agreement_is_numpys(two):
    found = difference(*map(tensor, two))
    agreeing = np.argmax(two[0], axis=-1) == np.argmax(two[1], axis=-1)
    assert (found.rows, found.agreeing) == (agreeing.size, int(agreeing.sum()))


@given(any_two)
def test_it_is_the_same_seen_from_either_side(two):
    one, other = (difference(*map(tensor, pair)) for pair in (two, reversed(two)))
    assert (one.absolute, one.relative, one.agreeing, bool(one.message)) == (
        other.absolute, other.relative, other.agreeing, bool(other.message),
    )  # fmt: skip


@given(any_two)
def test_nothing_differs_from_itself(two):
    found = difference(tensor(two[0]), tensor(two[0]))
    assert (found.absolute, found.relative, found.message, found.agreeing) == (0.0, 0.0, "", found.rows)


def test_of_many_answers_the_worst_is_told_and_the_worst_output_first():
    found = {}
    for baseline, candidate in (
        ({"y": floats([1.0, 2.0]), "label": strings(b"a")}, {"y": floats([2.0, 1.0]), "label": strings(b"a")}),
        ({"y": floats([1.0, 2.0]), "label": strings(b"a")}, {"y": floats([1.0, 2.0]), "label": strings(b"b")}),
        ({"y": floats([1.0, 2.0]), "z": floats(1.0)}, {"y": floats([1.0, 5.0]), "z": floats(1.0)}),
    ):
        found = comparison.worst(found, comparison.differences(baseline, candidate))
    label, y, z = comparison.told(found)
    assert (label.name, label.max_relative) == ("label", INCOMPARABLE)
    assert y == OutputDifference("y", 3.0, 0.6, 2, 3)
    assert z == OutputDifference("z", 0.0, 0.0)
    assert comparison.messages(found) == ["output label: [0] is b'b' instead of b'a'"]
