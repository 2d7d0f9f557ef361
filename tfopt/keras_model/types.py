"""Types of Keras 3 or Keras 2 (`tf_keras`) for annotations; nothing heavy is imported at run time."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import keras
    import tensorflow as tf
    import tf_keras

AnyModel: TypeAlias = "keras.Model | tf_keras.Model"
AnyLayer: TypeAlias = "keras.layers.Layer | tf_keras.layers.Layer"
AnyVariable: TypeAlias = "keras.Variable | tf.Variable"
AnyTensor: TypeAlias = "keras.KerasTensor | tf.Tensor"
