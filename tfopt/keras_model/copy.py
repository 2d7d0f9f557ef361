"""Copy a Keras model of either generation with its weights."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING

from tfopt import errors
from tfopt.keras_model.describe import describe

if TYPE_CHECKING:
    from tfopt.keras_model.types import AnyModel


def copy_model(model: AnyModel) -> AnyModel:
    """A second model of the same Keras generation with the same layers and weights; it is not compiled.

    Args:
        model: a built Keras 3 or Keras 2 model. A subclassed model must be of Keras 3 and have `get_config` and, unless its
            configuration holds the arguments of `__init__`, `from_config`.

    Raises:
        ArgumentError: the model or one of its layers cannot be made again from its configuration.
    """
    keras = _keras_of(model)
    try:
        if isinstance(model, keras.Sequential) or getattr(model, "operations", None) or keras.__name__ == "tf_keras":
            copy = keras.models.clone_model(model)
        else:
            copy = type(model).from_config(model.get_config())
            copy.build_from_config(model.get_build_config())
    except (NotImplementedError, TypeError, ValueError) as error:
        raise errors.ArgumentError(
            "the model must be one that Keras can make again from its configuration: the caller's own classes need "
            f"`get_config`. Received: {describe(model)}: {(str(error).strip().splitlines() or [type(error).__name__])[0]}"
        ) from error
    values = model.get_weights()
    if len(copy.get_weights()) != len(values):
        raise errors.ArgumentError(
            "the model must be one that Keras can make again from its configuration with all weights. Received: "
            f"{describe(model)}, whose copy has {len(copy.get_weights())} of {len(values)} weights. Create weights in __init__ or "
            "build()."
        )
    copy.set_weights(values)
    names = getattr(model, "output_names", None)
    if names is not None and getattr(copy, "output_names", None) != names:
        copy.output_names = list(names)  # those of a quantization-aware model: a clone has the names of its last layers
    return copy


def _keras_of(model: AnyModel) -> ModuleType:
    """The package that made a model, `keras` or `tf_keras`; it is loaded already, because the model exists."""
    roots = [each.__module__.partition(".")[0] for each in type(model).__mro__]
    return sys.modules[next(root for root in roots if root in ("keras", "tf_keras"))]
