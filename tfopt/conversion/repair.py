"""What changed in model configurations from Keras 1 to Keras 2.15, put right so that tf_keras builds the model that was saved."""

import dataclasses
import re

from tfopt.conversion import keras1

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
# With a layer's name, what the function is called that the user gave for that very layer.
FUNCTION_OF = "function of layer "
_MODELS = ("Functional", "Model", "Sequential")
_ROLES = re.compile(".*_(initializer|regularizer|constraint)")
_LOW_PRECISION = re.compile("(mixed_)?b?float16")
# Layers for which "channels_first" is no matter of their computation.
_ORDER_FREE = ("Flatten", "SpatialDropout2D", "SpatialDropout3D")


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


class MissingAnswer(Exception):
    """The file needs something that only the user has: `layer` needs `what`; `how` says how to give it."""

    def __init__(self, layer, what, how):
        super().__init__(f"layer {layer!r} {what}")
        self.layer, self.what, self.how = layer, what, how


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
    for step in _STEPS:
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
    return _channels_last({**node, "class_name": kind, "config": config}, context)


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
    _float32(node["class_name"], repaired, str(name), context)
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


def _plain_numbers(kind, config, name, context):
    for key, value in config.items():
        if isinstance(value, dict) and value.get("type") == "ndarray" and "value" in value:
            config[key] = value["value"]


def _float32(kind, config, name, context):
    dtype = config.get("dtype")
    policy = dtype
    if isinstance(dtype, dict):
        policy = (dtype.get("config") or {}).get("name")
    if isinstance(policy, str) and _LOW_PRECISION.fullmatch(policy):
        config["dtype"] = "float32"
        context.note(f"rebuilt under float32: layers computed in {policy}")
    elif isinstance(dtype, dict):
        config["dtype"] = policy


def _rnn_implementation(kind, config, name, context):
    if kind in ("LSTM", "GRU", "SimpleRNN", "LSTMCell", "GRUCell", "ConvLSTM2D") and config.get("implementation") == 0:
        config["implementation"] = 1
        context.note(f"{name}: {kind} implementation 0 -> 1")


def _gru_reset(kind, config, name, context):
    if kind in ("GRU", "GRUCell") and "reset_after" not in config:
        config["reset_after"] = False
        context.note(f"{name}: {kind} without `reset_after` resets before")


def _embedding_dtype(kind, config, name, context):
    if kind == "Embedding" and re.fullmatch("u?int[0-9]+", str(config.get("dtype"))) and not config.get("batch_input_shape"):
        del config["dtype"]
        context.note(f"{name}: an Embedding's weights are floats")
    elif kind == "Embedding" and re.fullmatch("u?int[0-9]+", str(config.get("dtype"))):
        context.note(f"{name}: an Embedding's weights are floats")


def _attention_shapes(kind, config, name, context):
    if kind == "MultiHeadAttention":  # asked for since 2.5; None stands for what the first call shows
        for key in ("query_shape", "key_shape", "value_shape"):
            config.setdefault(key, None)


def _parts_of_training(kind, config, name, context):
    """Initializers, regularizers and constraints that nobody knows are left out: all weights come from the file."""
    for key, value in config.items():
        if not _ROLES.fullmatch(key) or value is None:
            continue
        part = value.get("class_name") if isinstance(value, dict) else value
        part = value.get("config") if part == "function" else part
        if isinstance(part, str) and part.rpartition(">")[2] not in context.known_parts | context.given:
            config[key] = "zeros" if key.endswith("initializer") else None
            context.note(f"{name}: left out the {key} {part!r}, which only training needs")


def _functions(kind, config, name, context):
    for key in ("activation", "recurrent_activation"):
        value = config.get(key)
        nameless = value == "<lambda>" or (isinstance(value, dict) and "value" in value and "class_name" not in value)
        nameless = nameless or (isinstance(value, dict) and value.get("class_name") == "__lambda__")
        if isinstance(value, str) and not nameless and value not in context.known_functions | context.given:
            plain = value.rpartition(">")[2]
            if plain not in context.known_functions | context.given:
                raise MissingAnswer(name, f"has the {key} {value!r}, which the file does not hold", f"def {plain}(x): ...")
        if not nameless:
            continue
        answer = next((answer for answer in (name, "<lambda>") if answer in context.given), None)
        if answer is None:
            raise MissingAnswer(name, f"has the {key} `<lambda>`, a function that cannot be had from the file", _LAMBDA_ANSWER)
        config[key] = answer if answer == "<lambda>" else FUNCTION_OF + name
        context.note(f"{name}: the {key} `<lambda>` is the given {answer!r}")


_STEPS = (
    _plain_numbers,
    _float32,
    _rnn_implementation,
    _gru_reset,
    _embedding_dtype,
    _attention_shapes,
    _parts_of_training,
    _functions,
)


def _channels_last(node, context):
    """A layer of channels first, which TensorFlow cannot run on a CPU, between two `Permute` layers.

    The whole is a `Sequential` of the layer's name, so the graph around it and the weights in the file find it.
    """
    kind, config = node["class_name"], node["config"]
    if kind == "BatchNormalization" and config.get("axis") in (1, [1]):
        config["fused"] = False  # the fused kernel of channels first is missing on CPUs too
        return node
    if config.get("data_format") != "channels_first" or kind in _ORDER_FREE:
        return node
    name = config["name"]
    rank = 1 if "1D" in kind else 3 if "3D" in kind else 2
    before, after = (), ()
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


_CLASS_ANSWER = "class {0}(tf_keras.layers.Layer): ..."
_LAMBDA_ANSWER = 'def activation(x):\n    return ...\ncustom_objects = {"<lambda>": activation}'


def _uses(node, names):
    if isinstance(node, dict):
        return bool(names & set(node)) or any(_uses(value, names) for value in node.values())
    return isinstance(node, list) and any(_uses(item, names) for item in node)
