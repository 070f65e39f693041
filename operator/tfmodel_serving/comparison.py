"""How far the answers of two versions of a model are apart; pure.

Integers, booleans and strings are equal or they aren't. For floats (of complex numbers: the real and the imaginary parts)
there are two figures:

* the *absolute* difference, the largest |c - b|;
* the *relative* difference, for each row the largest |c - b| over the largest |b| or |c| in it, 0 to 2. A row is what lies
  along the last axis (the scores of one example), or a single value where there is only one axis (one value for each example).
  Not for each value alone, because a value near zero beside large ones differs by rounding alone; and not for a whole
  batch, because its examples have nothing to do with each other.

NaN equals NaN, and an infinity itself; beside anything else they are a difference that no number can say, as are another
shape, another type and a missing output. Where the rows of an output could be scores (floats, more than one axis, more than
one value along the last), it is also counted in how many of them the largest value is in the same place.
"""

from __future__ import annotations

import dataclasses
import math
import operator
import sys
from array import array
from collections.abc import Mapping, Sequence
from typing import Any

from tfmodel_serving.replay import Outputs
from tfmodel_serving.state import INCOMPARABLE, OutputDifference
from tfmodel_serving.tensors import Tensor

_SHOWN_CHARACTERS = 40


@dataclasses.dataclass(frozen=True, slots=True)
class Difference:
    """How far one output of one or more answers is apart.

    Args:
        rows: Rows whose largest values were compared, and in ``agreeing`` of them they are in the same place.
        message: What no number can say; ``""`` if there is nothing of the kind.
    """

    absolute: float = 0.0
    relative: float = 0.0
    rows: int = 0
    agreeing: int = 0
    message: str = ""


def differences(baseline: Outputs, candidate: Outputs) -> dict[str, Difference]:
    """Compare two answers to one request, output by output."""
    return {name: _difference(baseline.get(name), candidate.get(name)) for name in sorted({*baseline, *candidate})}


def worst(found: Mapping[str, Difference], more: Mapping[str, Difference]) -> dict[str, Difference]:
    """Return for every output the worst of both, and the first of the messages."""
    return {**found, **{name: _worse(found[name], one) if name in found else one for name, one in more.items()}}


def told(found: Mapping[str, Difference]) -> tuple[OutputDifference, ...]:
    """Return ``found`` as an agent reports it, the worst outputs first."""
    every = [
        OutputDifference(name, one.absolute, INCOMPARABLE if one.message else one.relative, one.agreeing, one.rows)
        for name, one in found.items()
    ]
    return tuple(sorted(every, key=lambda one: (-one.max_relative, -one.max_absolute, one.name)))


def messages(found: Mapping[str, Difference]) -> list[str]:
    """Return what no number can say of any output, in the order of their names."""
    return [f"output {name}: {one.message}" for name, one in sorted(found.items()) if one.message]


def _worse(one: Difference, other: Difference) -> Difference:
    return Difference(
        max(one.absolute, other.absolute),
        max(one.relative, other.relative),
        one.rows + other.rows,
        one.agreeing + other.agreeing,
        one.message or other.message,
    )


def _difference(baseline: Tensor | None, candidate: Tensor | None) -> Difference:
    if baseline is None:
        return Difference(message="only the candidate has it")
    if candidate is None:
        return Difference(message="the candidate does not have it")
    if baseline.dtype != candidate.dtype:
        return Difference(message=f"it is {candidate.dtype} instead of {baseline.dtype}")
    if baseline.shape != candidate.shape:
        return Difference(message=f"it has the shape {list(candidate.shape)} instead of {list(baseline.shape)}")
    rows = _rows_of_scores(baseline)
    if _same_bits(baseline.values, candidate.values):
        return Difference(rows=rows, agreeing=rows)
    if baseline.is_exact:
        return _exact(baseline, candidate)
    return _numeric(baseline, candidate, rows)


def _rows_of_scores(tensor: Tensor) -> int:
    is_scores = tensor.is_float and len(tensor.shape) > 1 and tensor.shape[-1] > 1
    return len(tensor.values) // tensor.shape[-1] if is_scores else 0


def _same_bits(baseline: Sequence[Any], candidate: Sequence[Any]) -> bool:
    """Tell whether both are the same without a look at each number, of which there may be a million."""
    if isinstance(baseline, array) and isinstance(candidate, array):
        return memoryview(baseline).cast("B") == memoryview(candidate).cast("B")
    return baseline == candidate


def _exact(baseline: Tensor, candidate: Tensor) -> Difference:
    before, after = baseline.values, candidate.values
    differing = sum(map(operator.ne, before, after))
    at = next(at for at, (b, c) in enumerate(zip(before, after, strict=True)) if b != c)
    absolute = 0.0 if isinstance(before[at], bytes) else float(max(map(abs, map(operator.sub, after, before))))
    others = f", and {differing - 1} more differ" if differing > 1 else ""
    return Difference(absolute, message=f"{_place(at, baseline)} is {_show(after[at])} instead of {_show(before[at])}{others}")


def _numeric(baseline: Tensor, candidate: Tensor, scores: int) -> Difference:
    width = baseline.parts * (baseline.shape[-1] if len(baseline.shape) > 1 else 1)
    absolute = relative = 0.0
    agreeing, message = 0, ""
    for start in range(0, len(baseline.values), width):
        b, c = baseline.values[start : start + width], candidate.values[start : start + width]
        if scores:
            agreeing += _argmax(b) == _argmax(c)
        if not (_are_finite(b) and _are_finite(c)):
            odd = _first_odd(b, c)
            if odd is not None and not message:
                message = f"{_place(start + odd, baseline)} is {c[odd]} instead of {b[odd]}"
            b, c = _finite_pairs(b, c)
        gap = max(map(abs, map(operator.sub, c, b)), default=0.0)
        if gap:
            absolute = max(absolute, gap)
            relative = max(relative, gap / max(max(map(abs, b)), max(map(abs, c))))
    # Two doubles may be further apart than the largest double.
    return Difference(min(absolute, sys.float_info.max), min(relative, INCOMPARABLE), scores, agreeing, message)


def _are_finite(row: Sequence[float]) -> bool:
    """Tell whether all are finite, at the price of one addition each; False at times where they are very large."""
    return math.isfinite(sum(row))


def _first_odd(baseline: Sequence[float], candidate: Sequence[float]) -> int | None:
    """Return where the first pair is that no number can compare."""
    for at, (b, c) in enumerate(zip(baseline, candidate, strict=True)):
        is_same = b == c or (math.isnan(b) and math.isnan(c))
        if not is_same and not (math.isfinite(b) and math.isfinite(c)):
            return at
    return None


def _finite_pairs(baseline: Sequence[float], candidate: Sequence[float]) -> tuple[list[float], list[float]]:
    pairs = [(b, c) for b, c in zip(baseline, candidate, strict=True) if math.isfinite(b) and math.isfinite(c)]
    return [b for b, _ in pairs], [c for _, c in pairs]


def _argmax(row: Sequence[float]) -> int:
    """Return where the largest value is, the first one of equals; NaN is the largest, as numpy has it."""
    if not _are_finite(row):
        for at, value in enumerate(row):
            if math.isnan(value):
                return at
    return row.index(max(row))


def _place(at: int, tensor: Tensor) -> str:
    """Return the index of the value at position ``at``, ``[0, 2]``."""
    at //= tensor.parts
    index: list[int] = []
    for size in reversed(tensor.shape):
        at, here = divmod(at, size)
        index.insert(0, here)
    return str(index) if index else "it"


def _show(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= _SHOWN_CHARACTERS else f"{shown[:_SHOWN_CHARACTERS]}…"
