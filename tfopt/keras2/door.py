"""The door to Keras 2 for all other rooms: what `tf_keras` knows and loads, and the import of tfmot without side effects."""

from __future__ import annotations

import functools
import operator
import os
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tf_keras

    from tfopt.files import PathLike

# Layers that occur in files and that tf_keras finds, although `tf_keras.layers` does not list them.
_UNLISTED_LAYERS = {
    "Functional", "Model", "Sequential", "TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer", "ClassMethod", "InstanceMethod",
    "InstanceProperty", "SyncBatchNormalization", "RandomFourierFeatures",
}  # fmt: skip


def version() -> str:
    """The version of tf_keras."""
    import tf_keras

    return tf_keras.__version__


def registered_names() -> set[str]:
    """Names of the custom classes and functions that Keras 2 knows because they are registered."""
    import tf_keras

    return set(tf_keras.saving.get_custom_objects())


def layer_class() -> type[tf_keras.layers.Layer]:
    """The base class of all layers of Keras 2."""
    import tf_keras

    return tf_keras.layers.Layer


def known_layers() -> set[str]:
    """Names of the layer classes that Keras 2 finds without custom objects."""
    import tf_keras

    preprocessing = tf_keras.layers.experimental.preprocessing
    registered = {name.rpartition(">")[2] for name in registered_names()}
    return {*dir(tf_keras.layers), *dir(preprocessing), *_UNLISTED_LAYERS, *registered}


def known_parts() -> set[str]:
    """Names of the initializers, regularizers and constraints that Keras 2 finds without custom objects."""
    import tf_keras

    modules = (tf_keras.initializers, tf_keras.regularizers, tf_keras.constraints)
    old = {"normal", "uniform", "one", "zero", "L1L2", "maxnorm", "nonneg", "unitnorm"}
    registered = {name.rpartition(">")[2] for name in registered_names()}
    return {name for module in modules for name in dir(module)} | old | registered


def known_functions() -> set[str]:
    """Names of the activations that Keras 2 finds without custom objects."""
    import tf_keras

    registered = {name.rpartition(">")[2] for name in registered_names()}
    return {*dir(tf_keras.activations), "leaky_relu", "log_softmax", "relu6", "silu", "crelu", *registered}


def from_config(config: Mapping[str, Any], custom_objects: Mapping[str, Any]) -> tf_keras.Model:
    """A model from its configuration, without its weights. Code in the configuration runs: it must have been checked before.

    Args:
        config: "class_name" and "config" of a model.
        custom_objects: name -> class or function.
    """
    import tf_keras

    with tf_keras.utils.custom_object_scope(custom_objects):
        return tf_keras.models.model_from_config(config, custom_objects=custom_objects)


def lambda_layer(function: Callable[..., Any]) -> type[tf_keras.layers.Lambda]:
    """A class that is made from the configuration of a `Lambda` layer but computes with `function`."""
    import tf_keras

    class Given(tf_keras.layers.Lambda):
        @classmethod
        def from_config(cls, config: dict[str, Any], custom_objects: Mapping[str, Any] | None = None) -> tf_keras.layers.Lambda:
            return tf_keras.layers.Lambda(function, **config)

    return Given


def load_model(path: PathLike, *, custom_objects: Mapping[str, Any] | None = None, safe_mode: bool = True) -> tf_keras.Model:
    """Reads a Keras 2 `.h5` or `.keras` file with the Keras that wrote it, without its optimizer and losses.

    Args:
        path: the file.
        custom_objects: name -> class or function.
        safe_mode: whether serialized Python code is refused.
    """
    import tf_keras

    return tf_keras.models.load_model(path, custom_objects=custom_objects, compile=False, safe_mode=safe_mode)


@functools.cache
def tfmot() -> ModuleType:
    """The package tensorflow_model_optimization, imported so that `tf.keras` keeps its meaning.

    The import alone would set the variable TF_USE_LEGACY_KERAS for this process and its children, which turns `tf.keras` into
    Keras 2 unless it was used before.
    """
    import tensorflow

    operator.attrgetter("keras.Model")(tensorflow)  # the first use settles the meaning of tf.keras
    name = "TF_USE_LEGACY_KERAS"
    before = os.environ.get(name)
    try:
        import tensorflow_model_optimization
    finally:
        os.environ.pop(name, None)
        if before is not None:
            os.environ[name] = before
    return tensorflow_model_optimization
