"""The layers that tfmot puts into a model: wrappers that prune, quantizers, and the ranges that quantizers hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tfopt.keras_model.walk import walk_layers

if TYPE_CHECKING:
    import tf_keras

    from tfopt.keras_model.types import AnyLayer, AnyModel

_PACKAGE = "tensorflow_model_optimization."


def is_model(layer: AnyLayer) -> bool:
    """Whether a layer is a Sequential or Functional model, whose layers can be wrapped one by one."""
    return bool(getattr(layer, "layers", None)) and bool(getattr(layer, "outputs", None))


def pruning_wrappers(model: AnyModel) -> list[tf_keras.layers.Layer]:
    """The layers of a model that prune the layer that they wrap."""
    return [layer for layer in walk_layers(model) if hasattr(layer, "pruning_obj") and hasattr(layer, "pruning_schedule")]


def quantizers(model: AnyModel) -> list[tf_keras.layers.Layer]:
    """The layers of a model that round: wrappers of other layers, and the quantizers of inputs."""
    return [layer for layer in walk_layers(model) if any(_is_quantizer(each) for each in type(layer).__mro__)]


def has_quantizers(model: AnyModel) -> bool:
    """Whether a model was made by `quantize_aware`, or by tfmot's `quantize_model`."""
    return bool(quantizers(model))


def input_quantizers(model: tf_keras.Model) -> list[tf_keras.layers.Layer]:
    """The quantizers of the inputs of a model, without those of models inside it."""
    return [layer for layer in model.layers if type(layer).__name__ == "QuantizeLayer"]


def unseen_quantizers(model: AnyModel) -> list[str]:
    """Names of the layers of a model whose ranges are still tfmot's initial ones, because they have seen no data."""
    return list(dict.fromkeys(layer.name for layer in quantizers(model) if any(map(_is_initial, _ranges(layer)))))


def values_by_kind(layer: tf_keras.layers.Layer) -> dict[str, npt.NDArray[Any]]:
    """The name of each variable in its layer, such as `kernel`, -> its value."""
    return {variable.name.rpartition("/")[2].partition(":")[0]: variable.numpy() for variable in layer.weights}


def _is_quantizer(layer_class: type) -> bool:
    return layer_class.__name__ in ("QuantizeWrapper", "QuantizeLayer") and layer_class.__module__.startswith(_PACKAGE)


def _ranges(layer: tf_keras.layers.Layer) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
    """Yields the lower and the upper end of each range of one of tfmot's layers."""
    values = values_by_kind(layer)
    for name in values:
        if name.endswith("_min"):
            yield values[name], values[f"{name.removesuffix('_min')}_max"]


def _is_initial(ends: tuple[npt.NDArray[Any], npt.NDArray[Any]]) -> bool:
    # The range of an input starts at zero width; all other ranges start at -6 to 6.
    return all(np.all(end == start) for end, start in zip(ends, (-6, 6), strict=True)) or not any(map(np.any, ends))
