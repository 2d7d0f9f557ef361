"""A number for what a teacher computes: the same for a teacher that is built again, another one if anything in it changes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from keras import tree

from tfopt.keras_model.walk import walk_layers

if TYPE_CHECKING:
    import keras
    import numpy.typing as npt

    Concrete = Any  # a concrete function of TensorFlow, which has no types
    Proto = Any  # a protocol buffer of TensorFlow, the same


def fingerprint(computed: Concrete, model: keras.Model, x: Any) -> str:
    """A hexadecimal number of 32 digits that stands for data and for what a function computes of them.

    The graph of the function is read, not the configuration of the model: a function that was put into a layer later, or a
    constant in the code of a subclassed model, is in the graph only. Names do not count.

    Args:
        computed: the function, traced.
        model: the model that it calls, whose tables of words the graph does not show.
        x: the data, a structure of arrays.
    """
    graph = computed.graph.as_graph_def()
    bodies = {function.signature.name: function for function in graph.library.function}
    made = hashlib.blake2b(_digest([], graph.node, bodies), digest_size=16)
    variables = {id(variable.handle): variable for variable in computed.graph.variables}  # a set, in any order
    captured = [variables.get(id(tensor), tensor) for tensor in computed.graph.external_captures]
    captured = [tensor for tensor in captured if tensor.dtype.name not in ("resource", "variant")]
    words = [layer.get_vocabulary() for layer in walk_layers(model) if hasattr(layer, "get_vocabulary")]
    made.update(repr([[str(word) for word in each] for each in words]).encode())
    # The weights in the order of the model, and what the graph reads in the order in which it is read.
    for value in (*tree.flatten(x), *model.weights, *captured):
        _add(made, np.ascontiguousarray(value if isinstance(value, np.ndarray) else value.numpy()))
    return made.hexdigest()


def _add(made: hashlib.blake2b, value: npt.NDArray[Any]) -> None:
    """Adds an array to a digest."""
    made.update(f"{value.shape}{value.dtype}".encode())
    if value.dtype.kind == "O":  # an array of objects holds their addresses
        made.update(repr(value.tolist()).encode())
    else:
        made.update(value.view("uint8").data if value.size and value.dtype.kind in "biuf" else value.tobytes())


def _digest(arguments: Sequence[str], nodes: Iterable[Proto], bodies: Mapping[str, Proto]) -> bytes:
    """A digest of the nodes of a graph, with numbers in the place of names.

    Args:
        arguments: names of the arguments, for the body of a function.
        nodes: nodes in the order in which they were made.
        bodies: functions that the nodes may call, by name.
    """
    made = hashlib.blake2b()
    nodes = list(nodes)
    numbers = {name: str(number) for number, name in enumerate([*arguments, *(node.name for node in nodes)])}

    def place(source: str) -> str:
        name, colon, rest = source.partition(":")
        return numbers.get(name, name) + colon + rest

    for node in nodes:
        before = sorted(numbers.get(source[1:], "") for source in node.input if source.startswith("^"))
        made.update(repr([node.op, [place(source) for source in node.input if source[0] != "^"], before]).encode())
        for key in sorted(node.attr):
            if not key.startswith("_"):  # hints to the runtime, with names of other nodes
                made.update(key.encode() + _value(node.attr[key], bodies))
    return made.digest()


def _value(attribute: Proto, bodies: Mapping[str, Proto]) -> bytes:
    """An attribute of a node; for a function, a digest of its body, as names of functions have counters."""
    functions = [attribute.func] if attribute.HasField("func") else attribute.list.func
    called = [bodies[function.name] for function in functions if function.name in bodies]
    if not called:
        return bytes(attribute.SerializeToString(deterministic=True))
    return b"".join(_digest([each.name for each in body.signature.input_arg], body.node_def, bodies) for body in called)
