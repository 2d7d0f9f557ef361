"""Rules for functions of one number that TensorFlow has as one operation, and TFLite only as several.

The int8 file has such functions as tables (`tfopt.tflite.islands`), so that their parts need no ranges of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from tfopt.lowering import activations

if TYPE_CHECKING:
    import tensorflow as tf

    from tfopt.lowering.operations.replay import Find, Rule


def _by(compute: Callable[[tf.Tensor], tf.Tensor]) -> Rule:
    def rule(operation: tf.Operation, find: Find) -> tf.Tensor:
        return compute(find(operation.inputs[0]))

    return rule


def _arcsine(x: tf.Tensor) -> tf.Tensor:
    import tensorflow as tf

    return tf.atan2(x, tf.sqrt((1.0 - x) * (1.0 + x)))


def _arccosine(x: tf.Tensor) -> tf.Tensor:
    import tensorflow as tf

    return tf.atan2(tf.sqrt((1.0 - x) * (1.0 + x)), x)


def _arctangent(x: tf.Tensor) -> tf.Tensor:
    import tensorflow as tf

    return tf.atan2(x, tf.ones_like(x))


def _tangent(x: tf.Tensor) -> tf.Tensor:
    import tensorflow as tf

    return tf.sin(x) / tf.cos(x)


def _hyperbolic_sine(x: tf.Tensor) -> tf.Tensor:
    import tensorflow as tf

    return 0.5 * (tf.exp(x) - tf.exp(x * -1.0))


def _hyperbolic_cosine(x: tf.Tensor) -> tf.Tensor:
    import tensorflow as tf

    return 0.5 * (tf.exp(x) + tf.exp(x * -1.0))


def _inverse_hyperbolic_sine(x: tf.Tensor) -> tf.Tensor:
    import tensorflow as tf

    size = tf.abs(x)
    return tf.sign(x) * tf.math.log(size + tf.sqrt(size * size + 1.0))


def _inverse_hyperbolic_cosine(x: tf.Tensor) -> tf.Tensor:
    import tensorflow as tf

    return tf.math.log(x + tf.sqrt((x - 1.0) * (x + 1.0)))


def _inverse_hyperbolic_tangent(x: tf.Tensor) -> tf.Tensor:
    import tensorflow as tf

    return 0.5 * tf.math.log((1.0 + x) / (1.0 - x))


def _error_function(x: tf.Tensor) -> tf.Tensor:
    """To 1.5e-7: Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26."""
    import tensorflow as tf

    size = tf.abs(x)
    t = 1.0 / (1.0 + 0.3275911 * size)
    total = 1.061405429 * t - 1.453152027
    for factor in (1.421413741, -0.284496736, 0.254829592):
        total = total * t + factor
    return tf.sign(x) * (1.0 - total * t * tf.exp(size * size * -1.0))


def _complementary(operation: tf.Operation, find: Find) -> tf.Tensor | None:
    """`1 - erf(x)`; the converter knows an exact GELU by the operation itself."""
    return None if is_in_gelu(operation) else 1.0 - _error_function(find(operation.inputs[0]))


def is_in_gelu(operation: tf.Operation) -> bool:
    """Whether an ERFC is that of `0.5 x erfc(-x / sqrt(2))` (arXiv:1606.08415)."""
    import tensorflow as tf

    scaled = operation.inputs[0].op
    factors = [tf.get_static_value(each) for each in scaled.inputs] if scaled.type == "Mul" else []
    return any(each is not None and abs(abs(float(each.reshape(-1)[0])) - math.sqrt(0.5)) < 1e-4 for each in factors)


_FUNCTIONS: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "Acos": _arccosine, "Acosh": _inverse_hyperbolic_cosine, "Asin": _arcsine, "Asinh": _inverse_hyperbolic_sine,
    "Atan": _arctangent, "Atanh": _inverse_hyperbolic_tangent, "Cosh": _hyperbolic_cosine, "Erf": _error_function,
    "Sinh": _hyperbolic_sine, "Tan": _tangent,
}  # fmt: skip

ELEMENTWISE: dict[str, dict[str, Rule]] = {
    "activation": {"Elu": _by(activations.elu), "Selu": _by(activations.selu), "Softplus": _by(activations.softplus)},
    "function": {**{kind: _by(compute) for kind, compute in _FUNCTIONS.items()}, "Erfc": _complementary},
}
