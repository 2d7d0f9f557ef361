"""What changed in single layers between the Keras that wrote a file and the one that reads it."""

import re

# With a layer's name, what the function is called that the user gave for that very layer.
FUNCTION_OF = "function of layer "


_ROLES = re.compile(".*_(initializer|regularizer|constraint)")


_LOW_PRECISION = re.compile("(mixed_)?b?float16")


# Layers for which "channels_first" is no matter of their computation.
_ORDER_FREE = ("Flatten", "SpatialDropout2D", "SpatialDropout3D")


class MissingAnswer(Exception):
    """The file needs something that only the user has: `layer` needs `what`; `how` says how to give it."""

    def __init__(self, layer, what, how):
        super().__init__(f"layer {layer!r} {what}")
        self.layer, self.what, self.how = layer, what, how


def _plain_numbers(kind, config, name, context):
    for key, value in config.items():
        if isinstance(value, dict) and value.get("type") == "ndarray" and "value" in value:
            config[key] = value["value"]


def float32(kind, config, name, context):
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


STEPS = (
    _plain_numbers,
    float32,
    _rnn_implementation,
    _gru_reset,
    _embedding_dtype,
    _attention_shapes,
    _parts_of_training,
    _functions,
)


def channels_last(node, context):
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
    inner = {**inner, "data_format": "channels_last", "name": f"{name}channels_last"}
    first = {"name": f"{name}_before", "dims": list(there)}
    if "batch_input_shape" in config:
        first["batch_input_shape"] = config["batch_input_shape"]
    layers = [{"class_name": "Permute", "config": first}, {"class_name": kind, "config": inner}]
    if not kind.startswith("Global") or config.get("keepdims"):
        layers.append({"class_name": "Permute", "config": {"name": f"{name}_after", "dims": list(back)}})
    context.note(f"{name}: {kind} with channels first runs with channels last, between two Permute layers")
    node = {key: value for key, value in node.items() if key not in ("class_name", "config", "module", "registered_name")}
    return {**node, "class_name": "Sequential", "config": {"name": name, "layers": layers}}


_LAMBDA_ANSWER = 'def activation(x):\n    return ...\ncustom_objects = {"<lambda>": activation}'
