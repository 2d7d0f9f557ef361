"""Layers of Keras 1 (2015 to 2017) and their arguments, translated to Keras 2."""

from __future__ import annotations

from typing import Any

from tfopt.loading.model_file import Config

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


def translate(kind: str, config: Config) -> tuple[str, Config]:
    """Translates a Keras 1 layer to Keras 2, without regularizers, constraints and initializers, which only training needs.

    Example: `translate("Dense", {"output_dim": 4, "init": "uniform"})` -> ("Dense", {"units": 4})

    Args:
        kind: class name.
        config: the layer's configuration.

    Returns:
        (class name, configuration) of Keras 2, a new dict.

    Raises:
        ValueError: Keras 2 has no layer that computes the same; the text is a predicate, as "merges with 'cos'".
    """
    if kind in ("Merge", "BatchNormalization"):
        _require_a_counterpart(kind, config)
    if kind == "Merge":
        return _merge(config)
    new: Config = {}
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
        new.pop("output_shape", None)  # `load_h5` compares it with the layer's own
    return kind, new


def _sides(padding: Any) -> Any:
    """Padding as Keras 2 writes it: Keras 1 names the sides in a dict, or has a list of four numbers."""
    if isinstance(padding, dict):
        rows = [padding.get("top_pad", 0), padding.get("bottom_pad", 0)]
        columns = [padding.get("left_pad", 0), padding.get("right_pad", 0)]
        return [rows, columns] if {"top_pad", "bottom_pad"} & set(padding) else columns
    return [padding[:2], padding[2:]] if isinstance(padding, list) and len(padding) == 4 else padding


def _require_a_counterpart(kind: str, config: Config) -> None:
    if kind == "BatchNormalization" and config.get("mode", 0) != 0:
        raise ValueError(f"normalizes with mode={config['mode']}, with the statistics of the batch")
    if kind == "Merge":
        mode = config.get("mode", "sum")
        if mode not in _MERGES or config.get("mode_type", "raw") != "raw":
            raise ValueError("merges with a function or with an unknown mode" if len(str(mode)) > 12 else f"merges with {mode!r}")


def _merge(config: Config) -> tuple[str, Config]:
    mode = config.get("mode", "sum")
    new = {"name": config.get("name")}
    if mode == "concat":
        new["axis"] = config.get("concat_axis", -1)
    if mode == "dot":
        axes = config.get("dot_axes", -1)
        axes = [axis[0] if isinstance(axis, list) else axis for axis in axes] if isinstance(axes, list) else axes
        new["axes"] = axes
    return _MERGES[mode], new
