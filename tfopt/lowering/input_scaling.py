"""Find the layer that scales the inputs of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfopt.keras_model.kinds import layer_kind
from tfopt.keras_model.walk import walk_layers

if TYPE_CHECKING:
    from tfopt.keras_model.types import AnyLayer, AnyModel


_RESIZING = ("RandomCrop",)
_IDLE = ("ActivityRegularization", "AlphaDropout", "Dropout", "Functional", "InputLayer", "Pipeline", "Sequential")
_IDLE_PREFIXES = ("Gaussian", "Random", "SpatialDropout")  # noise, augmentation


def find_input_scaling(model: AnyModel) -> AnyLayer | None:
    """The first `Rescaling` or `Normalization` layer of a model if only layers come before it that change nothing at inference.

    Such layers are input layers, augmentation, noise, and dropout.
    """
    for layer in walk_layers(model):
        kind = layer_kind(layer)
        if kind in ("Rescaling", "Normalization"):
            return layer
        is_idle = kind in _IDLE or (kind is not None and kind.startswith(_IDLE_PREFIXES) and kind not in _RESIZING)
        if not is_idle:
            return None
    return None
