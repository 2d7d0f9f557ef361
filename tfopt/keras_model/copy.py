"""Copy a Keras model of either generation with its weights."""

from __future__ import annotations

import copy
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from tfopt import errors
from tfopt.keras_model.describe import describe
from tfopt.keras_model.walk import walk, walk_layers, walk_pairs

if TYPE_CHECKING:
    import keras

    from tfopt.keras_model.types import AnyLayer, AnyModel

# What layers raise if they cannot be made from their configuration; an error in a caller's own `get_config` is an AttributeError.
_REFUSALS = (AttributeError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError)


def copy_model(model: AnyModel) -> AnyModel:
    """A second model of the same Keras generation with the same layers and weights; it is not compiled.

    A Keras 3 model is made as a whole from its own configuration, as Keras saves it. If this fails, the copy of a Functional or
    Sequential model is made layer by layer, which needs no class to be found by its name.

    Args:
        model: a built Keras 3 or Keras 2 model. A subclassed model must be of Keras 3 and have `get_config` and, unless its
            configuration holds the arguments of `__init__`, `from_config`.

    Raises:
        ArgumentError: the model or one of its layers cannot be made again from its configuration.
    """
    return copy_and_configuration(model)[0]


def copy_and_configuration(model: AnyModel) -> tuple[AnyModel, dict[str, Any] | None]:
    """The same, and the configuration that the copy was made from, see `configuration`; None for a copy made layer by layer."""
    failures: list[Exception] = []
    for make in _ways(model):
        try:
            made, config = make(model)
            return _second(model, made), config
        except (*_REFUSALS, errors.ArgumentError) as error:
            failures.append(error)
    raise next((each for each in failures if isinstance(each, errors.ArgumentError)), None) or _refusal(model, failures[0])


def _ways(model: AnyModel) -> list[Callable[[Any], tuple[Any, dict[str, Any] | None]]]:
    """The functions that make a second model and say from which configuration, best first."""
    roots = [each.__module__.partition(".")[0] for each in type(model).__mro__]
    package = sys.modules[next(root for root in roots if root in ("keras", "tf_keras"))]

    def by_layer(each: AnyModel) -> tuple[AnyModel, None]:
        return package.models.clone_model(each), None

    if package.__name__ == "tf_keras":
        return [by_layer]
    return [_whole, by_layer] if has_graph(model) else [_whole]


def custom_objects(model: AnyModel) -> dict[str, Any]:
    """The classes of a model's layers, and the functions and classes that they were given, which Keras does not know, by name.

    Two different ones of one name are left out if Keras finds each of them in its own module.

    Raises:
        ValueError: two different ones have the same name, and one of them cannot be found in its module.
    """
    found: dict[str, Any] = {}
    shared: set[str] = set()
    for layer in (model, *walk_layers(model)):
        for value in (type(layer), *_given(layer)):
            if value.__module__.partition(".")[0] in ("keras", "builtins", "tfopt") or value.__name__ == "<lambda>":
                continue
            other = found.setdefault(value.__name__, value)
            if other is not value:
                if not (_is_in_its_module(value) and _is_in_its_module(other)):
                    raise ValueError(f"two classes or functions have the name {value.__name__!r}; rename one")
                shared.add(value.__name__)
    return {name: value for name, value in found.items() if name not in shared}


def _is_in_its_module(value: Any) -> bool:
    """Whether a class or function is what its module has under its name, where Keras looks for it."""
    return getattr(sys.modules.get(value.__module__), value.__name__, None) is value


def _given(layer: AnyLayer) -> Iterator[Any]:
    """Functions among the attributes of a layer, and classes of objects there that Keras saves, such as initializers."""
    for key, value in vars(layer).items():
        if isinstance(value, types.FunctionType) and key not in ("build", "call", "quantize"):  # which Keras wraps in each layer
            yield value
        elif hasattr(type(value), "get_config") and hasattr(type(value), "from_config"):
            yield type(value)


def configuration(model: keras.Model) -> dict[str, Any]:
    """What Keras saves of a model as a whole, without its weights and without what `compile` was given."""
    import keras

    config: dict[str, Any] = keras.saving.serialize_keras_object(model)
    return {key: value for key, value in config.items() if key != "compile_config"}


def from_configuration(
    config: dict[str, Any], objects: Mapping[str, Any] | None = None, *, safe: bool | None = None
) -> keras.Model:
    """A model with new weights, made from what `configuration` returned.

    Args:
        config: the configuration.
        objects: classes and functions by name; see `custom_objects`.
        safe: whether code that is stored in Lambda layers is refused; None: as the load that this call is part of has it.
    """
    import keras
    import numpy as np

    options = {} if safe is None else {"safe_mode": safe}
    # A caller's `from_config` may put objects into the configuration, which the next model would share.
    own = copy.deepcopy(config)
    model: keras.Model = keras.saving.deserialize_keras_object(own, custom_objects=objects, **options)
    shapes = (config.get("build_config") or {}).get("input_shape")
    if not has_graph(model) and shapes is not None:  # some layers create their weights when they are called
        model(keras.tree.map_shape_structure(lambda shape: np.zeros([size or 1 for size in shape], "float32"), shapes))
    return model


def has_graph(model: AnyModel) -> bool:
    """Whether a Keras 3 model is Functional, or Sequential."""
    import keras

    return isinstance(model, keras.Sequential) or bool(getattr(model, "operations", None))


def _whole(model: keras.Model) -> tuple[keras.Model, dict[str, Any]]:
    config = configuration(model)
    return from_configuration(config, custom_objects(model), safe=False), config


def _second(model: AnyModel, second: AnyModel) -> AnyModel:
    """`second` with the weights of `model`, and frozen where `model` is."""
    wanted, found = ([tuple(weight.shape) for weight in each.weights] for each in (model, second))
    if wanted != found:
        what = f"{len(found)} of {len(wanted)} weights" if len(found) != len(wanted) else "weights of other shapes"
        raise errors.ArgumentError(
            "the model must be one that Keras can make again from its configuration with all weights. Received: "
            f"{describe(model)}, whose copy has {what}. Create weights in __init__ or build()."
        )
    second.set_weights(model.get_weights())
    for one, other in walk_pairs(model, second):
        other.trainable = one.trainable
    names = getattr(model, "output_names", None)
    if names is not None and getattr(second, "output_names", None) != names:
        second.output_names = list(names)  # those of a quantization-aware model: a clone has the names of its last layers
    return second


def _refusal(model: AnyModel, error: Exception) -> errors.ArgumentError:
    """The error about the layer that cannot be made again, or about the model if every layer can."""
    at_fault = describe(model)
    for place in walk(model):
        try:
            type(place.layer).from_config(place.layer.get_config())
        except _REFUSALS as own:
            at_fault, error = f"{place.path} ({type(place.layer).__name__}) in {describe(model)}", own
            break
    return errors.ArgumentError(
        "the model must be one that Keras can make again from its configuration: the caller's own classes need `get_config`. "
        f"Received: {at_fault}: {(str(error).strip().splitlines() or [type(error).__name__])[0]}"
    )
