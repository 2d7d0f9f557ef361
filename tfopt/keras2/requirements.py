"""Require models that tfmot can serve."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfopt import errors
from tfopt.keras2.tfmot_layers import has_quantizers, pruning_wrappers
from tfopt.keras_model.describe import describe

if TYPE_CHECKING:
    import tf_keras


def require_keras2(model: tf_keras.Model, function: str) -> None:
    """Raises unless the model is a built Sequential or Functional model of Keras 2.

    Args:
        model: what a caller gave as a model.
        function: the name of the function of `tfopt.legacy` that was called.
    """
    import keras
    import tf_keras

    if isinstance(model, keras.Model):
        pruning = "Give its fit callbacks=[tfopt.PruningCallback(schedule)]: it needs no wrapper and no strip."
        advice = {
            "quantize_aware": "Call tfopt.quantize_aware(model).",
            "strip": f"{pruning} After tfopt.quantize_aware there is tfopt.strip_quantization(model).",
        }.get(function, pruning)
        raise errors.ArgumentError(
            f"tfopt.legacy.{function} serves Keras 2 (tf_keras) models. Received: {describe(model)} of Keras 3. {advice}"
        )
    if not isinstance(model, tf_keras.Model) or not getattr(model, "outputs", None):
        name = describe(model) if isinstance(model, tf_keras.Model) else type(model).__name__
        raise errors.ArgumentError(
            f"tfopt.legacy.{function} needs a built Sequential or functional tf_keras model, as tfmot does. Received: {name}."
        )


def require_plain(model: tf_keras.Model, function: str) -> None:
    """Raises unless the model is one that `require_keras2` admits, without layers of tfmot."""
    require_keras2(model, function)
    for wrapped, state in ((pruning_wrappers(model), "under pruning"), (has_quantizers(model), "quantization-aware")):
        if wrapped:
            raise errors.ArgumentError(
                f"the model must not be {state} yet. Received: {describe(model)}. Call tfopt.legacy.strip on it first."
            )
