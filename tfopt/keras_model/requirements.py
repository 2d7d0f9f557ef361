"""Require that a model has its weights, and has them as floats."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfopt import errors
from tfopt.keras_model.describe import describe
from tfopt.keras_model.walk import inner_layers, walk_layers

if TYPE_CHECKING:
    from tfopt.keras_model.types import AnyLayer, AnyModel


def require_built(model: AnyModel) -> None:
    """Raises unless the model is a built Keras 3 or Keras 2 model.

    Args:
        model: what a caller gave as a model.

    Raises:
        ArgumentError: `model` is not a Keras model, or has no weights yet.
    """
    if not hasattr(type(model), "weights") or not hasattr(model, "built"):
        raise errors.ArgumentError(
            "the model must be a Keras model; tfopt.load(path) reads one from a file. "
            f"Received: {type(model).__name__} {model!r:.60}."
        )
    if not model.built:
        raise errors.ArgumentError(
            f"the model must be built, so that it has weights. Received: {describe(model)}, which is not built. Give it an Input, "
            "or call it on a batch."
        )


def quantized_by_keras(model: AnyModel) -> list[AnyLayer]:
    """The layers of a model that Keras' own `model.quantize(...)` has quantized, each once; a list of its own for each call."""
    # A layer that holds layers may have the mode of those; Keras 2 has no such mode.
    found = [layer for layer in walk_layers(model) if getattr(layer, "quantization_mode", None) and not inner_layers(layer)]
    return [layer for layer in found if any("scale" in weight.name or "amax" in weight.name for weight in layer.weights)]


def require_float_weights(model: AnyModel) -> None:
    """Raises `ArgumentError` if Keras' own `model.quantize(...)` has made integers of weights that are to be trained."""
    quantized = quantized_by_keras(model)
    if quantized:
        raise errors.ArgumentError(
            f"The weights must be floats, to be trained. Received: {describe(quantized[0])} in {describe(model)}, which Keras has "
            f"quantized ({quantized[0].quantization_mode}). Use the model as it was before, or model.save(path) and "
            "tfopt.load(path), which dequantizes it."
        )
