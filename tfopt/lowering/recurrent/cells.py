"""One time step of a GRU or an LSTM, gate by gate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tfopt.keras_model.kinds import layer_kind

if TYPE_CHECKING:
    import tensorflow as tf

    from tfopt.keras_model.types import AnyLayer


def gru_cell(layer: AnyLayer) -> dict[str, Any] | None:
    """The rule: a GRU's step, gate by gate, as the converter leaves the first step's SPLIT of a constant in float.

    `z, r = sigmoid(x W + h U + b)`, `n = tanh(x W + r (h U + b))`, `h' = z h + (1 - z) n` (arXiv:1406.1078; with
    `reset_after=False` it is `(r h) U`).
    """
    if layer_kind(layer) != "GRUCell":
        return None

    def call(inputs: tf.Tensor, states: Any, **_: Any) -> tuple[tf.Tensor, Any]:
        import tensorflow as tf

        def gates(weights: tf.Tensor) -> list[tf.Tensor]:
            return tf.split(tf.convert_to_tensor(weights), 3, axis=-1)

        state = states[0] if tf.nest.is_nested(states) else states
        kernels, recurrent = gates(layer.kernel), gates(layer.recurrent_kernel)
        biases = tf.convert_to_tensor(layer.bias) if layer.use_bias else tf.zeros(3 * layer.units)
        own, late = (gates(each) for each in (tf.unstack(biases) if len(biases.shape) == 2 else (biases, tf.zeros_like(biases))))
        update, reset = (
            layer.recurrent_activation(inputs @ kernels[gate] + state @ recurrent[gate] + (own[gate] + late[gate]))
            for gate in (0, 1)
        )
        late_reset = layer.reset_after
        inner = reset * (state @ recurrent[2] + late[2]) if late_reset else (reset * state) @ recurrent[2]
        new = layer.activation(inputs @ kernels[2] + own[2] + inner)
        output = new - update * (new - state)  # fewer roundings than in `z h + (1 - z) n`
        return output, [output] if tf.nest.is_nested(states) else output

    return {"call": call}


def lstm_cell(layer: AnyLayer) -> dict[str, Any] | None:
    """The rule: the same for an LSTM's step where it is not fused, as after a mask: `c' = f c + i g`, `h' = o act(c')`."""
    if layer_kind(layer) != "LSTMCell":
        return None

    def call(inputs: tf.Tensor, states: Sequence[tf.Tensor], **_: Any) -> tuple[tf.Tensor, list[tf.Tensor]]:
        import tensorflow as tf

        hidden, carry = states
        kernels, recurrent = (tf.split(tf.convert_to_tensor(each), 4, -1) for each in (layer.kernel, layer.recurrent_kernel))
        biases = tf.split(tf.convert_to_tensor(layer.bias) if layer.use_bias else tf.zeros(4 * layer.units), 4)
        sums = [inputs @ kernels[gate] + hidden @ recurrent[gate] + biases[gate] for gate in range(4)]
        let_in, keep, out = (layer.recurrent_activation(sums[gate]) for gate in (0, 1, 3))
        carry = keep * carry + let_in * layer.activation(sums[2])
        hidden = out * layer.activation(carry)
        return hidden, [hidden, carry]

    return {"call": call}
