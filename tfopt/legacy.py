"""The only door to Keras 2: `tf_keras` is imported here, inside functions, and nowhere else."""


def registered_names():
    """Names of the custom classes and functions that Keras 2 knows by registration."""
    import tf_keras

    return set(tf_keras.saving.get_custom_objects())


def load_model(path, *, custom_objects=None, safe_mode=True):
    """Reads a Keras 2 `.h5` or `.keras` file with the Keras that wrote it; optimizer and losses are left out.

    Args:
        path: str, the file.
        custom_objects: None or dict of name -> class or function.
        safe_mode: bool, whether serialized Python code is refused.

    Returns:
        A `tf_keras.Model`.
    """
    import tf_keras

    return tf_keras.models.load_model(path, custom_objects=custom_objects, compile=False, safe_mode=safe_mode)


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
