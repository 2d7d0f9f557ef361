"""The model that a trained model is trained for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras


def shipped_model(model: keras.Model) -> keras.Model:
    """The model that is used after training: the `student` of a distiller, every other model itself."""
    return getattr(model, "student", model)
