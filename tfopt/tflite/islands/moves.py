"""The edits that let operations read integers which the converter gives them as floats."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tfopt.tflite.editor import Editor, is_constant, text
from tfopt.tflite.operations import ANY_SCALE

if TYPE_CHECKING:
    from ai_edge_litert import schema_py_generated as schema

_FLOAT32, _INT8 = 0, 9  # TensorType of the schema
_MOVES = {"EXPAND_DIMS": 1, "RESHAPE": 1, "SQUEEZE": 1, "TILE": 3, "TRANSPOSE": 2}
"""Operations that copy the numbers of their first input -> the version of their kernel for int8."""


def integer_join(editor: Editor) -> int:
    """Lets CONCATENATION and PACK join integers, if their result is read as integers.

    The converter rounds only what was joined, where the parts come from operations that have no kernel for integers, as the sine
    and the cosine of a position do. Rounded before, each of them is a table.
    """
    made = {operator.outputs[0]: operator.inputs[0] for operator in editor.graph.operators if editor.name(operator) == "DEQUANTIZE"}
    readers: dict[int, list[schema.OperatorT]] = {}
    for operator in editor.graph.operators:
        for index in operator.inputs:
            readers.setdefault(int(index), []).append(operator)
    outputs = {int(index) for index in editor.graph.outputs}
    operators: list[schema.OperatorT] = []
    done: set[int] = set()  # ids of QUANTIZE operations whose results others make now
    for operator in editor.graph.operators:
        if id(operator) in done:
            continue
        result = int(operator.outputs[0]) if len(operator.outputs) else -1
        ends = readers.get(result, [])
        is_join = editor.name(operator) in ("CONCATENATION", "PACK") and editor.tensor(result).type == _FLOAT32
        is_join = is_join and len(ends) == 1 and editor.name(ends[0]) == "QUANTIZE" and result not in outputs
        if not is_join or editor.tensor(ends[0].outputs[0]).type != _INT8 or not _are_made(editor, operator):
            operators.append(operator)
            continue
        end = editor.tensor(ends[0].outputs[0])
        parts = []
        for index in operator.inputs:
            tensor = editor.tensor(index)
            parts.append(editor.add_tensor(f"{text(tensor.name)}/rounded", tensor.shape, _INT8, like=end))
            operators.append(editor.operator("QUANTIZE", [int(made.get(index, index))], [parts[-1]], version=2))
        operator.inputs, operator.outputs = np.array(parts, np.int32), ends[0].outputs
        editor.require_version(operator, 2)
        operators.append(operator)
        done.add(id(ends[0]))
    if done:
        editor.graph.operators = operators
        editor.remove_unread()
    return len(done)


def _are_made(editor: Editor, operator: schema.OperatorT) -> bool:
    return not any(is_constant(editor, editor.tensor(index)) for index in operator.inputs)


def integer_top_k(editor: Editor) -> int:
    """Lets TOPK_V2 rank integers where only the places are read: the converter ranks floats there, though the order is the same."""
    count = 0
    made = {operator.outputs[0]: operator.inputs[0] for operator in editor.graph.operators if editor.name(operator) == "DEQUANTIZE"}
    read = {int(index) for operator in editor.graph.operators for index in operator.inputs} | set(map(int, editor.graph.outputs))
    for operator in editor.graph.operators:
        if editor.name(operator) == "TOPK_V2" and operator.inputs[0] in made and int(operator.outputs[0]) not in read:
            integers = made[operator.inputs[0]]
            operator.inputs = np.array([integers, operator.inputs[1]], np.int32)
            values = editor.tensor(operator.outputs[0])
            values.type, values.quantization = editor.tensor(integers).type, editor.tensor(integers).quantization
            count += 1
    if count:
        editor.remove_unread()
    return count


def integer_sum(editor: Editor) -> int:
    """Lets ADD, MUL and SUB compute on integers that they get as floats, if their result is also read as integers.

    The converter leaves them in float where the result is rounded to a trained range for one reader, and not for another one, as in
    a layer of the caller's own that normalizes a tensor and adds it again later.
    """
    rounded: dict[int, schema.OperatorT] = {}  # float tensor -> the first QUANTIZE that reads it
    for operator in editor.graph.operators:
        if editor.name(operator) == "QUANTIZE" and editor.tensor(operator.outputs[0]).type == _INT8:
            rounded.setdefault(int(operator.inputs[0]), operator)
    ends, made = set(map(int, editor.graph.outputs)), dict[int, int]()
    operators: list[schema.OperatorT] = []
    done: list[schema.OperatorT] = []
    for operator in editor.graph.operators:
        name, result = editor.name(operator), int(operator.outputs[0]) if len(operator.outputs) else -1
        if any(operator is each for each in done):
            continue
        operators.append(operator)
        if name == "DEQUANTIZE" and editor.tensor(operator.inputs[0]).type == _INT8 and editor.affine(operator.inputs[0]):
            made[result] = int(operator.inputs[0])
        inputs = [made.get(int(index)) for index in operator.inputs]
        if name in ANY_SCALE and result in rounded and result not in ends and None not in inputs:
            integers = int(rounded[result].outputs[0])
            operator.inputs, operator.outputs = np.array(inputs, np.int32), np.array([integers], np.int32)
            editor.require_version(operator, 2)
            operators.append(editor.operator("DEQUANTIZE", [integers], [result], version=2))  # for the other readers
            made[result] = integers
            done.append(rounded[result])
    editor.graph.operators = operators
    if done:
        editor.remove_unread()
    return len(done)


def integer_product(editor: Editor) -> int:
    """Lets BATCH_MATMUL multiply the integers that it gets as floats, if its result is read as integers.

    The converter leaves such a product in float where one tensor is both multiplied and moved into the product, as keys that are
    the values, too.
    """
    makers = {int(index): operator for operator in editor.graph.operators for index in operator.outputs}
    readers: dict[int, list[schema.OperatorT]] = {}
    for operator in editor.graph.operators:
        for index in operator.inputs:
            readers.setdefault(int(index), []).append(operator)

    def integers(index: int) -> list[schema.OperatorT] | None:
        """The moves from an int8 tensor to a float one, the DEQUANTIZE first; None if there is no such way."""
        maker = makers.get(index)
        if maker is None or editor.tensor(index).type != _FLOAT32:
            return None
        if editor.name(maker) == "DEQUANTIZE":
            is_whole = editor.tensor(maker.inputs[0]).type == _INT8 and editor.affine(maker.inputs[0])
            return [maker] if is_whole else None
        before = integers(int(maker.inputs[0])) if editor.name(maker) in _MOVES and len(readers[index]) == 1 else None
        return None if before is None else [*before, maker]

    count = 0
    for operator in editor.graph.operators:
        product = int(operator.outputs[0]) if len(operator.outputs) else -1
        if editor.name(operator) != "BATCH_MATMUL" or editor.tensor(product).type != _FLOAT32:
            continue
        ways = [integers(int(index)) for index in operator.inputs]
        ends = readers.get(product, [])
        if None in ways or len(ends) != 1 or editor.name(ends[0]) != "QUANTIZE" or editor.tensor(ends[0].outputs[0]).type != _INT8:
            continue
        operator.inputs = np.array([_move(editor, way or []) for way in ways], np.int32)
        operator.outputs, ends[0].outputs = ends[0].outputs, np.array([product], np.int32)
        editor.require_version(operator, 4)
        count += 1
    if count:
        editor.remove_unread()
    return count


def _move(editor: Editor, way: list[schema.OperatorT]) -> int:
    """Makes moves copy integers; returns the tensor at their end."""
    start, *moves = way
    index = int(start.inputs[0])
    for move in moves:
        moved = editor.tensor(move.outputs[0])
        moved.type, moved.quantization = _INT8, editor.tensor(index).quantization
        move.inputs = np.array([index, *move.inputs[1:]], np.int32)
        editor.require_version(move, _MOVES[editor.name(move)])
        index = int(move.outputs[0])
    return index
