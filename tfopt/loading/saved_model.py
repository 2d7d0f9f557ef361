"""Read a SavedModel folder as a Keras model."""

from tfopt.errors import LoadError
from tfopt.loading import model_file


def load_saved_model(path):
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
    except Exception as error:  # as above: a damaged folder raises anything
        raise LoadError(
            f"The SavedModel folder must be loadable and have a signature. Received: {path}: {model_file.first_lines(error)} "
            "Write it with `model.export(path)`."
        ) from error


def _signature_layer(loaded, endpoint):
    # keras.layers.TFSMLayer cannot call a signature of several inputs: signatures take their tensors by name.
    import keras

    class SavedModel(keras.layers.Layer):
        def call(self, inputs):
            outputs = loaded.signatures[endpoint](**inputs)
            return {name: outputs[name] for name in sorted(outputs)}

    return SavedModel(name="saved_model", trainable=False)
