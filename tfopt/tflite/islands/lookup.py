"""The edits that turn functions of the numbers of one or two int8 tensors, or of one tensor of integers, into tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tfopt.tflite.editor import Editor, text
from tfopt.tflite.islands.chains import DTYPES, FLOAT32, INT8, INT32, Chains, rounded
from tfopt.tflite.operations import ANY_SCALE

if TYPE_CHECKING:
    from ai_edge_litert import schema_py_generated as schema

_SMALL = 0.25  # a tanh below has at most a quarter of the steps
_LEAST = 30.0
"""dB of a chain of int8 operations that is left as it is. Operations are faster than a table, which a kernel for all CPUs reads."""

_FAR = 8.0
"""Steps of its output that a chain of int8 operations on two tensors may be off, as the table for it has 65,536 values. The root of
a sum of two squares is off by 10 to 20, whatever the data: numbers below a sixteenth of the largest have a square of 0."""


def lookup_table(editor: Editor) -> int:
    """Computes chains of elementwise operations by a table, if they hold a float operation or lose much in their roundings.

    An int8 tensor has 256 values, so that any function of each of its numbers is a table. CAST, ADD and GATHER read it, all three
    on integers, and the table is right to half a step of the output. Counts and positions, which a model computes as int32 and
    reads as floats, have the integers of their calibrated range; others are taken for the nearest of these, as int8 takes floats.
    """
    chains = Chains(editor, 1)
    return _replace(editor, chains, {end for end in chains.ends() if _is_worth_a_table(editor, chains, end)})


def pair_table(editor: Editor) -> int:
    """Computes functions of two tensors by a table of 65,536 values, if they hold a float operation or are far off.

    Two int8 numbers have 65,536 values together. Such functions are the size of a complex number, the angle of it, and powers; the
    table is right to half a step of the output.
    """
    chains = Chains(editor, 2)
    return _replace(editor, chains, {end for end in chains.ends() if _is_worth_a_large_table(editor, chains, end)})


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
        if affine is None or editor.tensor(operator.outputs[0]).type != INT8 or not readers[int(operator.outputs[0])] <= ANY_SCALE:
            operators.append(operator)
            continue
        values = np.tanh((np.arange(-128, 128) - float(affine[1])) * affine[0])
        largest = float(np.abs(values).max())
        if largest >= _SMALL:
            operators.append(operator)
            continue
        source, end = int(operator.inputs[0]), int(operator.outputs[0])
        place, made = _places(editor, {source: (-128, 127)})
        editor.tensor(end).quantization = editor.quantization([largest / 127], [0])
        operators += [*made, _read(editor, end, place, rounded(values, (largest / 127, 0)))]
        count += 1
    editor.graph.operators = operators
    return count


def _replace(editor: Editor, chains: Chains, ends: set[int]) -> int:
    """Puts tables in the place of the chains with these ends."""
    if not ends:
        return 0
    operators: list[schema.OperatorT] = []
    places: dict[tuple[int, ...], int] = {}  # sources -> the tensor of their values as places in a table
    for operator in editor.graph.operators:
        end = int(operator.outputs[0]) if len(operator.outputs) else -1
        if end not in ends:
            operators.append(operator)
            continue
        sources = chains.sources(end)
        if sources not in places:
            places[sources], made = _places(editor, {source: chains.integers(source) for source in sources})
            operators += made
        place, made = _shaped(editor, places[sources], editor.tensor(end).shape)
        exact, kind = chains.exact(end), editor.tensor(end).type
        table = rounded(exact, chains.affine(end)) if kind == INT8 else exact.astype(DTYPES[kind])
        operators += [*made, _read(editor, end, place, table.reshape(-1))]
    editor.graph.operators = operators
    editor.remove_unread()
    return len(ends)


def _read(editor: Editor, end: int, place: int, values: npt.NDArray[Any]) -> schema.OperatorT:
    tensor = editor.tensor(end)
    table = editor.add_tensor(f"{text(tensor.name)}/table", values.shape, tensor.type, like=tensor, data=values)
    return editor.operator("GATHER", [table, place], [end], version=2, axis=0, batchDims=0)


def _shaped(editor: Editor, place: int, shape: npt.NDArray[np.int32]) -> tuple[int, list[schema.OperatorT]]:
    """A tensor of places in another shape, and the operations that make it."""
    tensor = editor.tensor(place)
    if list(tensor.shape) == list(shape):
        return place, []
    sizes = editor.add_tensor(f"{text(tensor.name)}/shape", (len(shape),), INT32, data=np.array(shape, np.int32))
    made = editor.add_tensor(f"{text(tensor.name)}/shaped", shape, INT32)
    return made, [editor.operator("RESHAPE", [place, sizes], [made], newShape=list(shape))]


def _places(editor: Editor, ranges: Mapping[int, tuple[int, int]]) -> tuple[int, list[schema.OperatorT]]:
    """The tensor of places in a table, and the operations that make it: `a - least`, or `256 (a + 128) + b + 128`.

    Args:
        editor: of the file.
        ranges: (least, largest) integer by source: an int8 tensor or one of integers, or two int8 tensors.
    """
    operators: list[schema.OperatorT] = []
    shape = editor.tensor(next(iter(ranges))).shape
    name = "/".join(text(editor.tensor(source).name) for source in ranges)

    def step(kind: str, inputs: list[int], label: str, **options: int) -> int:
        made = editor.add_tensor(f"{name}/{label}", shape, INT32)
        operators.append(editor.operator(kind, inputs, [made], **options))
        return made

    def number(value: int) -> int:
        return editor.add_tensor(f"{name}/{value}", (), INT32, data=np.array(value, np.int32))

    whole: list[int] = []
    for place, (source, (least, largest)) in enumerate(ranges.items()):
        kind, index = editor.tensor(source).type, source
        if kind != INT32:
            index = step("CAST", [index], f"whole_{place}", inDataType=kind, outDataType=INT32)
        if kind != INT8:
            index = step("MAXIMUM", [index, number(least)], "least")
            index = step("MINIMUM", [index, number(largest)], "largest")
        whole.append(index)
    place = whole[0]
    if len(whole) > 1:
        place = step("ADD", [step("MUL", [place, number(256)], "row"), whole[1]], "both")
    lowest = sum(-least * 256**power for power, (least, _) in enumerate(ranges.values()))
    return (step("ADD", [place, number(lowest)], "place") if lowest else place), operators


def _is_worth_a_table(editor: Editor, chains: Chains, end: int) -> bool:
    """Whether a chain holds a float operation, or loses much in the roundings on its way."""
    operators = chains.operators(end)
    if any(editor.tensor(int(index)).type == FLOAT32 for operator in operators for index in operator.outputs):
        return True
    source_is_int8 = all(editor.tensor(source).type == INT8 for source in chains.sources(end))
    if len(operators) < 2 or not source_is_int8 or editor.tensor(end).type != INT8:
        return False
    exact, (stepwise, _) = chains.exact(end), chains.stepwise(end)
    if not np.isfinite(exact).all():
        return False
    scale, zero = chains.affine(end)
    table = (rounded(exact, (scale, zero)) - float(zero)) * scale
    power, error, left = (float((each**2).sum()) for each in (exact, stepwise - exact, table - exact))
    return error > power * 10 ** (-_LEAST / 10) and error > 2 * left


def _is_worth_a_large_table(editor: Editor, chains: Chains, end: int) -> bool:
    """Whether a chain holds a float operation on both tensors, or its roundings carry it far off."""
    operators = chains.operators(end)
    outputs = [int(index) for operator in operators for index in operator.outputs]
    if any(editor.tensor(index).type == FLOAT32 and len(chains.sources(index)) > 1 for index in outputs):
        return True
    affine = chains.affine(end)
    stepwise, occurs = chains.stepwise(end)
    far = np.abs(rounded(chains.exact(end), affine).astype(int) - rounded(stepwise, affine)) > _FAR
    return len(operators) > 1 and bool((far & occurs).any())
