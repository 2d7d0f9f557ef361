"""Recurrent layers without loops: an LSTM as TFLite's fused operation where both compute the same, the others step by step.

The loop of Keras becomes a while loop, which kills the int8 converter (TensorFlow 2.21).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tfopt.errors import ArgumentError
from tfopt.keras_model.describe import describe
from tfopt.keras_model.kinds import is_keras_2, layer_kind
from tfopt.lowering.recurrent.fused_lstm import can_be_fused, fused_lstm

if TYPE_CHECKING:
    import tensorflow as tf

    from tfopt.keras_model.types import AnyLayer

_KINDS = {"LSTM", "GRU", "SimpleRNN", "RNN", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"}


def recurrent(layer: AnyLayer) -> dict[str, Any] | None:
    """The rule: any recurrent layer. It sees the two layers in `Bidirectional` as well.

    Raises:
        ArgumentError: the layer is stateful.
    """
    if layer_kind(layer, besides=("get_initial_state",)) not in _KINDS:
        return None
    if getattr(layer, "stateful", False):
        raise ArgumentError(
            f"A TFLite file keeps no state between runs. Received: {describe(layer)} with stateful=True. Build the model "
            "with stateful=False and copy the weights, or pass the state as inputs and return it as outputs (return_state=True)."
        )
    fuses = can_be_fused(layer)

    def call(sequences: Any, initial_state: Any = None, mask: Any = None, **_: Any) -> Any:
        import tensorflow as tf

        if isinstance(sequences, (list, tuple)):  # Keras 2 passes the state in this way
            sequences, *initial_state = sequences
        state = [] if initial_state is None else initial_state if tf.nest.is_nested(initial_state) else [initial_state]
        mask = tf.nest.flatten(mask)[0] if mask is not None else None  # one for each tensor that Keras 2 passes
        if fuses and mask is None and not state:
            return _fused(layer, sequences)
        return _unrolled(layer, sequences, state or _zeros(layer, sequences), mask)

    return {"call": call, "keeps_functions": fuses}


def _fused(layer: AnyLayer, sequences: tf.Tensor) -> tf.Tensor:
    import tensorflow as tf

    axis, cell = _time_axis(layer), layer.cell
    sequences = tf.reverse(sequences, axis=[axis]) if layer.go_backwards else sequences
    last, outputs = fused_lstm(sequences, cell.kernel, cell.recurrent_kernel, cell.bias, is_time_major=axis == 0)
    return outputs if layer.return_sequences else last


def _unrolled(layer: AnyLayer, sequences: tf.Tensor, state: Sequence[Any], mask: tf.Tensor | None) -> Any:
    import tensorflow as tf

    axis = _time_axis(layer)
    steps, state = tf.unstack(sequences, axis=axis), list(state)
    outputs: list[tf.Tensor] = []
    given: list[tf.Tensor | None] = [None] * len(steps)
    if mask is not None:
        given = tf.unstack(mask if mask.dtype == tf.bool else tf.not_equal(mask, 0), axis=axis)
    steps, masks = (steps[::-1], given[::-1]) if layer.go_backwards else (steps, given)
    for step, keep in zip(steps, masks, strict=True):
        output, new = layer.cell(step, state)
        new = list(new) if tf.nest.is_nested(new) else [new]
        if keep is not None:
            output = _where(keep, output, outputs[-1] if outputs else tf.zeros_like(output))
            new = tf.nest.map_structure(lambda now, before, keep=keep: _where(keep, now, before), new, state)
        outputs.append(output)
        state = new
    if mask is not None and _has_zeros_where_masked(layer):
        # Where Keras itself unrolls, it does not turn the mask of the sequence that it returns (Keras 3.15, tf_keras 2.21).
        masks = given if layer.unroll and layer.return_sequences else masks
        outputs = [_where(keep, output, tf.zeros_like(output)) for keep, output in zip(masks, outputs, strict=True)]
    result = tf.stack(outputs, axis=axis) if layer.return_sequences else outputs[-1]
    return [result, *state] if layer.return_state else result


def _has_zeros_where_masked(layer: AnyLayer) -> bool:
    """Whether the output of a masked step is zero, not that of the step before. The ConvLSTM layers of Keras 2 know no zeros."""
    return layer.zero_output_for_mask and not (is_keras_2(layer) and (layer_kind(layer) or "").startswith("ConvLSTM"))


def _time_axis(layer: AnyLayer) -> int:
    return 0 if getattr(layer, "time_major", False) else 1


def _zeros(layer: AnyLayer, sequences: tf.Tensor) -> Sequence[tf.Tensor]:
    import tensorflow as tf

    zeros = layer.get_initial_state(sequences if is_keras_2(layer) else sequences.shape[0])
    return zeros if tf.nest.is_nested(zeros) else [zeros]


def _where(keep: tf.Tensor, now: tf.Tensor, before: tf.Tensor) -> tf.Tensor:
    """`now` for the samples to keep, (batch,), else `before`."""
    import tensorflow as tf

    return tf.where(tf.reshape(keep, (-1, *[1] * (len(now.shape) - 1))), now, before)
