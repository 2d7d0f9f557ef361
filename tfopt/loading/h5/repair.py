"""What changed in model configurations from Keras 1 to Keras 2.15, put right so that tf_keras builds the model that was saved."""

import dataclasses
import re

from tfopt.loading.h5 import keras1
from tfopt.loading.h5.layer_repairs import FUNCTION_OF, STEPS, MissingAnswer, channels_last, float32

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


@dataclasses.dataclass
class _Context:
    """What the repairs of one file share: what is known, and what was done."""

    is_keras_1: bool
    given: frozenset
    known_layers: frozenset
    known_parts: frozenset
    known_functions: frozenset
    notes: list = dataclasses.field(default_factory=list)

    def note(self, text):
        if text not in self.notes:
            self.notes.append(text)


def is_keras_1(keras_version, config):
    """Whether a file is Keras 1's: it says so, or says nothing and uses its argument names."""
    if keras_version:
        return keras_version.startswith("1.")
    return _uses(config, keras1.SIGNS)


def repair(config, *, keras_1, given, known_layers, known_parts, known_functions):
    """A model's configuration as tf_keras of today takes it.

    Args:
        config: dict, the file's configuration; left as it is.
        keras_1: bool, as `is_keras_1` tells.
        given: names that the user gave objects for.
        known_layers: names of layer classes that tf_keras has.
        known_parts: names of initializers, regularizers and constraints that tf_keras has.
        known_functions: names of activations that tf_keras has.

    Returns:
        (configuration, tuple of str that say what was repaired)

    Raises:
        MissingAnswer: a layer's class or function is not in the file, or is gone.
        KeyError, TypeError, ...: the configuration is damaged.
    """
    context = _Context(keras_1, *map(frozenset, (given, known_layers, known_parts, known_functions)))
    return _repair(config, context, top=True), tuple(context.notes)


def _repair(node, context, top=False):
    kind, config = node["class_name"], node.get("config")
    if kind.rpartition(">")[2] in _MODELS and (isinstance(config, list) or (isinstance(config, dict) and "layers" in config)):
        return _repair_model(node, context)
    if not isinstance(config, dict):
        return node
    name = str(config.get("name", kind))
    if kind in context.given or kind.rpartition(">")[2] in context.given:
        return node
    kind, config = _renamed(kind, dict(config), name, context)
    if kind.rpartition(">")[2] not in context.known_layers:
        raise MissingAnswer(name, f"needs {kind!r}, which the file does not hold", _CLASS_ANSWER.format(kind.rpartition(">")[2]))
    for step in STEPS:
        step(kind, config, name, context)
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


def _repair_model(node, context):
    config = node["config"]
    layers = config if isinstance(config, list) else config["layers"]
    name = node.get("name") or (config.get("name") if isinstance(config, dict) else None)
    if layers and layers[0].get("class_name") == "Merge" and node["class_name"] == "Sequential":
        context.note(f"a Sequential that began with {len(layers[0]['config']['layers'])} merged branches is a graph")
        graph = keras1.sequential_of_merge(layers, name or "sequential")
        return _repair_model({**node, "class_name": "Functional", "config": graph}, context)
    layers = [_repair(layer, context) for layer in layers]
    if node["class_name"] == "Sequential":
        layers = _with_input_layer(layers)
    if isinstance(config, list):
        # A name of its own, or the whole would be named anew with every load.
        return {**node, "config": {"name": name, "layers": layers} if name else layers}
    repaired = {**config, "layers": layers}
    float32(node["class_name"], repaired, str(name), context)
    return {**node, "config": repaired}


def _with_input_layer(layers):
    """A `Sequential` whose first layer takes integers gets an input layer for them, as a layer's dtype is that of its weights."""
    first = layers[0]["config"] if layers and isinstance(layers[0].get("config"), dict) else {}
    if first.get("batch_input_shape") and re.fullmatch("u?int[0-9]+", str(first.get("dtype"))):
        settings = {"batch_input_shape": first["batch_input_shape"], "dtype": first["dtype"], "name": f"{first['name']}_input"}
        rest = {key: value for key, value in first.items() if key not in ("batch_input_shape", "dtype")}
        return [{"class_name": "InputLayer", "config": settings}, {**layers[0], "config": rest}, *layers[1:]]
    return layers


def _renamed(kind, config, name, context):
    old = kind
    if kind == "TimeDistributedDense":
        inner = {"class_name": "Dense", "config": {**config, "name": f"{name}_dense"}}
        shape = config.get("batch_input_shape")
        inner["config"].pop("batch_input_shape", None)
        kind, config = "TimeDistributed", {"name": name, "layer": inner, **({"batch_input_shape": shape} if shape else {})}
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


_CLASS_ANSWER = "class {0}(tf_keras.layers.Layer): ..."


def _uses(node, names):
    if isinstance(node, dict):
        return bool(names & set(node)) or any(_uses(value, names) for value in node.values())
    return isinstance(node, list) and any(_uses(item, names) for item in node)
