"""The Keras 2 LSTM that the TFLite converter turns into one operation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import tf_keras


def fused_lstm(weights: Sequence[npt.NDArray[np.floating]], return_sequences: bool, name: str) -> tf_keras.layers.LSTM:
    """A Keras 2 LSTM, which the TFLite converter turns into one operation (UNIDIRECTIONAL_SEQUENCE_LSTM).

    Args:
        weights: kernel (features, 4 units), recurrent kernel (units, 4 units), bias (4 units).
        return_sequences: whether the layer returns the output of each time step, or only the last one.
        name: the name of the layer.
    """
    import tf_keras

    kernel, recurrent, _ = weights
    layer = tf_keras.layers.LSTM(len(recurrent), return_sequences=return_sequences, name=name)
    layer.build((None, None, len(kernel)))
    layer.set_weights(weights)
    return layer
