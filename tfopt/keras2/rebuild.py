"""Make a Keras 2 model again with other layers in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tfopt import errors
from tfopt.keras_model.walk import walk_layers

if TYPE_CHECKING:
    import tf_keras


def rebuild(model: tf_keras.Model, replacements: Mapping[int, tf_keras.layers.Layer]) -> tf_keras.Model:
    """The same model with other layers in it and in the models inside it; all other layers are shared.

    Args:
        model: a Sequential or Functional model.
        replacements: id of a layer -> the layer that takes its place.
    """
    import tf_keras

    made = dict(replacements)

    def replace(layer: tf_keras.layers.Layer) -> tf_keras.layers.Layer:
        if id(layer) not in made and isinstance(layer, tf_keras.Model) and any(id(inner) in made for inner in walk_layers(layer)):
            made[id(layer)] = tf_keras.models.clone_model(layer, clone_function=replace)
        return made.get(id(layer), layer)

    return replace(model)


def custom_objects_of(model: tf_keras.Model) -> dict[str, Any]:
    """The classes from which the layers of a model can be made again, by name.

    A Lambda layer is not made again: its class returns the layer of the model, so that no stored code runs.

    Raises:
        ArgumentError: two Lambda layers have the same name.
    """
    import tf_keras

    layers = list(walk_layers(model))
    found = [layer for layer in layers if isinstance(layer, tf_keras.layers.Lambda)]
    kept = {layer.name: layer for layer in found}
    if len(kept) < len(found):
        raise errors.ArgumentError(
            "Lambda layers must have different names, also in models inside. Received: "
            f"{', '.join(sorted(layer.name for layer in found))}. Give `name`."
        )

    class Kept(tf_keras.layers.Lambda):
        @classmethod
        def from_config(cls, config: dict[str, Any], custom_objects: Mapping[str, Any] | None = None) -> tf_keras.layers.Lambda:
            return kept[config["name"]]

    return {**{type(layer).__name__: type(layer) for layer in layers}, "Lambda": Kept}
