"""A SavedModel folder as a Keras model."""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING, Any

from tfopt.errors import LoadError
from tfopt.loading import model_file

if TYPE_CHECKING:
    import keras
    import tensorflow as tf


def load_saved_model(path: pathlib.Path) -> keras.Model:
    """Loads a SavedModel with TensorFlow and wraps its serving signature as a Keras model; its graph runs when it is called.

    Example: `load_saved_model(pathlib.Path("saved_model"))`

    Args:
        path: of the folder.

    Returns:
        A model with the inputs of the signature; its outputs are a dict by name.

    Raises:
        LoadError: the folder is damaged or has no signature.
    """
    import keras
    import tensorflow as tf

    try:
        loaded = tf.saved_model.load(str(path))
        endpoint = "serving_default" if "serving_default" in loaded.signatures else next(iter(loaded.signatures), "")
        if not endpoint:
            raise ValueError("it has no signature to call")
        specs = loaded.signatures[endpoint].structured_input_signature[1]
        inputs = {
            name: keras.Input(batch_shape=spec.shape.as_list(), dtype=spec.dtype.name, name=name)
            for name, spec in sorted(specs.items())
        }
        outputs = _signature_layer(loaded, endpoint)(inputs)
        return keras.Model(inputs if len(inputs) > 1 else next(iter(inputs.values())), outputs)
    except Exception as error:  # TensorFlow raises any exception for a damaged folder
        raise LoadError(
            f"The SavedModel folder must be loadable and have a signature. Received: {path}: {model_file.first_lines(error)} "
            "Write it with `model.export(path)`."
        ) from error


def _signature_layer(loaded: Any, endpoint: str) -> keras.layers.Layer:
    # keras.layers.TFSMLayer cannot call a signature of several inputs: signatures take their tensors by name.
    import keras

    class SavedModel(keras.layers.Layer):
        def call(self, inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            outputs = loaded.signatures[endpoint](**inputs)
            return {name: outputs[name] for name in sorted(outputs)}

    return SavedModel(name="saved_model", trainable=False)
