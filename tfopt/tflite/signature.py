"""Names and order of a TFLite file's inputs and outputs: write those of the Keras model, read those of any file."""

from __future__ import annotations

import collections
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tfopt.tflite.editor import text
from tfopt.tflite.flatbuffer import pack, root, unpack
from tfopt.tflite.layer_names import without_calls

if TYPE_CHECKING:
    from ai_edge_litert import schema_py_generated as schema

SIGNATURE = "serving_default"


def attach_signature(content: bytes, input_names: Sequence[str], output_names: Sequence[str]) -> bytes:
    """Returns the same file with its inputs and outputs named, in order, under the signature "serving_default".

    The converter loses the names where it reads a function and no SavedModel; `get_signature_runner` needs them.

    Example:

    ```python
    content = attach_signature(content, ["image"], ["digit", "is_blurred"])
    ```

    Args:
        content: of a `.tflite` file.
        input_names: names for the inputs, in the model's order.
        output_names: names for the outputs, in the model's order.

    Raises:
        ValueError: the file has another number of inputs or outputs.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = unpack(content)
    subgraph = model.subgraphs[0]
    for tensor in subgraph.tensors:
        tensor.name = without_calls(text(tensor.name))
    signature = schema.SignatureDefT()
    signature.signatureKey = SIGNATURE
    signature.subgraphIndex = 0
    signature.inputs = [_named(subgraph, *pair) for pair in zip(input_names, subgraph.inputs, strict=True)]
    signature.outputs = [_named(subgraph, *pair) for pair in zip(output_names, subgraph.outputs, strict=True)]
    model.signatureDefs = [signature]
    return pack(model)


def in_order(content: bytes) -> bytes:
    """The same file with inputs and outputs in the order of their numbers, if a signature names them `input_0`, `input_1`, ...

    The converter shuffles them where it reads a SavedModel, and leaves such a signature.

    Args:
        content: of a `.tflite` file.
    """
    if not root(content).SignatureDefsLength():
        return content
    model = unpack(content)
    subgraph, found = model.subgraphs[0], model.signatureDefs[0]
    subgraph.inputs, subgraph.outputs = _numbered(found.inputs, subgraph.inputs), _numbered(found.outputs, subgraph.outputs)
    return pack(model)


def plain_names(tensor_names: Sequence[str]) -> list[str]:
    """Tensor names without TensorFlow's ending `:0`, unless two of them would become equal: then they are numbered.

    Example:

    ```python
    plain_names(["image:0", "row:0"])     # ["image", "row"]
    plain_names(["call:0", "call:1"])     # ["call:0#0", "call:1#1"]
    ```
    """
    short = [name.split(":")[0] for name in tensor_names]
    return short if len(set(short)) == len(short) else [f"{name}#{index}" for index, name in enumerate(tensor_names)]


def in_signature_order(
    signed: Mapping[str, Mapping[str, Any]], details: Sequence[Mapping[str, Any]], names: Sequence[str]
) -> tuple[list[Mapping[str, Any]], list[str]]:
    """The inputs or outputs of a file as its signature names and orders them.

    TensorFlow's `output_0`, `output_1`, ... tell the model's order, which files do not always keep.

    Args:
        signed: name in the signature -> LiteRT's details of the tensor.
        details: LiteRT's details of all inputs, or of all outputs, in the file's order.
        names: their names without a signature.

    Returns:
        (details, names) in one order. Both are those given if the signature does not name each tensor as often as it occurs.
    """
    found: dict[int, list[str]] = {}
    for name, detail in signed.items():
        found.setdefault(int(detail["index"]), []).append(name)
    if collections.Counter(int(detail["index"]) for detail in details) != {index: len(own) for index, own in found.items()}:
        return list(details), list(names)
    places = {index: iter(sorted(own, key=lambda name: (len(name), name))) for index, own in found.items()}
    pairs = [(detail, next(places[int(detail["index"])])) for detail in details]
    if len(pairs) > 1 and all(re.fullmatch(r"output_\d+", name) for _, name in pairs):
        pairs.sort(key=lambda pair: int(pair[1].removeprefix("output_")))
    return [detail for detail, _ in pairs], [name for _, name in pairs]


def _numbered(entries: Sequence[schema.TensorMapT], indices: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Indices of the tensors that a signature names `input_0`, `input_1`, ..., in this order; else those given."""
    numbers = [
        (int(match[1]), entry.tensorIndex)
        for entry in entries
        if (match := re.fullmatch(rb"(?:input|output)_(\d+)", bytes(entry.name)))
    ]
    if len(numbers) < len(entries):
        return indices
    return np.array([index for _, index in sorted(numbers)], np.int32)


def _named(subgraph: schema.SubGraphT, name: str, index: int) -> schema.TensorMapT:
    from ai_edge_litert import schema_py_generated as schema

    subgraph.tensors[index].name = name
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name, int(index)
    return entry
