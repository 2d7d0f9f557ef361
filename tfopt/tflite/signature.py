"""Give a TFLite file the signature of its Keras model: names and order of inputs and outputs."""

import re

import numpy as np

from tfopt.tflite.flatbuffer import pack, root, unpack

SIGNATURE = "serving_default"


def attach_signature(content, input_names, output_names):
    """Returns the same model with its inputs and outputs named, in order, under the signature "serving_default".

    The converter's quick road through a frozen graph loses the names; `get_signature_runner` needs them.

    Args:
        content: bytes of a `.tflite` file.
        input_names: names for the inputs, in the model's order.
        output_names: names for the outputs, in the model's order.

    Returns:
        bytes.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = unpack(content)
    subgraph = model.subgraphs[0]
    signature = schema.SignatureDefT()
    signature.signatureKey = SIGNATURE
    signature.subgraphIndex = 0
    signature.inputs = [named(schema, subgraph, *pair) for pair in zip(input_names, subgraph.inputs, strict=True)]
    signature.outputs = [named(schema, subgraph, *pair) for pair in zip(output_names, subgraph.outputs, strict=True)]
    model.signatureDefs = [signature]
    return pack(model)


def in_order(content):
    """The same model with inputs and outputs in the order of their numbers where a signature names them `input_0`, `input_1`, ...

    The converter's road through a SavedModel shuffles them, and leaves such a signature.
    """
    if not root(content).SignatureDefsLength():
        return content
    model = unpack(content)
    subgraph, found = model.subgraphs[0], model.signatureDefs[0]
    subgraph.inputs, subgraph.outputs = _numbered(found.inputs, subgraph.inputs), _numbered(found.outputs, subgraph.outputs)
    return pack(model)


def _numbered(entries, indices):
    """Indices of the tensors that a signature names `input_0`, `input_1`, ..., in this order; else those given."""
    matches = [(re.fullmatch(rb"(?:input|output)_(\d+)", bytes(entry.name)), entry.tensorIndex) for entry in entries]
    if not all(match for match, _ in matches):
        return indices
    return np.array([index for _, index in sorted((int(match[1]), index) for match, index in matches)], np.int32)


def named(schema, subgraph, name, index):
    subgraph.tensors[index].name = name
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name, int(index)
    return entry
