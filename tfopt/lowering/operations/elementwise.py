"""Rules for activation functions that TensorFlow has as one operation, or that the converter makes into a float one."""

from __future__ import annotations

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


ELEMENTWISE: dict[str, dict[str, Rule]] = {
    "activation": {
        "Elu": _by(activations.elu),
        "Selu": _by(activations.selu),
        "Softplus": _by(activations.softplus),
    }
}
