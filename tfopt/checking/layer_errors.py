"""`check(..., layers=True)`: where in the model the error of a TFLite file comes from."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tfopt.checking import diagnoses, layer_facts, layer_match
from tfopt.checking.layer_facts import Cause, Facts
from tfopt.checking.layer_numbers import Comparison, LayerNumbers, Spread
from tfopt.checking.reference import Batch, KerasReference
from tfopt.lowering.layer_calls import LayerCall, trace_layer_calls
from tfopt.tflite.layer_names import LayerNames

if TYPE_CHECKING:
    from tfopt.lowering.trace import Traced
    from tfopt.tflite.interpreter import Interpreter
    from tfopt.tflite.op_audit import FloatOp

# How many samples the layers are matched and compared on: enough for ranges, but few, as every tensor is read.
MATCHED, COMPARED = 4, 64

Batches = Callable[[int], Iterable[tuple[Batch, int]]]
"""A function from a number of samples to their batches, each with the number of its rows that are samples."""


def examine(
    interpreter: Interpreter, reference: KerasReference, batches: Batches, float_ops: tuple[FloatOp, ...]
) -> tuple[tuple[LayerNumbers, ...], tuple[Cause, ...]]:
    """Compares the output of every layer that has a tensor in the file, and looks for known causes of error.

    Args:
        interpreter: runs the file and keeps all tensors.
        reference: the Keras model that the file was made of.
        batches: reads samples.
        float_ops: of the file.

    Returns:
        (numbers of the layers, worst SQNR first; causes of error).
    """
    graph, model = interpreter.graph, reference.model
    calls, traced = trace_layer_calls(model, reference.specs)
    both = _SideBySide(interpreter, reference, traced)
    names = LayerNames({call.name for call in calls}, (tensor.name for tensor in graph.tensors), traced.scopes)
    inputs = _inputs(interpreter)
    matched = {index: place for index, place in _match(both, calls, names, batches).items() if index not in inputs.values()}
    comparisons = {index: Comparison(graph.tensors[index]) for index in (*inputs.values(), *matched)}
    joined = {index for operator in graph.operators if operator.name == "CONCATENATION" for index in operator.inputs}
    spreads = {index: Spread() for index in joined if graph.tensors[index].role != "weight"}
    count = 0
    for arrays, rows in batches(COMPARED):
        count += rows
        outputs = both.run(arrays)
        wanted = {index: arrays[name] for name, index in inputs.items()}
        wanted |= {index: outputs[place] for index, place in matched.items()}
        for index, comparison in comparisons.items():
            stored = interpreter.tensor(index).reshape(np.shape(wanted[index]))
            comparison.add(both.samples_of(wanted[index], rows), both.samples_of(stored, rows))
        for index, spread in spreads.items():
            spread.add(both.samples_of(both.real(index), rows))

    alone = {calls[place].name for place in matched.values()}
    numbers = [comparisons[index].numbers(LayerCall(name, "Input", 1)) for name, index in inputs.items()]
    for index, place in sorted(matched.items(), key=lambda pair: pair[1]):
        fused = [name for name in names.mentioned(graph.tensors[index].name) if name not in alone]
        numbers.append(comparisons[index].numbers(calls[place], fused))
    ranges = {index: spread.range for index, spread in spreads.items()} | {each.index: each.float_range for each in numbers}
    facts = Facts(
        model=layer_facts.of_model(model), graph=graph, float_ops=float_ops, numbers=tuple(numbers), ranges=ranges,
        mention=names.mentioned, samples=count,
    )  # fmt: skip
    return tuple(sorted(numbers, key=lambda each: (not math.isnan(each.sqnr), each.sqnr))), diagnoses.find(facts)


@dataclasses.dataclass(frozen=True)
class _SideBySide:
    """A file and the layer calls of its model, which run on the same batches."""

    interpreter: Interpreter
    reference: KerasReference
    traced: Traced

    def run(self, arrays: Batch) -> list[npt.NDArray[Any]]:
        """Runs the file, which keeps its tensors, and returns the outputs of the layer calls."""
        self.interpreter.run(arrays)
        return self.traced(self.reference.batch_of_model(arrays))

    def real(self, index: int) -> npt.NDArray[Any]:
        """A tensor of the file in real units."""
        tensor, values = self.interpreter.graph.tensors[index], self.interpreter.tensor(index)
        return (values.astype(np.float32) - tensor.zero_point[0]) * np.float32(tensor.scale[0]) if tensor.scale else values

    def samples_of(self, values: npt.NDArray[Any], count: int) -> npt.NDArray[Any]:
        """Without the rows that only fill up the last batch."""
        return values[:count] if values.ndim and len(values) == self.interpreter.batch_size else values


def _inputs(interpreter: Interpreter) -> dict[str, int]:
    """The index of the quantized tensor by input name, also of a file that takes floats. Integers such as token ids are exact."""
    tensors = interpreter.graph.tensors
    quantized = {operator.inputs[0]: operator.outputs[0] for operator in interpreter.graph.operators if operator.name == "QUANTIZE"}
    found = {}
    for name, index in zip(interpreter.input_names, interpreter.input_indices, strict=True):
        if tensors[index].scale or tensors[index].dtype == "float32":
            found[name] = index if tensors[index].scale else quantized.get(index, index)
    return found


def _match(both: _SideBySide, calls: Sequence[LayerCall], names: LayerNames, batches: Batches) -> dict[int, int]:
    """The place in `calls` by tensor index."""
    shapes = [tuple(output.shape) for output in both.traced.function.outputs]
    candidates = layer_match.candidates(both.interpreter.graph, calls, shapes, names)
    matching = layer_match.Matching(candidates)
    for arrays, _ in batches(MATCHED):
        outputs = both.run(arrays)
        matching.add(outputs, {index: both.real(index) for index in {index for _, index in candidates}})
    return matching.result()
