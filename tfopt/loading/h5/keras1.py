"""Keras 1 (2015 to 2017): what its layers and their arguments are called today, and how its weights lie in Keras 2."""

import numpy as np

# Keras 1 argument -> Keras 2 argument, whatever the layer.
_RENAMED = {
    "atrous_rate": "dilation_rate",
    "beta_constraint": None,
    "beta_init": None,
    "bias": "use_bias",
    "border_mode": "padding",
    "consume_less": None,
    "depthwise_constraint": None,
    "depthwise_init": None,
    "depthwise_regularizer": None,
    "dim_ordering": "data_format",
    "dropout_U": "recurrent_dropout",
    "dropout_W": "dropout",
    "filter_length": "kernel_size",
    "forget_bias_init": None,
    "gamma_constraint": None,
    "gamma_init": None,
    "init": None,
    "inner_activation": "recurrent_activation",
    "inner_init": None,
    "input_dtype": "dtype",
    "length": "size",
    "nb_filter": "filters",
    "pointwise_constraint": None,
    "pointwise_init": None,
    "pointwise_regularizer": None,
    "pool_length": "pool_size",
    "sigma": "stddev",
    "stride": "strides",
    "subsample": "strides",
    "subsample_length": "strides",
}
_CLASSES = {
    "AtrousConvolution1D": "Conv1D",
    "AtrousConvolution2D": "Conv2D",
    "AtrousConv1D": "Conv1D",
    "AtrousConv2D": "Conv2D",
    "Convolution1D": "Conv1D",
    "Convolution2D": "Conv2D",
    "Convolution3D": "Conv3D",
    "Deconvolution2D": "Conv2DTranspose",
    "Deconv2D": "Conv2DTranspose",
    "SeparableConvolution2D": "SeparableConv2D",
}
_UNITS = {"Dense", "SimpleRNN", "LSTM", "GRU"}
_MERGES = {"sum": "Add", "mul": "Multiply", "ave": "Average", "max": "Maximum", "concat": "Concatenate", "dot": "Dot"}
_ORDERINGS = {"th": "channels_first", "tf": "channels_last"}
# Arguments that only Keras 1 has: a file without a version that uses none of them is no Keras 1 file.
SIGNS = frozenset(
    ["nb_filter", "nb_row", "border_mode", "dim_ordering", "init", "inner_init", "W_regularizer", "consume_less", "input_dtype"]
)
# The order of an LSTM's gates in the file (i, c, f, o) as positions of today's order (i, f, c, o).
_GATES = {"LSTM": (0, 2, 1, 3), "ConvLSTM2D": (0, 2, 1, 3), "GRU": (0, 1, 2)}


def translate(kind, config):
    """One Keras 1 layer in the words of Keras 2. Regularizers, constraints and initializers, which only train, are left out.

    Args:
        kind: str, class name.
        config: dict, the layer's configuration.

    Returns:
        (class name, configuration), new ones.

    Raises:
        ValueError: Keras 2 has nothing that computes the same; the text says what, as "uses ...".
    """
    if kind in ("Merge", "BatchNormalization"):
        _require_a_counterpart(kind, config)
    if kind == "Merge":
        return _merge(config)
    new = {}
    for name, value in config.items():
        if name.endswith(("_regularizer", "_constraint")):
            continue
        renamed = _RENAMED.get(name, name)
        if renamed:
            new[renamed] = value
    kind = _CLASSES.get(kind, kind)
    if "nb_row" in new:
        depth = [new.pop("kernel_dim1")] if "kernel_dim1" in new else []
        new["kernel_size"] = [*depth, new.pop("nb_row"), new.pop("nb_col")]
    elif "kernel_dim1" in new:
        new["kernel_size"] = [new.pop("kernel_dim1"), new.pop("kernel_dim2"), new.pop("kernel_dim3")]
    if isinstance(new.get("data_format"), str):
        new["data_format"] = _ORDERINGS.get(new["data_format"], new["data_format"])
    if new.get("padding") == "full":
        raise ValueError("pads with border_mode='full'")
    if kind in _UNITS and "output_dim" in new:
        new["units"] = new.pop("output_dim")
    if kind in ("Dropout", "GaussianDropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D") and "p" in new:
        new["rate"] = new.pop("p")
    if kind == "Embedding":
        new.pop("dropout", None)
    else:
        if "batch_input_shape" not in new and isinstance(new.get("input_dim"), int) and kind in _UNITS:
            middle = [new.get("input_length")] if kind != "Dense" else []
            new["batch_input_shape"] = [None, *middle, new["input_dim"]]
        new.pop("input_dim", None)
        new.pop("input_length", None)
    if kind in ("LSTM", "GRU", "SimpleRNN", "ConvLSTM2D"):
        new.setdefault("recurrent_activation", "hard_sigmoid")
        if kind == "SimpleRNN":
            new.pop("recurrent_activation")
    if kind == "GRU":
        new["reset_after"] = False
    if kind in ("ZeroPadding1D", "ZeroPadding2D"):
        new["padding"] = _sides(new.get("padding", 1))
    if kind == "BatchNormalization":
        new.pop("mode", None)
    if kind == "Conv2DTranspose":
        new.pop("output_shape", None)  # `repair` compares it with what the layer gives
    return kind, new


def _sides(padding):
    """Padding as Keras 2 writes it: Keras 1 names the sides in a dict, or has four numbers in a row."""
    if isinstance(padding, dict):
        rows = [padding.get("top_pad", 0), padding.get("bottom_pad", 0)]
        columns = [padding.get("left_pad", 0), padding.get("right_pad", 0)]
        return [rows, columns] if {"top_pad", "bottom_pad"} & set(padding) else columns
    return [padding[:2], padding[2:]] if isinstance(padding, list) and len(padding) == 4 else padding


def _require_a_counterpart(kind, config):
    if kind == "BatchNormalization" and config.get("mode", 0) != 0:
        raise ValueError(f"normalizes with mode={config['mode']}, by the statistics of the very batch")
    if kind == "Merge":
        mode = config.get("mode", "sum")
        if mode not in _MERGES or config.get("mode_type", "raw") != "raw":
            raise ValueError("merges with a function or a mode that is gone" if len(str(mode)) > 12 else f"merges with {mode!r}")


def _merge(config):
    mode = config.get("mode", "sum")
    new = {"name": config.get("name")}
    if mode == "concat":
        new["axis"] = config.get("concat_axis", -1)
    if mode == "dot":
        axes = config.get("dot_axes", -1)
        axes = [axis[0] if isinstance(axis, list) else axis for axis in axes] if isinstance(axes, list) else axes
        new["axes"] = axes
    return _MERGES[mode], new


def sequential_of_merge(config, name):
    """A Keras 1 `Sequential` that begins with a `Merge` of branches, as a graph.

    Args:
        config: list of layer nodes; the first is a `Merge` whose "layers" are the branches.
        name: str, of the model.

    Returns:
        dict, the configuration of a functional model.
    """
    merge, *rest = config
    layers, inputs, merged = [], [], []
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
        # A model is called on its own inputs first: its call in this graph is its second.
        merged.append([branch_name, int(isinstance(branch["config"], list) or "layers" in branch["config"]), 0])
    previous = merged
    for layer in [{"class_name": "Merge", "config": {k: v for k, v in merge["config"].items() if k != "layers"}}, *rest]:
        layers.append({**layer, "name": _name(layer, f"{name}_{len(layers)}"), "inbound_nodes": [previous]})
        previous = [[layers[-1]["name"], 0, 0]]
    return {"name": name, "layers": layers, "input_layers": inputs, "output_layers": previous}


def _name(node, otherwise):
    config = node.get("config")
    return config["name"] if isinstance(config, dict) and "name" in config else otherwise


def _input_shapes(node):
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


def arrays_per_variable(kind):
    """How many arrays a Keras 1 file holds for each variable of a layer: one for each gate."""
    return len(_GATES.get(kind, (0,)))


def convert_arrays(kind, arrays, shapes, *, channels_first):
    """The arrays of one Keras 1 layer in the layout of Keras 2.

    Args:
        kind: str, class name in Keras 2.
        arrays: list of arrays, in the file's order.
        shapes: list of tuples, of the layer's variables.
        channels_first: bool, whether the layer was written with dim_ordering="th".

    Returns:
        list of arrays.
    """
    arrays = list(arrays)
    if kind in _GATES and len(arrays) != len(shapes):  # one array a gate; with consume_less="gpu" they lie together already
        kinds = len(shapes)
        arrays = [np.concatenate([arrays[gate * kinds + index] for gate in _GATES[kind]], -1) for index in range(kinds)]
    if not arrays:
        return arrays
    kernel = arrays[0]
    if kind == "Conv1D" and kernel.ndim == 4:
        if kernel.shape[0] == shapes[0][2] and kernel.shape[:2] != (shapes[0][0], 1):
            kernel = kernel.transpose(2, 3, 1, 0)  # Keras 1.0: (filters, channels, length, 1)
        kernel = kernel[:, 0] if kernel.shape[1] == 1 else kernel
    elif kind == "Conv2DTranspose":
        kernel = kernel.transpose(2, 3, 0, 1) if channels_first else kernel.transpose(0, 1, 3, 2)
        if channels_first:
            kernel = kernel.transpose(0, 1, 3, 2) if kernel.shape != tuple(shapes[0]) else kernel
    elif kind in ("Conv2D", "Conv3D", "SeparableConv2D", "ConvLSTM2D") and channels_first:
        count = {"SeparableConv2D": 2, "ConvLSTM2D": 2}.get(kind, 1)
        arrays = [_channels_last(array) if index < count else array for index, array in enumerate(arrays)]
        kernel = arrays[0]
    return [kernel, *arrays[1:]]


def _channels_last(kernel):
    # (filters, channels, *sizes) -> (*sizes, channels, filters)
    return np.moveaxis(kernel, (0, 1), (-1, -2))
