"""A function that the TFLite converter turns into one operation, UNIDIRECTIONAL_SEQUENCE_LSTM."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from tfopt.keras_model.kinds import layer_kind

if TYPE_CHECKING:
    import keras
    import tensorflow as tf
    import tf_keras


def can_be_fused(layer: keras.layers.RNN | tf_keras.layers.RNN) -> bool:
    """Whether the one operation computes as an LSTM does: its activation functions are fixed, and it returns no state."""
    return (
        layer_kind(layer) == "LSTM"
        and getattr(layer.activation, "__name__", "") == "tanh"
        and getattr(layer.recurrent_activation, "__name__", "") == "sigmoid"
        and layer.use_bias
        and not layer.return_state
    )


def fused_lstm(
    sequences: tf.Tensor, kernel: tf.Tensor, recurrent_kernel: tf.Tensor, bias: tf.Tensor, *, is_time_major: bool = False
) -> tuple[tf.Tensor, tf.Tensor]:
    """An LSTM that begins with a state of zeros, as one call of a function that the converter knows by its attributes.

    The converter (TensorFlow 2.21: `lstm_utils.cc`, `ConvertKerasLSTMLayer`) throws the function's body away, and knows what it
    computes by `api_implements` and by the order of the arguments and results, which are those of the LSTM of Keras 2.

    Example:

    ```python
    last, outputs = fused_lstm(sequences, layer.cell.kernel, layer.cell.recurrent_kernel, layer.cell.bias)
    ```

    Args:
        sequences: (batch, steps, features), all sizes known.
        kernel: (features, 4 units), the gates in the order input, forget, candidate, output.
        recurrent_kernel: (units, 4 units).
        bias: (4 units,).
        is_time_major: whether sequences and outputs are (steps, batch, features) instead.

    Returns:
        (output of the last step (batch, units), outputs of all steps (batch, steps, units)).
    """
    import tensorflow as tf

    def compute(
        sequences: tf.Tensor, hidden: tf.Tensor, carry: tf.Tensor, kernel: tf.Tensor, recurrent_kernel: tf.Tensor, bias: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        steps = sequences if is_time_major else tf.transpose(sequences, (1, 0, 2))
        peephole = tf.zeros_like(bias)[: hidden.shape[1]]
        result = tf.raw_ops.BlockLSTMV2(
            seq_len_max=tf.constant(steps.shape[0], "int64"), x=steps, cs_prev=carry, h_prev=hidden,
            w=tf.concat([kernel, recurrent_kernel], 0), wci=peephole, wcf=peephole, wco=peephole, b=bias,
        )  # fmt: skip
        outputs = result.h if is_time_major else tf.transpose(result.h, (1, 0, 2))
        return result.h[-1], outputs, result.h[-1], result.cs[-1], tf.constant(1.0)

    attributes = {
        "api_implements": f"lstm_{uuid.uuid4()}", "api_preferred_device": "CPU", "time_major": is_time_major, "go_backwards": False
    }  # fmt: skip
    function = tf.function(compute, autograph=False, experimental_attributes=attributes)
    zeros = tf.zeros((sequences.shape[1 if is_time_major else 0], recurrent_kernel.shape[0]), sequences.dtype)
    kernel, recurrent_kernel, bias = (tf.convert_to_tensor(each) for each in (kernel, recurrent_kernel, bias))
    last, outputs, *_ = function(sequences, zeros, zeros, kernel, recurrent_kernel, bias)
    return last, outputs
