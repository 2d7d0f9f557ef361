"""Activation functions as operations that have int8 kernels and keep to ranges that int8 can hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tfopt.keras_model.kinds import layer_kind, operation_kind

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from tfopt.keras_model.types import AnyLayer


def elu(x: tf.Tensor, alpha: float = 1.0) -> tf.Tensor:
    """`x` above 0, `alpha (exp(x) - 1)` below; TFLite's own ELU has no int8 kernel in the converter (arXiv:1511.07289)."""
    import tensorflow as tf

    return tf.nn.relu(x) + alpha * (tf.exp(x - tf.nn.relu(x)) - 1.0)


def selu(x: tf.Tensor) -> tf.Tensor:
    """A scaled `elu` (arXiv:1706.02515). Keras takes exp of all x, whose large values would take up the range of the tensor."""
    return 1.0507009873554805 * elu(x, 1.6732632423543772)


def softplus(x: tf.Tensor) -> tf.Tensor:
    """`log(1 + exp(x))` as `max(x, 0) - log(sigmoid(|x|))`, whose parts stay small where exp(x) would not."""
    import tensorflow as tf

    return tf.nn.relu(x) - tf.math.log(tf.sigmoid(tf.abs(x)))


def log_sigmoid(x: tf.Tensor) -> tf.Tensor:
    """`log(sigmoid(x)) = x - max(x, 0) + log(sigmoid(|x|))`."""
    import tensorflow as tf

    return x - tf.nn.relu(x) + tf.math.log(tf.sigmoid(tf.abs(x)))


def mish(x: tf.Tensor) -> tf.Tensor:
    """`x tanh(softplus(x))` (arXiv:1908.08681)."""
    import tensorflow as tf

    return x * tf.tanh(softplus(x))


def squareplus(x: tf.Tensor, b: float = 4) -> tf.Tensor:
    """`(x + sqrt(x^2 + b)) / 2` with a product, as SQUARE has no int8 kernel (arXiv:2112.11687)."""
    import tensorflow as tf

    return (x + tf.sqrt(x * x + b)) / 2.0


_FUNCTIONS: dict[str, Callable[..., tf.Tensor]] = {
    function.__name__: function for function in (elu, selu, softplus, log_sigmoid, mish, squareplus)
}
# `keras.ops` on symbolic tensors are operations of the model.
_OPERATIONS: dict[str, Callable[..., tf.Tensor]] = {"Selu": selu, "Softplus": softplus, "LogSigmoid": log_sigmoid, "Mish": mish}


def activation(layer: AnyLayer | keras.Operation) -> dict[str, Any] | None:
    """The rule: layers whose activation function is one of the functions above, and the `ELU` layer."""
    found: dict[str, Any] = {}
    operation = operation_kind(layer)
    if layer_kind(layer) == "ELU" or operation == "Elu":
        return {"call": lambda inputs: elu(inputs, float(layer.alpha))}
    if operation in _OPERATIONS:
        return {"call": _OPERATIONS[operation]}
    if operation == "Squareplus":
        return {"call": lambda inputs: squareplus(inputs, layer.b)}
    for name in ("activation", "recurrent_activation"):
        if isinstance(getattr(type(layer), name, None), property):
            continue  # a recurrent layer shows the function of its cell, and the rule sees the cell as well
        function = getattr(layer, name, None)
        # A function of the same name that is not Keras' own may be another one.
        if getattr(function, "__module__", "").partition(".")[0] in ("keras", "tf_keras"):
            lowered = _FUNCTIONS.get(getattr(function, "__name__", ""))
            if lowered:
                found[name] = lowered
    return found or None
