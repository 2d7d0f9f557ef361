"""Keras 1's `Sequential` of merged branches as a functional model."""

from __future__ import annotations

from typing import Any

from tfopt.loading.model_file import Config


def graph_of_merge(nodes: list[Config], name: str) -> Config:
    """Rewrites a `Sequential` that begins with a `Merge` of branches as a functional model.

    Args:
        nodes: the layers, each with "class_name" and "config"; the first is a `Merge` whose "layers" are the branches.
        name: of the model.

    Returns:
        The configuration of the functional model, in the words of Keras 1.
    """
    merge, *rest = nodes
    layers: list[Config] = []
    inputs: list[list[Any]] = []
    merged: list[list[Any]] = []
    for position, branch in enumerate(merge["config"]["layers"]):
        branch_name = _name(branch, f"{name}_branch_{position}")
        sources = []
        for index, (shape, dtype) in enumerate(_input_shapes(branch)):
            source = f"{branch_name}_input_{index}"
            settings = {"name": source, "batch_input_shape": shape, "dtype": dtype, "sparse": False}
            layers.append({"class_name": "InputLayer", "name": source, "config": settings, "inbound_nodes": []})
            inputs.append([source, 0, 0])
            sources.append([source, 0, 0])
        if isinstance(branch["config"], list):
            node = {"class_name": "Sequential", "config": {"name": branch_name, "layers": branch["config"]}}
        else:
            node = branch
        layers.append({**node, "name": branch_name, "inbound_nodes": [sources]})
        # A model was called on its own inputs before, so that its call in this graph is the second.
        merged.append([branch_name, int(isinstance(branch["config"], list) or "layers" in branch["config"]), 0])
    previous = merged
    for layer in [{"class_name": "Merge", "config": {k: v for k, v in merge["config"].items() if k != "layers"}}, *rest]:
        layers.append({**layer, "name": _name(layer, f"{name}_{len(layers)}"), "inbound_nodes": [previous]})
        previous = [[layers[-1]["name"], 0, 0]]
    return {"name": name, "layers": layers, "input_layers": inputs, "output_layers": previous}


def _name(node: Config, otherwise: str) -> str:
    config = node.get("config")
    return config["name"] if isinstance(config, dict) and "name" in config else otherwise


def _input_shapes(node: Config) -> list[tuple[list[int | None], str]]:
    """[(shape with batch, dtype)] of the inputs of a layer or model."""
    config = node["config"]
    layers = config if isinstance(config, list) else config.get("layers")
    if layers and "input_layers" in (config if isinstance(config, dict) else {}):
        by_name = {layer["name"]: layer for layer in layers}
        return [pair for name, *_ in config["input_layers"] for pair in _input_shapes(by_name[name])]
    if layers and layers[0]["class_name"] == "Merge":
        return [pair for branch in layers[0]["config"]["layers"] for pair in _input_shapes(branch)]
    if layers:
        return _input_shapes(layers[0])
    return [(config["batch_input_shape"], config.get("input_dtype") or config.get("dtype") or "float32")]
