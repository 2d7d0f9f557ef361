"""A model that computes in float16 or bfloat16, rebuilt to compute in float32, from which TFLite quantizes."""

from __future__ import annotations

import re
from typing import Any

from tfopt.errors import ArgumentError
from tfopt.keras2 import door
from tfopt.keras_model.describe import describe
from tfopt.keras_model.walk import walk_layers

_LOW_PRECISION = re.compile("(mixed_)?b?float16")
_REBUILT = ("Functional", "Model", "QuantizedModel", "Sequential")  # classes that are rebuilt from their configuration


def low_precision_layers(model: Any) -> list[Any]:
    """The layers of a Keras model, nested layers included, that compute in float16 or bfloat16."""
    return [layer for layer in walk_layers(model) if getattr(layer, "compute_dtype", None) in ("float16", "bfloat16")]


def is_low_precision(policy: Any) -> bool:
    """Whether the name of a dtype or of a dtype policy stands for float16 or bfloat16."""
    return isinstance(policy, str) and _LOW_PRECISION.fullmatch(policy) is not None


def as_float32(model: Any) -> Any:
    """Rebuilds a model with every layer under float32; returns the model itself if every layer is float32 already.

    Example: `as_float32(keras.models.load_model("mixed.keras"))`

    Args:
        model: a Keras 3 or Keras 2 model, functional or sequential; nested models included.

    Returns:
        A model of the same class with copies of the weights.

    Raises:
        ArgumentError: the model cannot be rebuilt from its configuration (a subclassed model).
    """
    low = low_precision_layers(model)
    if not low:
        return model
    if not (hasattr(model, "layers") and type(model).__name__ in _REBUILT):
        raise _refusal(low[0])
    custom = {type(layer).__name__: type(layer) for layer in walk_layers(model) if _is_custom(layer)}
    try:
        config = _float32(model.get_config())
        if type(model).__module__.partition(".")[0] == "tf_keras":
            name = "Sequential" if type(model).__name__ == "Sequential" else "Functional"
            rebuilt = door.from_config({"class_name": name, "config": config}, custom)
        else:
            import keras

            with keras.saving.custom_object_scope(custom):
                rebuilt = type(model).from_config(config)
        if not rebuilt.built:
            rebuilt.build(model.input_shape)
        rebuilt.set_weights([weight.astype("float32") if weight.dtype.kind == "V" else weight for weight in model.get_weights()])
    except (ValueError, TypeError, NotImplementedError, AttributeError, KeyError) as error:
        raise _refusal(low[0]) from error
    return rebuilt


def _float32(node: Any) -> Any:
    """A configuration with every low-precision dtype policy replaced."""
    if isinstance(node, list | tuple):
        return type(node)(_float32(item) for item in node)
    if not isinstance(node, dict):
        return node
    new = {key: _float32(value) for key, value in node.items()}
    policy = new.get("dtype")
    name = policy.get("config", {}).get("name") if isinstance(policy, dict) else policy
    if is_low_precision(name):
        # The dtype of an input layer too: it is float16 only because of the policy.
        new["dtype"] = "float32"
    return new


def _is_custom(layer: Any) -> bool:
    return type(layer).__module__.partition(".")[0] not in ("keras", "tf_keras")


def _refusal(layer: Any) -> ArgumentError:
    return ArgumentError(
        f"Every layer must compute in float32. Received: {describe(layer)} in {layer.compute_dtype}. "
        "Build the model under keras.config.set_dtype_policy('float32') and copy the weights with get_weights, set_weights."
    )
