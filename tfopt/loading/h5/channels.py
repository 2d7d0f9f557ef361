"""Layers with channels first, which TensorFlow cannot run on a CPU, rewritten with channels last."""

from __future__ import annotations

from tfopt.loading.h5.layer_repairs import Context
from tfopt.loading.model_file import Config

# Layers that compute the same with channels first.
_ORDER_FREE = ("Flatten", "SpatialDropout2D", "SpatialDropout3D")


def channels_last(node: Config, context: Context) -> Config:
    """Puts a layer with channels first between two `Permute` layers, so that it runs with channels last.

    The three layers become a `Sequential` with the layer's name, so that the graph and the weights in the file find it.

    Args:
        node: of the layer, with "class_name" and "config".
        context: of the file.

    Returns:
        A new node; `node` itself if the layer has channels last.
    """
    kind, config = node["class_name"], node["config"]
    if kind == "BatchNormalization" and config.get("axis") in (1, [1]):
        config["fused"] = False  # the fused kernel of channels first is missing on CPUs too
        return node
    if config.get("data_format") != "channels_first" or kind in _ORDER_FREE:
        return node
    name = config["name"]
    rank = 1 if "1D" in kind else 3 if "3D" in kind else 2
    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()
    if kind.startswith("ConvLSTM"):
        before = (1,)
        after = (1,) if config.get("return_sequences") else ()
    there = (*before, *(len(before) + 2 + size for size in range(rank)), len(before) + 1)
    back = (*after, len(after) + rank + 1, *(len(after) + 1 + size for size in range(rank)))
    inner = {key: value for key, value in config.items() if key != "batch_input_shape"}
    inner = {**inner, "data_format": "channels_last", "name": f"{name}_channels_last"}
    first = {"name": f"{name}_before", "dims": list(there)}
    if "batch_input_shape" in config:
        first["batch_input_shape"] = config["batch_input_shape"]
    layers = [{"class_name": "Permute", "config": first}, {"class_name": kind, "config": inner}]
    if not kind.startswith("Global") or config.get("keepdims"):
        layers.append({"class_name": "Permute", "config": {"name": f"{name}_after", "dims": list(back)}})
    context.note(f"{name}: {kind} with channels first runs with channels last, between two Permute layers")
    node = {key: value for key, value in node.items() if key not in ("class_name", "config", "module", "registered_name")}
    return {**node, "class_name": "Sequential", "config": {"name": name, "layers": layers}}
