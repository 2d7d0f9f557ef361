"""Recurrent layers without loops: an LSTM as TFLite's fused operation where both compute the same, the others step by step.

The loop of Keras becomes a while loop, which kills the int8 converter (TensorFlow 2.21).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tfopt.errors import ArgumentError
from tfopt.keras2.recurrent import fused_lstm
from tfopt.keras_model.describe import describe

if TYPE_CHECKING:
    import tensorflow as tf

    from tfopt.keras_model.types import AnyLayer

_CLASSES = {"LSTM", "GRU", "SimpleRNN", "RNN", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D", "CuDNNLSTM", "CuDNNGRU"}


def recurrent(layer: AnyLayer) -> dict[str, Any] | None:
    """The rule: any recurrent layer. It sees the two layers in `Bidirectional` as well.

    Raises:
        ArgumentError: the layer is stateful.
    """
    if type(layer).__name__ not in _CLASSES and not _is_recurrent(layer):
        return None
    if getattr(layer, "stateful", False):
        raise ArgumentError(
            f"A TFLite file keeps no state between runs. Received: {describe(layer)} with stateful=True. Build the model "
            "with stateful=False and copy the weights, or pass the state as inputs and return it as outputs (return_state=True)."
        )
    fused = _fused(layer)

    def call(sequences: Any, initial_state: Any = None, mask: tf.Tensor | None = None, **_: Any) -> Any:
        if isinstance(sequences, (list, tuple)):  # Keras 2 passes the state in this way
            sequences, *initial_state = sequences
        if fused and mask is None and not initial_state:
            return fused(_reversed(sequences) if layer.go_backwards else sequences)
        return _unrolled(layer, sequences, initial_state, mask)

    return {"call": call, "keeps": [fused] if fused else []}


def _is_recurrent(layer: AnyLayer) -> bool:
    """A subclass of a recurrent layer that computes as its parent does."""
    own = {"call"} & {name for kind in type(layer).__mro__ if not _is_keras(kind) for name in vars(kind)}
    return not own and any(kind.__name__ in _CLASSES for kind in type(layer).__mro__)


def _is_keras(kind: type) -> bool:
    return kind.__module__.partition(".")[0] in ("keras", "tf_keras", "builtins")


def _fused(layer: AnyLayer) -> Callable[[tf.Tensor], tf.Tensor] | None:
    """A Keras 2 LSTM with the same weights, which the converter can fuse; None where the fused operation computes otherwise."""
    same = (
        type(layer).__name__ == "LSTM"
        and getattr(layer.activation, "__name__", "") == "tanh"
        and getattr(layer.recurrent_activation, "__name__", "") == "sigmoid"
        and layer.use_bias
        and not layer.return_state
    )
    return fused_lstm(layer.get_weights(), layer.return_sequences, layer.name) if same else None


def _unrolled(layer: AnyLayer, sequences: tf.Tensor, initial_state: Sequence[tf.Tensor] | None, mask: tf.Tensor | None) -> Any:
    import tensorflow as tf

    steps = tf.unstack(sequences, axis=1)
    masks: list[tf.Tensor | None] = [None] * len(steps) if mask is None else tf.unstack(mask, axis=1)
    if layer.go_backwards:
        steps, masks = steps[::-1], masks[::-1]
    state = list(initial_state or _zeros(layer, sequences))
    outputs: list[tf.Tensor] = []
    for step, keep in zip(steps, masks, strict=True):
        output, new = layer.cell(step, state)
        new = list(new) if tf.nest.is_nested(new) else [new]
        if keep is not None:
            output = _where(keep, output, outputs[-1] if outputs else tf.zeros_like(output))
            new = tf.nest.map_structure(lambda now, before, keep=keep: _where(keep, now, before), new, state)
        outputs.append(output)
        state = new
    result = tf.stack(outputs, axis=1) if layer.return_sequences else outputs[-1]
    return [result, *state] if layer.return_state else result


def _zeros(layer: AnyLayer, sequences: tf.Tensor) -> Sequence[tf.Tensor]:
    import tensorflow as tf

    zeros = layer.get_initial_state(sequences if type(layer).__module__.startswith("tf_keras") else sequences.shape[0])
    return zeros if tf.nest.is_nested(zeros) else [zeros]


def gru_cell(layer: AnyLayer) -> dict[str, Any] | None:
    """The rule: a GRU's step, gate by gate, as the converter leaves the first step's SPLIT of a constant in float.

    `z, r = sigmoid(x W + h U + b)`, `n = tanh(x W + r (h U + b))`, `h' = z h + (1 - z) n` (arXiv:1406.1078; with
    `reset_after=False` it is `(r h) U`).
    """
    if type(layer).__name__ != "GRUCell":
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
        output = update * state + (1.0 - update) * new
        return output, [output] if tf.nest.is_nested(states) else output

    return {"call": call}


def lstm_cell(layer: AnyLayer) -> dict[str, Any] | None:
    """The rule: the same for an LSTM's step where it is not fused, as after a mask: `c' = f c + i g`, `h' = o act(c')`."""
    if type(layer).__name__ != "LSTMCell":
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


def _where(keep: tf.Tensor, now: tf.Tensor, before: tf.Tensor) -> tf.Tensor:
    """`now` for the samples to keep, (batch,), else `before`."""
    import tensorflow as tf

    return tf.where(tf.reshape(keep, (-1, *[1] * (len(now.shape) - 1))), now, before)


def _reversed(sequences: tf.Tensor) -> tf.Tensor:
    import tensorflow as tf

    return tf.reverse(sequences, axis=[1])
