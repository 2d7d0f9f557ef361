"""Find the layer that scales the inputs of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfopt.keras_model.walk import walk_layers

if TYPE_CHECKING:
    from tfopt.keras_model.types import AnyLayer, AnyModel


def find_input_scaling(model: AnyModel) -> AnyLayer | None:
    """The first `Rescaling` or `Normalization` layer of a model if only input layers come before it, else None."""
    for layer in walk_layers(model):
        kind = type(layer).__name__
        if kind in ("Rescaling", "Normalization"):
            return layer
        if kind not in ("InputLayer", "Functional", "Sequential"):
            return None
    return None
