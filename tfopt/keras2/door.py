"""The only door to Keras 2: `tf_keras` and tfmot are imported in `keras2/`, inside functions, and nowhere else."""

import functools
import operator
import os

# Layers that files name although `tf_keras.layers` does not list them: tf_keras finds them all the same.
_UNLISTED_LAYERS = {
    "Functional", "Model", "Sequential", "TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer", "ClassMethod", "InstanceMethod",
    "InstanceProperty", "SyncBatchNormalization", "RandomFourierFeatures",
}  # fmt: skip


def version():
    """The version of tf_keras."""
    import tf_keras

    return tf_keras.__version__


def registered_names():
    """Names of the custom classes and functions that Keras 2 knows by registration."""
    import tf_keras

    return set(tf_keras.saving.get_custom_objects())


def known_layers():
    """Names of the layer classes that Keras 2 finds without being given them."""
    import tf_keras

    preprocessing = tf_keras.layers.experimental.preprocessing
    registered = {name.rpartition(">")[2] for name in registered_names()}
    return {*dir(tf_keras.layers), *dir(preprocessing), *_UNLISTED_LAYERS, *registered}


def known_parts():
    """Names of the initializers, regularizers and constraints that Keras 2 finds without being given them."""
    import tf_keras

    modules = (tf_keras.initializers, tf_keras.regularizers, tf_keras.constraints)
    old = {"normal", "uniform", "one", "zero", "L1L2", "maxnorm", "nonneg", "unitnorm"}
    registered = {name.rpartition(">")[2] for name in registered_names()}
    return {name for module in modules for name in dir(module)} | old | registered


def known_functions():
    """Names of the activations that Keras 2 finds without being given them."""
    import tf_keras

    registered = {name.rpartition(">")[2] for name in registered_names()}
    return {*dir(tf_keras.activations), "leaky_relu", "log_softmax", "relu6", "silu", "crelu", *registered}


def from_config(config, custom_objects):
    """A model without its weights, from a configuration that was looked at before: code in it runs.

    Args:
        config: dict with "class_name" and "config".
        custom_objects: dict of name -> class or function.

    Returns:
        A `tf_keras.Model`.
    """
    import tf_keras

    with tf_keras.utils.custom_object_scope(custom_objects):
        return tf_keras.models.model_from_config(config, custom_objects=custom_objects)


def lambda_layer(function):
    """A class that is built from a `Lambda` layer's configuration but computes with `function`."""
    import tf_keras

    class Given(tf_keras.layers.Lambda):
        @classmethod
        def from_config(cls, config, custom_objects=None):
            return tf_keras.layers.Lambda(function, **config)

    return Given


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


@functools.cache
def tfmot():
    """The package tensorflow_model_optimization, imported so that `tf.keras` goes on meaning what it meant.

    Its import sets the variable TF_USE_LEGACY_KERAS of the process and of its children, which turns a `tf.keras` that was not
    used before into Keras 2.

    Example: `tfopt.legacy.tfmot().sparsity.keras.PruningSummaries(log_dir="logs")`

    Returns:
        The module.
    """
    import tensorflow

    operator.attrgetter("keras.Model")(tensorflow)  # its meaning is settled at its first use
    name = "TF_USE_LEGACY_KERAS"
    before = os.environ.get(name)
    try:
        import tensorflow_model_optimization
    finally:
        os.environ.pop(name, None)
        if before is not None:
            os.environ[name] = before
    return tensorflow_model_optimization
