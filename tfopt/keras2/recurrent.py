"""The Keras 2 LSTM that the TFLite converter turns into one operation."""


def fused_lstm(weights, return_sequences, name):
    """A Keras 2 LSTM, which the TFLite converter turns into one operation (UNIDIRECTIONAL_SEQUENCE_LSTM).

    Args:
        weights: list of arrays: kernel (features, 4 units), recurrent kernel (units, 4 units), bias (4 units).
        return_sequences: bool.
        name: str.

    Returns:
        A `tf_keras.layers.LSTM`.
    """
    import tf_keras

    kernel, recurrent, _ = weights
    layer = tf_keras.layers.LSTM(len(recurrent), return_sequences=return_sequences, name=name)
    layer.build((None, None, len(kernel)))
    layer.set_weights(weights)
    return layer
