"""Whether the graph in a Keras 2 configuration can be followed from its inputs: tf_keras would look for a lost node for ever."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from tfopt.keras2 import door
from tfopt.loading.model_file import Config

Key = tuple[str, int]
"""(layer, node): one call of a layer."""

_MODELS = ("Functional", "Model", "Sequential")
# Layers and ops that may return several tensors; any other layer of Keras returns one.
_SEVERAL = re.compile(".*(RNN|LSTM|GRU|ConvLSTM.*|Bidirectional|TimeDistributed|Attention|Lambda|InstanceProperty|Method|OpLayer)")
_SEVERAL_OPS = re.compile(
    "(?i).*(split|unstack|unpack|moments|top_?k|meshgrid|svd|qr|eig|unique|where|batch_?norm|shapen|broadcast_)"
)
_MOST = 64  # tensors that a layer of several is believed to return


def require_followable(node: Any) -> None:
    """Raises an error unless every layer of every functional model in a configuration can be reached from the inputs.

    Args:
        node: a configuration, or any part of it.

    Raises:
        ValueError: a layer takes its inputs from nowhere, or from itself.
    """
    if isinstance(node, dict):
        config = node.get("config")
        if isinstance(config, dict) and isinstance(config.get("layers"), list) and "input_layers" in config:
            _follow(config["layers"])
        for value in node.values():
            require_followable(value)
    elif isinstance(node, list):
        for item in node:
            require_followable(item)


def _follow(layers: list[Config]) -> None:
    first: dict[str, int] = {}  # by layer, the node of its first call in this graph
    gives: dict[str, int] = {}  # by layer, how many tensors it returns at most
    waiting: list[tuple[Key, set[Key]]] = []  # calls, and the calls that they need
    known_layers = door.known_layers()
    for layer in layers:
        name = layer["config"]["name"] if "name" not in layer else layer["name"]
        first[name] = int(_has_own_input(layer))
        gives[name] = _most_tensors(layer, known_layers)
    # Only inputs, and models with inputs of their own, have a tensor before the first call.
    known = {name for name, layer in zip(first, layers, strict=False) if _is_input(layer) or _has_own_input(layer)}
    done = {(name, 0) for name in known}
    for name, layer in zip(first, layers, strict=False):
        for index, inbound in enumerate(layer.get("inbound_nodes") or ()):
            waiting.append(((name, first[name] + index), set(_references(inbound, gives))))
    while waiting:
        reached = [key for key, needed in waiting if needed <= done]
        if not reached:
            raise ValueError(f"the layers {sorted({name for (name, _), _ in waiting})[:5]} cannot be reached from the inputs")
        done.update(reached)
        waiting = [(key, needed) for key, needed in waiting if key not in done]


def _references(item: Any, gives: Mapping[str, int]) -> Iterator[Key]:
    """Yields the calls from which the call of a layer takes its tensors."""
    if isinstance(item, dict):
        item = list(item.values())
    if not isinstance(item, list | tuple):
        return
    if len(item) in (3, 4) and isinstance(item[0], str) and item[0] in gives:
        node, tensor = item[1:3]
        if not (isinstance(node, int) and isinstance(tensor, int) and 0 <= tensor < gives[item[0]]):
            raise ValueError(f"there is no tensor {tensor} of node {node} of layer {item[0]!r}")
        yield item[0], node
        item = item[3:]
    for part in item:
        yield from _references(part, gives)


def _most_tensors(layer: Config, known_layers: Collection[str]) -> int:
    """The greatest number of tensors that a layer of this class may return."""
    kind, config = str(layer.get("class_name")), layer.get("config")
    if kind in _MODELS:
        return max(1, len(config.get("output_layers") or ())) if isinstance(config, dict) else 1
    if kind in ("TFOpLambda", "TensorFlowOpLayer") and isinstance(config, dict):
        node = config.get("node_def")
        op = config.get("function") or (node.get("op") if isinstance(node, dict) else node)
        return _MOST if _SEVERAL_OPS.match(str(op)) else 1
    return 1 if kind in known_layers and not _SEVERAL.fullmatch(kind) else _MOST


def _is_input(layer: Config) -> bool:
    config = layer.get("config")
    return layer.get("class_name") == "InputLayer" or (
        not layer.get("inbound_nodes") and isinstance(config, dict) and ("batch_input_shape" in config or "batch_shape" in config)
    )


def _has_own_input(layer: Config) -> bool:
    """Whether a nested model has inputs of its own, on which it was called once before its calls in the graph."""
    config = layer.get("config")
    if layer.get("class_name") not in _MODELS:
        return False
    layers = config.get("layers") if isinstance(config, dict) else config
    if not isinstance(layers, list) or not layers:
        return False
    head = layers[0]
    inner = head.get("config")
    return (
        head.get("class_name") == "InputLayer" or (isinstance(inner, dict) and "batch_input_shape" in inner) or _has_own_input(head)
    )
