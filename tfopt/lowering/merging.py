"""The larger and the smaller of two tensors from operations that keep the range of each tensor."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from tfopt.keras_model.kinds import layer_kind, operation_kind

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from tfopt.keras_model.types import AnyLayer


def merging(layer: AnyLayer | keras.Operation) -> dict[str, Any] | None:
    """The rule: `max(a, b) = a + relu(b - a)`, `min(a, b) = a - relu(a - b)`.

    MAXIMUM and MINIMUM give their inputs the range of their output. It may be narrower than the inputs, and then cuts off values
    that other operations read.
    """
    name = layer_kind(layer) or operation_kind(layer)
    if name not in ("Maximum", "Minimum"):
        return None
    is_maximum = name == "Maximum"

    def combine(one: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
        import tensorflow as tf

        return one + tf.nn.relu(other - one) if is_maximum else one - tf.nn.relu(one - other)

    if hasattr(layer, "weights"):
        return {"call": lambda inputs, **_: functools.reduce(combine, inputs)}
    return {"call": lambda x1, x2: combine(x1, x2) if x1.dtype.is_floating else type(layer).call(layer, x1, x2)}
