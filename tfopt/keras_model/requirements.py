"""Require that a model has its weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfopt import errors
from tfopt.keras_model.describe import describe

if TYPE_CHECKING:
    from tfopt.keras_model.types import AnyModel


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
