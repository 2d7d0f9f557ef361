"""The layers inside a layer and their places, such as `Block_0/Dense_1`, which stay the same when a model is saved and loaded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import keras

from tfopt.keras_model.walk import inner_layers
from tfopt.quantization.layer_kinds import is_composite

if TYPE_CHECKING:
    import tensorflow as tf


class Pair(NamedTuple):
    """A tensor that is rounded under `key`, and the place of the layer inside that takes it."""

    key: str
    tensor: tf.Tensor
    path: str
    is_normalization: bool


def leaves(layer: keras.layers.Layer) -> Iterator[tuple[str, keras.layers.Layer]]:
    """Yields (path, layer) of the layers in `layer` that are not made of others, each once."""
    return ((path, inner) for path, inner in places(layer) if not is_composite(inner))


def places(layer: keras.layers.Layer) -> Iterator[tuple[str, keras.layers.Layer]]:
    """Yields (path, layer) of the layers in `layer`, each once; none of those inside a loop."""
    seen = {id(layer)}

    def inside(outer: keras.layers.Layer, path: str) -> Iterator[tuple[str, keras.layers.Layer]]:
        for index, inner in enumerate(inner_layers(outer)):
            own = f"{type(inner).__name__}_{index}"  # Keras may give it another name when it loads the model
            name = f"{path}/{own}" if path else own
            if id(inner) in seen:
                continue
            seen.add(id(inner))
            yield name, inner
            if is_composite(inner):
                yield from inside(inner, name)

    yield from inside(layer, "")
