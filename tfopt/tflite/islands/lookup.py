"""The edit that turns a function of one int8 tensor, or of one tensor of integers, into a table of its values."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tfopt.tflite.editor import Editor, is_constant, text
from tfopt.tflite.islands import elementwise
from tfopt.tflite.operations import ANY_SCALE

if TYPE_CHECKING:
    from ai_edge_litert import schema_py_generated as schema

_FLOAT32, _INT32, _INT64, _BOOL, _INT8 = 0, 2, 4, 6, 9  # TensorType of the schema
_DTYPES: dict[int, npt.DTypeLike] = {_FLOAT32: np.float32, _INT32: np.int32, _INT64: np.int64, _BOOL: np.bool_, _INT8: np.int8}
_WHOLE = (_INT32, _INT64)
_ENDS = (_INT8, _INT32, _BOOL)  # types that a table can hold
_SMALL = 0.25  # a tanh below has at most a quarter of the steps
_LONGEST = 1 << 16
"""Most values of a table of a function of integers."""
_LEAST = 30.0
"""dB of a chain of int8 operations that is left as it is. Operations are faster than a table, which a kernel for all CPUs reads."""


def lookup_table(editor: Editor) -> int:
    """Computes chains of elementwise operations by a table, if they hold a float operation or lose much in their roundings.

    An int8 tensor has 256 values, so that any function of each of its numbers is a table. CAST, ADD and GATHER read it, all three
    on integers, and the table is right to half a step of the output. Counts and positions, which a model computes as int32 and
    reads as floats, have the integers of their calibrated range; others are taken for the nearest of these, as int8 takes floats.
    """
    chains = _Chains(editor)
    ends = {end for end in chains.ends() if chains.is_worth_a_table(end)}
    if not ends:
        return 0
    operators: list[schema.OperatorT] = []
    places: dict[int, int] = {}  # source -> the tensor of its values as places in a table
    for operator in editor.graph.operators:
        end = int(operator.outputs[0]) if len(operator.outputs) else -1
        if end not in ends:
            operators.append(operator)
            continue
        source = chains.source(end)
        assert source is not None  # an end has one
        if source not in places:
            places[source], made = _places(editor, source, chains.integers(source))
            operators += made
        affine, kind = editor.affine(end), editor.tensor(end).type
        exact = chains.exact(end)
        data = exact.astype(_DTYPES[kind]) if affine is None else _rounded(exact, affine)
        name = text(editor.tensor(end).name)
        table = editor.add_tensor(f"{name}/table", (len(exact),), kind, like=editor.tensor(end), data=data)
        operators.append(editor.operator("GATHER", [table, places[source]], [end], version=2, axis=0, batchDims=0))
    editor.graph.operators = operators
    editor.remove_unread()
    return len(ends)


def fine_tanh(editor: Editor) -> int:
    """Computes the tanh of small numbers by a table, in steps as fine as the numbers.

    The format prescribes 256 steps from -1 to 1 for TANH, of which small numbers, as in a recurrent layer with little training, get
    a few. The operations that read the result take any scale.
    """
    readers: dict[int, set[str]] = {int(index): {"output"} for index in editor.graph.outputs}
    for operator in editor.graph.operators:
        for index in operator.inputs:
            readers.setdefault(int(index), set()).add(editor.name(operator))
    operators: list[schema.OperatorT] = []
    count = 0
    for operator in editor.graph.operators:
        affine = editor.affine(operator.inputs[0]) if editor.name(operator) == "TANH" else None
        if affine is None or editor.tensor(operator.outputs[0]).type != _INT8 or not readers[int(operator.outputs[0])] <= ANY_SCALE:
            operators.append(operator)
            continue
        values = np.tanh((np.arange(-128, 128) - float(affine[1])) * affine[0])
        largest = float(np.abs(values).max())
        if largest >= _SMALL:
            operators.append(operator)
            continue
        source, end = int(operator.inputs[0]), int(operator.outputs[0])
        place, made = _places(editor, source, (-128, 127))
        editor.tensor(end).quantization = editor.quantization([largest / 127], [0])
        data = _rounded(values, (largest / 127, 0))
        table = editor.add_tensor(f"{text(editor.tensor(end).name)}/table", (256,), _INT8, like=editor.tensor(end), data=data)
        operators += [*made, editor.operator("GATHER", [table, place], [end], version=2, axis=0, batchDims=0)]
        count += 1
    editor.graph.operators = operators
    return count


def _places(editor: Editor, source: int, integers: tuple[int, int]) -> tuple[int, list[schema.OperatorT]]:
    """The tensor of the places of a tensor's integers among (least, largest), and the operations that make it."""
    tensor = editor.tensor(source)
    name, index = text(tensor.name), source
    made: list[schema.OperatorT] = []
    least, largest = integers

    def add(what: str, operation: str, number: int) -> None:
        nonlocal index
        constant = editor.add_tensor(f"{name}/{what}", (), _INT32, data=np.array(number, np.int32))
        output = editor.add_tensor(f"{name}/{what}/{operation.lower()}", tensor.shape, _INT32)
        made.append(editor.operator(operation, [index, constant], [output]))
        index = output

    if tensor.type != _INT32:
        index = editor.add_tensor(f"{name}/whole", tensor.shape, _INT32)
        made.append(editor.operator("CAST", [source], [index], inDataType=tensor.type, outDataType=_INT32))
    if tensor.type != _INT8:
        add("least", "MAXIMUM", least)
        add("largest", "MINIMUM", largest)
    if least:
        add("first", "ADD", -least)
    return index, made


def _rounded(values: npt.NDArray[Any], affine: tuple[float, int]) -> npt.NDArray[np.int8]:
    """Real numbers in the steps of a tensor; NaN, for which no step is right, becomes 0."""
    scale, zero = affine
    with np.errstate(over="ignore"):  # the largest step is as good as infinity
        steps = np.clip(np.nan_to_num(values, nan=0.0) / np.float64(scale), -1e6, 1e6)
    return np.clip(np.rint(steps) + zero, -128, 127).astype(np.int8)


def _counted(editor: Editor) -> Iterator[tuple[int, tuple[int, int]]]:
    """Yields tensors of integers that are read as floats, with the least and the largest integer of their calibrated range."""
    casts = {
        int(operator.outputs[0]): int(operator.inputs[0])
        for operator in editor.graph.operators
        if editor.name(operator) == "CAST" and editor.tensor(operator.inputs[0]).type in (*_WHOLE, _BOOL)
    }
    for operator in editor.graph.operators:
        affine = editor.affine(operator.outputs[0]) if editor.name(operator) == "QUANTIZE" else None
        if affine and int(operator.inputs[0]) in casts and editor.tensor(operator.outputs[0]).type == _INT8:
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


class _Chains:
    """The tensors of a file that are functions of a single number of another tensor."""

    def __init__(self, editor: Editor) -> None:
        self._editor = editor
        self._makers = {int(index): operator for operator in editor.graph.operators for index in operator.outputs}
        self._sources: dict[int, int | None] = {}
        self._integers = dict(_counted(editor))
        for operator in editor.graph.operators:
            for index in operator.outputs:
                self._sources[int(index)] = self._source_of(operator, int(index))

    def source(self, index: int) -> int | None:
        """The int8 tensor whose numbers decide those of a tensor; None if there is no single one."""
        return self._sources.get(index) if index in self._sources else self._itself(index)

    def ends(self) -> Iterator[int]:
        """The integer tensors at the ends of chains: made by one, and read outside of it."""
        outputs = {int(index) for index in self._editor.graph.outputs}
        within: set[int] = set()
        beyond: set[int] = set(outputs)
        for operator in self._editor.graph.operators:
            made = self._sources[int(operator.outputs[0])] if len(operator.outputs) else None
            for index in (int(each) for each in operator.inputs):
                source = self.source(index)
                (within if source is not None and made == source and source != int(operator.outputs[0]) else beyond).add(index)
        for index, source in self._sources.items():
            if source is not None and source != index and index in beyond and self._editor.tensor(index).type in _ENDS:
                yield index

    def is_worth_a_table(self, end: int) -> bool:
        """Whether a chain holds a float operation, or loses much in the roundings on its way."""
        operators = self._operators(end)
        source = self._sources[end]
        if source is None:
            return False
        if any(self._editor.tensor(int(index)).type == _FLOAT32 for operator in operators for index in operator.outputs):
            return True
        if len(operators) < 2 or self._editor.affine(source) is None or self._editor.affine(end) is None:
            return False
        exact, stepwise = self.exact(end), self._values(end, {}, rounds=True)
        if not np.isfinite(exact).all():
            return False
        table = (_rounded(exact, self._affine(end)) - float(self._affine(end)[1])) * self._affine(end)[0]
        power, error, left = (float((each**2).sum()) for each in (exact, stepwise - exact, table - exact))
        return error > power * 10 ** (-_LEAST / 10) and error > 2 * left

    def exact(self, end: int) -> npt.NDArray[Any]:
        """The real values at the end of a chain, for the numbers of its source."""
        return self._values(end, {}, rounds=False)

    def integers(self, source: int) -> tuple[int, int]:
        """The least and the largest integer of a source."""
        return self._integers.get(source, (-128, 127))

    def _source_of(self, operator: schema.OperatorT, output: int) -> int | None:
        itself = self._itself(output)
        if self._editor.name(operator) not in elementwise.NAMES or len(operator.outputs) != 1:
            return itself
        sources = {self.source(int(index)) for index in operator.inputs if self._constant(int(index)) is None}
        shapes = {tuple(self._editor.tensor(int(index)).shape) for index in (*sources - {None}, operator.outputs[0])}
        return next(iter(sources)) if len(sources) == 1 and None not in sources and len(shapes) == 1 else itself

    def _itself(self, index: int) -> int | None:
        tensor = self._editor.tensor(index)
        if is_constant(self._editor, tensor):
            return None
        return index if index in self._integers or (tensor.type == _INT8 and self._editor.affine(index)) else None

    def _operators(self, end: int) -> list[schema.OperatorT]:
        """The operations of a chain."""
        found: dict[int, schema.OperatorT] = {}
        waiting = [end]
        while waiting:
            index = waiting.pop()
            if index in self._makers and index != self._sources[end] and index not in found:
                found[index] = self._makers[index]
                waiting += [int(each) for each in self._makers[index].inputs]
        return list(found.values())

    def _values(self, index: int, known: dict[int, npt.NDArray[Any]], *, rounds: bool) -> npt.NDArray[Any]:
        """Real values of a tensor of a chain for the numbers of its source, rounded after each operation or not at all."""
        constant = self._constant(index)
        if constant is not None:
            return constant
        if index not in known:
            source = self.source(index)
            if source == index:
                least, largest = self.integers(index)
                scale, zero = self._editor.affine(index) or (1.0, 0)
                return (np.arange(least, largest + 1) - float(zero)) * scale
            operator = self._makers[index]
            inputs = [self._values(int(each), known, rounds=rounds) for each in operator.inputs]
            if source in self._integers:
                inputs = [_whole_if_almost(each) for each in inputs]
            values = elementwise.compute(self._editor.name(operator), operator, inputs)
            values = np.broadcast_to(
                np.trunc(values) if self._editor.tensor(index).type in _WHOLE else values, self._length(source)
            )
            if rounds and self._editor.tensor(index).type == _INT8:
                scale, zero = self._affine(index)
                values = (_rounded(values, (scale, zero)) - float(zero)) * scale
            known[index] = values
        return known[index]

    def _length(self, source: int | None) -> int:
        least, largest = self.integers(-1 if source is None else source)
        return largest - least + 1

    def _affine(self, index: int) -> tuple[float, int]:
        affine = self._editor.affine(index)
        assert affine is not None
        return affine

    def _constant(self, index: int) -> npt.NDArray[Any] | None:
        """The real number that the file holds in a tensor; None for other tensors, and where there are several numbers."""
        if index < 0:
            return None
        tensor = self._editor.tensor(index)
        if not is_constant(self._editor, tensor) or tensor.type not in _DTYPES:
            return None
        values = np.frombuffer(bytes(self._editor.model.buffers[tensor.buffer].data), _DTYPES[tensor.type])
        if not len(values) or (values != values[0]).any():
            return None
        affine = self._editor.affine(index)
        if tensor.type == _INT8:
            return (values[:1].astype(np.float64) - affine[1]) * affine[0] if affine else None
        return values[:1].astype(bool if tensor.type == _BOOL else np.float64)
