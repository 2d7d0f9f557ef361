"""Configurations from Keras 1 to Keras 2.15, repaired so that tf_keras builds the model that was saved."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from tfopt.loading.h5 import keras1
from tfopt.loading.h5.channels import channels_last
from tfopt.loading.h5.keras1_merge import graph_of_merge
from tfopt.loading.h5.layer_repairs import FUNCTION_OF, REPAIRS, Context, Known, MissingAnswer, compute_in_float32, takes_integers
from tfopt.loading.model_file import Config

# Classes that were renamed, or that compute the same as another.
_RENAMED = {
    "BatchNormalizationV1": "BatchNormalization",
    "BatchNormalizationV2": "BatchNormalization",
    "CuDNNGRU": "GRU",
    "CuDNNLSTM": "LSTM",
    "DepthwiseConvolution2D": "DepthwiseConv2D",
    "GRUV2": "GRU",
    "LSTMV2": "LSTM",
    "UnifiedGRU": "GRU",
    "UnifiedLSTM": "LSTM",
}
_MODELS = ("Functional", "Model", "Sequential")
_CLASS_ANSWER = "class {0}(tf_keras.layers.Layer): ..."


def is_keras_1(keras_version: str, config: Config) -> bool:
    """Whether Keras 1 wrote a file: the file says so, or does not say its version and uses the argument names of Keras 1."""
    if keras_version:
        return keras_version.startswith("1.")
    return _uses(config, keras1.SIGNS)


def repair(config: Config, *, keras_1: bool, given: Collection[str], known: Known) -> tuple[Config, tuple[str, ...]]:
    """Repairs a model's configuration for tf_keras.

    Args:
        config: of the file; it is not changed.
        keras_1: as `is_keras_1` returns it.
        given: names that the user gave objects for.
        known: names that tf_keras finds without being given them.

    Returns:
        (configuration, sentences about the repairs)

    Raises:
        MissingAnswer: a layer needs a class or function that is not in the file and not in tf_keras.
        KeyError, TypeError, ...: the configuration is damaged.
    """
    context = Context(keras_1, frozenset(given), known)
    return _repair(config, context), tuple(context.notes)


def _repair(node: Config, context: Context) -> Config:
    kind, config = node["class_name"], node.get("config")
    if kind.rpartition(">")[2] in _MODELS and (isinstance(config, list) or (isinstance(config, dict) and "layers" in config)):
        return _repair_model(node, context)
    if not isinstance(config, dict):
        return node
    name = str(config.get("name", kind))
    if kind in context.given or kind.rpartition(">")[2] in context.given:
        return node
    kind, config = _renamed(kind, dict(config), name, context)
    if kind.rpartition(">")[2] not in context.known.layers:
        raise MissingAnswer(name, f"needs {kind!r}, which the file does not hold", _CLASS_ANSWER.format(kind.rpartition(">")[2]))
    for repair_layer in REPAIRS:
        repair_layer(kind, config, name, context)
    for key in ("layer", "backward_layer", "cell"):
        if isinstance(config.get(key), dict) and "class_name" in config[key]:
            config[key] = _repair(config[key], context)
    if isinstance(config.get("cells"), list):
        config["cells"] = [_repair(cell, context) for cell in config["cells"]]
    if kind == "Lambda" and name in context.given:
        context.note(f"{name}: the Lambda's function is the given {name!r}")
        kept = {key: config[key] for key in ("name", "trainable", "dtype", "batch_input_shape", "arguments") if key in config}
        node = {key: value for key, value in node.items() if key not in ("module", "registered_name")}
        return {**node, "class_name": FUNCTION_OF + name, "config": kept}
    return channels_last({**node, "class_name": kind, "config": config}, context)


def _repair_model(node: Config, context: Context) -> Config:
    config = node["config"]
    layers = config if isinstance(config, list) else config["layers"]
    name = node.get("name") or (config.get("name") if isinstance(config, dict) else None)
    if layers and layers[0].get("class_name") == "Merge" and node["class_name"] == "Sequential":
        context.note(f"a Sequential that began with {len(layers[0]['config']['layers'])} merged branches is a graph")
        graph = graph_of_merge(layers, name or "sequential")
        return _repair_model({**node, "class_name": "Functional", "config": graph}, context)
    layers = [_repair(layer, context) for layer in layers]
    if node["class_name"] == "Sequential":
        layers = _with_input_layer(layers)
    if isinstance(config, list):
        # With the name in the file, or the model would have another name after every load.
        return {**node, "config": {"name": name, "layers": layers} if name else layers}
    repaired = {**config, "layers": layers}
    compute_in_float32(node["class_name"], repaired, str(name), context)
    return {**node, "config": repaired}


def _with_input_layer(layers: list[Config]) -> list[Config]:
    """Adds an input layer if the first layer takes integers, since a layer's dtype is that of its weights."""
    first = layers[0]["config"] if layers and isinstance(layers[0].get("config"), dict) else {}
    if first.get("batch_input_shape") and takes_integers(first):
        settings = {"batch_input_shape": first["batch_input_shape"], "dtype": first["dtype"], "name": f"{first['name']}_input"}
        rest = {key: value for key, value in first.items() if key not in ("batch_input_shape", "dtype")}
        return [{"class_name": "InputLayer", "config": settings}, {**layers[0], "config": rest}, *layers[1:]]
    return layers


def _renamed(kind: str, config: Config, name: str, context: Context) -> tuple[str, Config]:
    """The class and the configuration of a layer in the words of today."""
    old = kind
    if kind == "TimeDistributedDense":
        inner = {key: value for key, value in config.items() if key != "batch_input_shape"}
        shape = config.get("batch_input_shape")
        config = {"name": name, "layer": {"class_name": "Dense", "config": {**inner, "name": f"{name}_dense"}}}
        kind, config = "TimeDistributed", config | ({"batch_input_shape": shape} if shape else {})
    elif context.is_keras_1 or kind == "Merge":
        try:
            kind, config = keras1.translate(kind, config)
        except ValueError as error:
            raise MissingAnswer(name, f"({old}) {error}, which no later Keras has", _CLASS_ANSWER.format(old)) from error
    kind = _RENAMED.get(kind, kind)
    if kind != old and not (context.is_keras_1 and old != "Merge"):
        context.note(f"{name}: {old} is {kind}")
    if old.startswith("CuDNN"):
        config.setdefault("activation", "tanh")
        config.setdefault("recurrent_activation", "sigmoid")
        if kind == "GRU":
            config["reset_after"] = True
    return kind, config


def _uses(node: Any, names: frozenset[str]) -> bool:
    """Whether any dict in a configuration has one of the keys."""
    if isinstance(node, dict):
        return bool(names & set(node)) or any(_uses(value, names) for value in node.values())
    return isinstance(node, list) and any(_uses(item, names) for item in node)
