"""The tensors of a file that are functions of the single numbers of one or two int8 tensors, or of one tensor of integers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tfopt.tflite.editor import Editor, is_constant
from tfopt.tflite.islands import elementwise

if TYPE_CHECKING:
    from ai_edge_litert import schema_py_generated as schema

FLOAT32, INT32, INT64, BOOL, INT8 = 0, 2, 4, 6, 9  # TensorType of the schema
RESHAPE = "RESHAPE"
DTYPES: dict[int, npt.DTypeLike] = {FLOAT32: np.float32, INT32: np.int32, INT64: np.int64, BOOL: np.bool_, INT8: np.int8}
_WHOLE = (INT32, INT64)
_ENDS = (INT8, INT32, BOOL)  # types that a table can hold
_LONGEST = 1 << 16
"""Most values of a table of a function of integers."""


class Chains:
    """The tensors that are functions of the single numbers of other tensors, by elementwise operations.

    Args:
        editor: of the file.
        limit: how many tensors may decide the numbers of a tensor, at most: one, of int8 or of integers that are read as floats, or
            two of int8.
    """

    def __init__(self, editor: Editor, limit: int) -> None:
        self._editor, self._limit = editor, limit
        self._makers = {int(index): operator for operator in editor.graph.operators for index in operator.outputs}
        self._sources: dict[int, tuple[int, ...]] = {}
        self._integers = dict(_counted(editor)) if limit == 1 else {}
        for operator in editor.graph.operators:
            for index in operator.outputs:
                self._sources[int(index)] = self._sources_of(operator, int(index))

    def sources(self, index: int) -> tuple[int, ...]:
        """The tensors whose numbers decide those of a tensor; () if there are none, or too many."""
        return self._sources[index] if index in self._sources else self._itself(index)

    def ends(self) -> Iterator[int]:
        """The integer tensors at the ends of chains of `limit` tensors: made by them, and read outside of the chain."""
        within: set[int] = set()
        beyond: set[int] = {int(index) for index in self._editor.graph.outputs}
        for operator in self._editor.graph.operators:
            made = self._sources[int(operator.outputs[0])] if len(operator.outputs) else ()
            for index in (int(each) for each in operator.inputs):
                sources = self.sources(index)
                is_within = sources and set(made) == set(sources) and sources != (int(operator.outputs[0]),)
                (within if is_within else beyond).add(index)
        for index, sources in self._sources.items():
            is_end = sources != (index,) and len(sources) == self._limit and index in beyond
            kind = self._editor.tensor(index).type
            if is_end and (self._editor.affine(index) if kind == INT8 else self._limit == 1 and kind in _ENDS):
                yield index

    def operators(self, end: int) -> list[schema.OperatorT]:
        """The operations of a chain."""
        found: dict[int, schema.OperatorT] = {}
        waiting = [end]
        while waiting:
            index = waiting.pop()
            if index in self._makers and index not in self._sources[end] and index not in found:
                found[index] = self._makers[index]
                waiting += self._read(self._makers[index])
        return list(found.values())

    def exact(self, end: int) -> npt.NDArray[Any]:
        """The real values at the end of a chain for the numbers of each source: (numbers,) or (256, 256)."""
        return self._values(end, end, {}, None)

    def stepwise(self, end: int) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """The same if each int8 tensor on the way is rounded, as its operations do; and where all of them lie in their ranges.

        Elsewhere are numbers that do not occur together: the ranges hold what was seen.
        """
        seen: list[npt.NDArray[Any]] = []
        values = self._values(end, end, {}, seen)
        return values, np.logical_and.reduce([np.broadcast_to(each, values.shape) for each in seen])

    def integers(self, source: int) -> tuple[int, int]:
        """The least and the largest integer of a source."""
        return self._integers.get(source, (-128, 127))

    def affine(self, index: int) -> tuple[float, int]:
        """(scale, zero point) of an int8 tensor at an end, or of an int8 source."""
        affine = self._editor.affine(index)
        assert affine is not None
        return affine

    def _sources_of(self, operator: schema.OperatorT, output: int) -> tuple[int, ...]:
        itself = self._itself(output)
        if len(operator.outputs) != 1 or self._editor.name(operator) not in (*elementwise.NAMES, RESHAPE):
            return itself
        found = [self.sources(index) for index in self._read(operator) if self._constant(index) is None]
        sources = tuple(dict.fromkeys(index for each in found for index in each))
        # Tensors of one size whose shapes can be broadcast differ in axes of size 1 only, and hold their numbers in one order.
        sizes = {math.prod(self._editor.tensor(int(index)).shape) for index in (*sources, output)}
        shapes = {tuple(self._editor.tensor(index).shape) for index in sources}
        is_chain = found and all(found) and len(sources) <= self._limit and len(sizes) == len(shapes) == 1
        return sources if is_chain else itself

    def _read(self, operator: schema.OperatorT) -> list[int]:
        """The inputs of an operation that are numbers."""
        return [int(index) for index in (operator.inputs[:1] if self._editor.name(operator) == RESHAPE else operator.inputs)]

    def _itself(self, index: int) -> tuple[int, ...]:
        tensor = self._editor.tensor(index)
        is_source = index in self._integers or (tensor.type == INT8 and self._editor.affine(index))
        return (index,) if is_source and not is_constant(self._editor, tensor) else ()

    def _values(
        self, index: int, end: int, known: dict[int, npt.NDArray[Any]], seen: list[npt.NDArray[Any]] | None
    ) -> npt.NDArray[Any]:
        """Real values of a tensor of the chain of `end`; rounded after each operation if `seen` is to collect where they fit."""
        constant = self._constant(index)
        if constant is not None:
            return constant
        if index not in known:
            sources = self._sources[end]
            if index in sources:
                least, largest = self.integers(index)
                scale, zero = self._editor.affine(index) or (1.0, 0)
                shape = [-1 if source == index else 1 for source in sources]
                return ((np.arange(least, largest + 1) - float(zero)) * scale).reshape(shape)
            operator = self._makers[index]
            name = self._editor.name(operator)
            inputs = [self._values(each, end, known, seen) for each in self._read(operator)]
            if self._integers.keys() & set(sources):
                inputs = [_whole_if_almost(each) for each in inputs]
            values = inputs[0] if name == RESHAPE else elementwise.compute(name, operator, inputs)
            if self._editor.tensor(index).type in _WHOLE:
                values = np.trunc(values)
            if seen is not None and self._editor.tensor(index).type == INT8:
                scale, zero = self.affine(index)
                seen.append(np.abs(values / scale + zero + 0.5) <= 128.5)
                values = (rounded(values, (scale, zero)) - float(zero)) * scale
            known[index] = values
        if index != end:
            return known[index]
        ranges = [self.integers(source) for source in self._sources[end]]
        return np.broadcast_to(known[index], [largest - least + 1 for least, largest in ranges])

    def _constant(self, index: int) -> npt.NDArray[Any] | None:
        """The real number that the file holds in a tensor; None for other tensors, and where there are several numbers."""
        if index < 0:
            return None
        tensor = self._editor.tensor(index)
        if not is_constant(self._editor, tensor) or tensor.type not in DTYPES:
            return None
        values = np.frombuffer(bytes(self._editor.model.buffers[tensor.buffer].data), DTYPES[tensor.type])
        if not len(values) or (values != values[0]).any():
            return None
        affine = self._editor.affine(index)
        if tensor.type == INT8:
            return (values[:1].astype(np.float64) - affine[1]) * affine[0] if affine else None
        return values[:1].astype(bool if tensor.type == BOOL else np.float64)


def _counted(editor: Editor) -> Iterator[tuple[int, tuple[int, int]]]:
    """Yields tensors of integers that are read as floats, with the least and the largest integer of their calibrated range."""
    casts = {
        int(operator.outputs[0]): int(operator.inputs[0])
        for operator in editor.graph.operators
        if editor.name(operator) == "CAST" and editor.tensor(operator.inputs[0]).type in (*_WHOLE, BOOL)
    }
    for operator in editor.graph.operators:
        affine = editor.affine(operator.outputs[0]) if editor.name(operator) == "QUANTIZE" else None
        if affine and int(operator.inputs[0]) in casts and editor.tensor(operator.outputs[0]).type == INT8:
            scale, zero = affine
            least, largest = math.ceil((-128 - zero) * scale - 1e-3), math.floor((127 - zero) * scale + 1e-3)
            if largest - least < _LONGEST:
                yield casts[int(operator.inputs[0])], (least, largest)


def _whole_if_almost(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Numbers, or the whole ones beside them: the file's constants, such as 0.99999994 for 1, must not move a FLOOR by a step."""
    if values.dtype.kind != "f":
        return values
    whole = np.rint(values)
    return np.where(np.abs(values - whole) <= 1e-5 * np.maximum(1.0, np.abs(values)), whole, values)


def rounded(values: npt.NDArray[Any], affine: tuple[float, int]) -> npt.NDArray[np.int8]:
    """Real numbers in the steps of a tensor; NaN, for which no step is right, becomes 0."""
    scale, zero = affine
    with np.errstate(over="ignore"):  # the largest step is as good as infinity
        steps = np.clip(np.nan_to_num(values, nan=0.0) / np.float64(scale), -1e6, 1e6)
    return np.clip(np.rint(steps) + zero, -128, 127).astype(np.int8)
