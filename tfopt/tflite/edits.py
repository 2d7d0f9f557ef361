"""Edits of a TFLite file after the converter: repairs of its mistakes, and the edits of `delegate_edits`.

Each edit is one small function in `EDITS`; it takes an `Editor` and returns how many places it changed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tfopt.tflite import delegate_edits, flatbuffer
from tfopt.tflite.editor import Editor, is_constant, text
from tfopt.tflite.islands.chains import rounded
from tfopt.tflite.islands.lookup import fine_tanh, lookup_table, pair_table
from tfopt.tflite.islands.moves import integer_join, integer_product, integer_sum, integer_top_k
from tfopt.tflite.operations import ANY_SCALE, SAME_SCALE

if TYPE_CHECKING:
    from ai_edge_litert import schema_py_generated as schema

_INTEGERS: dict[int, npt.DTypeLike] = {9: np.int8, 7: np.int16}  # TensorType of the schema -> dtype
_INT32, _BOOL, _INT8 = 2, 6, 9
_HIDDEN = 4  # intermediate of UNIDIRECTIONAL_SEQUENCE_LSTM whose scale is that of the output
_STATES = (18, 19)  # inputs of UNIDIRECTIONAL_SEQUENCE_LSTM that outlive a run: output state and cell state


def apply_edits(content: bytes, *, skip: Collection[str] = ()) -> tuple[bytes, dict[str, int]]:
    """Runs all edits on a file.

    Example:

    ```python
    content, counts = apply_edits(content, skip=("hard_swish",))     # counts: {"average_pool": 2}
    ```

    Args:
        content: bytes of a `.tflite` file.
        skip: names of `EDITS` that are left out, or ("all",).

    Returns:
        (bytes, dict of edit -> number of places that it changed); the same bytes if nothing changed.
    """
    editor = Editor(content)
    counts = {name: edit(editor) for name, edit in EDITS.items() if name not in skip and "all" not in skip}
    counts = {name: count for name, count in counts.items() if count}
    return (flatbuffer.pack(editor.model) if counts else content), counts


def one_scale(editor: Editor) -> int:
    """Gives a constant that is also the weights of a layer a copy with one scale, where an operation has no kernel for several.

    The converter stores equal constants once, with a scale for each channel if one of them is the weights of a layer. A product or
    a sum that reads the same constant, as a triangle of ones, is then wrong, or ends the process that runs the file.
    """
    copies: dict[tuple[int, tuple[float, int]], int] = {}
    for operator in editor.graph.operators:
        name = editor.name(operator)
        if name not in ANY_SCALE | SAME_SCALE:
            continue
        for place, index in enumerate(operator.inputs):
            real = _by_channel(editor, int(index))
            if real is None:
                continue
            # An operation of one scale copies the integers.
            affine = editor.affine(operator.outputs[0]) if name in SAME_SCALE else (float(np.abs(real).max() or 1.0) / 127, 0)
            if affine is None:
                continue
            if (int(index), affine) not in copies:
                own = editor.add_tensor(f"{text(editor.tensor(index).name)}/own", real.shape, _INT8, data=rounded(real, affine))
                editor.tensor(own).quantization = editor.quantization([affine[0]], [affine[1]])
                copies[int(index), affine] = own
            inputs = [*operator.inputs]
            inputs[place] = copies[int(index), affine]
            operator.inputs = np.array(inputs, np.int32)
    return len(copies)


def _by_channel(editor: Editor, index: int) -> npt.NDArray[np.float64] | None:
    """The real values of an int8 constant that has a scale for each channel; None for other tensors."""
    tensor = editor.tensor(index) if index >= 0 else None
    if tensor is None or tensor.type != _INT8 or not is_constant(editor, tensor):
        return None
    found = tensor.quantization
    if found is None or found.scale is None or len(found.scale) < 2:
        return None
    integers = _read(editor, tensor, np.int8).reshape(tuple(tensor.shape)).astype(np.float64)
    along = [-1 if axis == found.quantizedDimension else 1 for axis in range(integers.ndim)]
    scales, zeros = (np.asarray(each, np.float64).reshape(along) for each in (found.scale, found.zeroPoint))
    return (integers - zeros) * scales


def no_detour(editor: Editor) -> int:
    """Removes conversions of integers to floats and back, which the converter leaves between trained and calibrated ranges.

    An operation that takes any scale reads the tensor with the trained one. Before any other, a QUANTIZE from integers to integers
    brings the tensor to the calibrated scale.
    """
    operators = editor.graph.operators
    made = {operator.outputs[0]: operator.inputs[0] for operator in operators if editor.name(operator) == "DEQUANTIZE"}
    integers = {  # what comes back as integers -> what it was before
        operator.outputs[0]: made[operator.inputs[0]]
        for operator in operators
        if editor.name(operator) == "QUANTIZE" and operator.inputs[0] in made
        if editor.tensor(made[operator.inputs[0]]).type in _INTEGERS
    }
    if not integers:
        return 0
    for operator in operators:
        if editor.name(operator) in ANY_SCALE:
            operator.inputs = np.array([integers.get(index, index) for index in operator.inputs], np.int32)
    operators = [
        editor.operator("QUANTIZE", [integers[operator.outputs[0]]], operator.outputs, version=2)
        if operator.outputs[0] in integers
        else operator
        for operator in operators
    ]
    taken = {index for operator in operators for index in operator.inputs} | set(editor.graph.outputs)
    editor.graph.operators = [
        operator
        for operator in operators
        if operator.outputs[0] in taken or (operator.outputs[0] not in made and operator.outputs[0] not in integers)
    ]
    return len(integers)


def reset_state(editor: Editor) -> int:
    """Makes a fused LSTM start every run from zero, as the Keras layer does; by itself it continues from the run before.

    The state is a variable that the runtime keeps. Each run writes it first, by an operation that depends on the input:
    `select(x < x, 0, 0)`. The runtime would run an operation on constants alone only once.
    """
    operators: list[schema.OperatorT] = []
    count = 0
    for operator in editor.graph.operators:
        if editor.name(operator) == "UNIDIRECTIONAL_SEQUENCE_LSTM":
            count += 1
            operators += _write_zeros(editor, operator)
        operators.append(operator)
    editor.graph.operators = operators
    return count


def _write_zeros(editor: Editor, lstm: schema.OperatorT) -> Iterator[schema.OperatorT]:
    sequence = editor.tensor(lstm.inputs[0])
    prefix = f"{text(editor.tensor(lstm.outputs[0]).name)}/state"
    one = editor.add_tensor(f"{prefix}/value", (1, 1), sequence.type, like=sequence)
    bounds = [editor.add_tensor(f"{prefix}/bound", (3,), _INT32, data=np.full(3, value, np.int32)) for value in (0, 1, 1)]
    yield editor.operator(
        "STRIDED_SLICE", [lstm.inputs[0], *bounds], [one], version=2,
        beginMask=0, endMask=0, ellipsisMask=0, newAxisMask=0, shrinkAxisMask=2, offset=False,
    )  # fmt: skip
    never = editor.add_tensor(f"{prefix}/never", (1, 1), _BOOL)
    yield editor.operator("LESS", [one, one], [never], version=2)
    for index in _STATES:
        state = editor.tensor(lstm.inputs[index])
        affine = editor.affine(lstm.inputs[index])
        zeros = np.full(tuple(state.shape), affine[1] if affine else 0, _INTEGERS.get(state.type, np.float32))
        constant = editor.add_tensor(f"{prefix}/zeros", state.shape, state.type, like=state, data=zeros)
        yield editor.operator("SELECT_V2", [never, constant, constant], [lstm.inputs[index]])


def cell_range(editor: Editor) -> int:
    """Gives the cell state of a fused int8 LSTM a range of at least 1: below 1/2 the kernel's tanh is wrong."""
    count = 0
    for operator in editor.graph.operators:
        if editor.name(operator) == "UNIDIRECTIONAL_SEQUENCE_LSTM":
            affine = editor.affine(operator.inputs[_STATES[1]])
            if affine and affine[0] < 2**-15:
                editor.tensor(operator.inputs[_STATES[1]]).quantization = editor.quantization([2**-15], [0])
                count += 1
    return count


def requantize(editor: Editor) -> int:
    """Adds a QUANTIZE where the converter leaves two scales to an operation that must have one, as after a fused LSTM."""
    operators, count = [], 0
    for operator in editor.graph.operators:
        if editor.name(operator) == "UNIDIRECTIONAL_SEQUENCE_LSTM" and editor.affine(operator.outputs[0]):
            # The kernel computes its output in the scale of an intermediate and copies the integers into its state.
            hidden, state, output = operator.intermediates[_HIDDEN], operator.inputs[_STATES[0]], operator.outputs[0]
            if len({editor.affine(index) for index in (hidden, state, output)}) > 1:
                editor.tensor(state).quantization = editor.tensor(hidden).quantization
                tensor = editor.tensor(output)
                own = editor.add_tensor(f"{text(tensor.name)}/own", tensor.shape, tensor.type, like=editor.tensor(hidden))
                operator.outputs = np.array([own], np.int32)
                operators += [operator, editor.operator("QUANTIZE", [own], [output], version=2)]
                count += 1
                continue
        if editor.name(operator) in SAME_SCALE:
            wanted = editor.affine(operator.outputs[0])
            output = editor.tensor(operator.outputs[0])
            for place, index in enumerate(operator.inputs):
                tensor = editor.tensor(index) if index >= 0 else None
                if not (wanted and tensor and tensor.type == output.type and tensor.type in _INTEGERS):
                    continue
                found = editor.affine(index)
                if found and found != wanted and not is_constant(editor, tensor):
                    added = editor.add_tensor(f"{text(tensor.name)}/scaled", tensor.shape, tensor.type, like=output)
                    operators.append(editor.operator("QUANTIZE", [index], [added], version=2))
                    operator.inputs = np.array([*operator.inputs[:place], added, *operator.inputs[place + 1 :]], np.int32)
                    count += 1
        operators.append(operator)
    editor.graph.operators = operators
    return count


def four_bit_weights(editor: Editor) -> int:
    """Stores weights that lie on 15 levels, as training with 4 bits leaves them, as the numbers of these levels, -7 to 7.

    int8 has 127 / 7 steps for each level. The bias, which counts in steps of the weights' scale, changes with it. Nothing is lost,
    and the file packs better.
    """
    stored, biases = set[int](), set[int]()  # tensors; a layer that is called twice has one of weights and a bias for each input
    for operator in editor.graph.operators:
        if editor.name(operator) not in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
            continue
        place = int(operator.inputs[1])
        if place not in stored and not _store_levels(editor, editor.tensor(place)):
            continue
        stored.add(place)
        if len(operator.inputs) > 2 and operator.inputs[2] >= 0 and operator.inputs[2] not in biases:
            biases.add(int(operator.inputs[2]))
            bias = editor.tensor(operator.inputs[2])
            _write(editor, bias, np.round(_read(editor, bias, np.int32) * (7 / 127)).astype(np.int32))
    return len(stored)


def _store_levels(editor: Editor, weights: schema.TensorT) -> bool:
    """Stores weights as the numbers of their levels; returns False for weights that do not lie on 15 levels."""
    if weights.type != _INT8 or not is_constant(editor, weights):
        return False
    integers = _read(editor, weights, np.int8)
    levels = np.round(integers * (7 / 127)).astype(np.int8)
    if len(np.unique(levels)) < 4 or not np.array_equal(np.round(levels * (127 / 7)), integers):
        return False
    _write(editor, weights, levels)
    return True


def _read(editor: Editor, tensor: schema.TensorT, kind: type[np.int8 | np.int32]) -> npt.NDArray[Any]:
    return np.frombuffer(bytes(editor.model.buffers[tensor.buffer].data), kind)


def _write(editor: Editor, tensor: schema.TensorT, integers: npt.NDArray[Any]) -> None:
    """Gives a tensor integers that count in steps 127 / 7 times as large; another tensor of the same buffer keeps its own."""
    if sum(each.buffer == tensor.buffer for each in editor.graph.tensors) > 1:
        tensor.buffer = len(editor.model.buffers)
        editor.model.buffers.append(editor.schema.BufferT())
    editor.model.buffers[tensor.buffer].data = np.frombuffer(integers.tobytes(), np.uint8)
    tensor.quantization.scale = np.asarray(tensor.quantization.scale) * np.float32(127 / 7)


EDITS: dict[str, Callable[[Editor], int]] = {
    "one_scale": one_scale,
    "integer_sum": integer_sum,
    "no_detour": no_detour,
    "integer_join": integer_join,
    "integer_product": integer_product,
    "integer_top_k": integer_top_k,
    "four_bit_weights": four_bit_weights,
    "cell_range": cell_range,
    "requantize": requantize,
    "reset_state": reset_state,
    **delegate_edits.EDITS,
    "fine_tanh": fine_tanh,
    "pair_table": pair_table,
    "lookup_table": lookup_table,
}
