"""Losses between the outputs of two layers: of the features, of the positions that get attention, of relations of samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

import keras
from keras import ops

from tfopt.distillation.losses import DistillationLoss, Shape, by_sample, require_positive
from tfopt.errors import ArgumentError
from tfopt.keras_model.describe import describe

if TYPE_CHECKING:
    import tensorflow as tf

    Projector: TypeAlias = Literal["auto"] | keras.layers.Layer | None

_TINY = 1e-12


@keras.saving.register_keras_serializable("tfopt")
class FeatureDistillation(DistillationLoss):
    """The output of a layer of the student follows the output of a layer of the teacher.

    `mean (teacher - projector(student))^2` over all axes but the batch. If both outputs have positions, the teacher's output is
    resized to the positions of the student. If one output has no positions, the other one is averaged over its positions.

    Example:

    ```python
    tfopt.FeatureDistillation("block2_relu", "conv4_block6_out")
    ```

    Args:
        student_layer, teacher_layer: names or paths (`encoder/dense_1`) of layers, also of layers in nested models.
        projector: "auto" (default): if the teacher has other channels than the student, a Dense over the last axis, which is a
            1 x 1 convolution; None: no projector; or a Keras layer. The projector trains with the student and is no part of it.
        name: the name under which the loss is logged, by default "feature_distillation".

    Raises:
        ArgumentError: an argument has another value; the features cannot be compared.

    Source: Romero et al., FitNets, arXiv:1412.6550.
    """

    def __init__(self, student_layer: str, teacher_layer: str, projector: Projector = "auto", *, name: str | None = None) -> None:
        super().__init__(name, student_layer=student_layer, teacher_layer=teacher_layer)
        if projector not in ("auto", None) and not isinstance(projector, keras.layers.Layer):
            raise ArgumentError(f"`projector` must be 'auto', None or a Keras layer. Received: {projector!r}.")
        self.projector: Projector = projector
        self.layers = [projector] if isinstance(projector, keras.layers.Layer) else []

    def build(self, student_shape: Shape, teacher_shape: Shape) -> None:
        """Checks the two shapes, and makes the projector if it is needed."""
        _require_alignable(self.name, student_shape, teacher_shape)
        if self.projector == "auto" and student_shape[-1] != teacher_shape[-1] and not self.layers:
            self.layers = [keras.layers.Dense(teacher_shape[-1], name=f"{self.name}_projector")]
        shape = _aligned_shape(student_shape, teacher_shape)
        for layer in self.layers:
            if not layer.built:
                layer.build(shape)
            shape = layer.compute_output_shape(shape)
        if shape[-1] != teacher_shape[-1]:
            raise ArgumentError(
                f"{self.name} needs as many channels as the teacher's layer has, {teacher_shape[-1]}. Received: {shape[-1]} from "
                f"{describe(self.layers[0]) if self.layers else 'the student, without a projector'}. projector='auto' makes a "
                "projector that fits."
            )

    def call(self, student: tf.Tensor, teacher: tf.Tensor, labels: tf.Tensor | None = None) -> tf.Tensor:
        """See `DistillationLoss.call`."""
        student, teacher = _align(student, teacher)
        for layer in self.layers:
            student = layer(student)
        return by_sample(ops.square(teacher - student))

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        projector = self.projector
        if isinstance(projector, keras.layers.Layer):
            projector = keras.saving.serialize_keras_object(projector)
        return {**super().get_config(), "projector": projector}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """A loss with the arguments of `get_config`, and with a projector of its own."""
        projector = config["projector"]
        if isinstance(projector, dict):
            projector = keras.saving.deserialize_keras_object(projector)
        return cls(**{**config, "projector": projector})


@keras.saving.register_keras_serializable("tfopt")
class AttentionTransfer(DistillationLoss):
    """The student attends to the positions that the teacher attends to.

    `sum (a_t / ||a_t|| - a_s / ||a_s||)^2` over the positions, with `a = mean_c |f_c|^p`. The teacher's output is resized to the
    positions of the student. The numbers of channels may differ.

    Example:

    ```python
    tfopt.AttentionTransfer("block2_relu", "conv4_block6_out")
    ```

    Args:
        student_layer, teacher_layer: names or paths of layers with outputs (batch, positions ..., channels).
        power: the `p`, above 0, by default 2.0.
        name: the name under which the loss is logged, by default "attention_transfer".

    Raises:
        ArgumentError: an argument has another value; the features have no positions.

    Source: Zagoruyko and Komodakis, Paying more attention to attention, arXiv:1612.03928.
    """

    def __init__(self, student_layer: str, teacher_layer: str, power: float = 2.0, *, name: str | None = None) -> None:
        super().__init__(name, student_layer=student_layer, teacher_layer=teacher_layer)
        require_positive("power", power)
        self.power: float = float(power)

    def build(self, student_shape: Shape, teacher_shape: Shape) -> None:
        """Checks the two shapes."""
        _require_alignable(self.name, student_shape, teacher_shape)
        if min(len(student_shape), len(teacher_shape)) < 3:
            raise ArgumentError(
                f"{self.name} needs features with positions, (batch, positions ..., channels). Received: {student_shape} from the "
                f"student, {teacher_shape} from the teacher. Name other layers."
            )

    def call(self, student: tf.Tensor, teacher: tf.Tensor, labels: tf.Tensor | None = None) -> tf.Tensor:
        """See `DistillationLoss.call`."""
        student, teacher = (self._attention(each) for each in _align(student, teacher))
        return ops.sum(ops.square(teacher - student), axis=-1)

    def _attention(self, features: tf.Tensor) -> tf.Tensor:
        """(batch, positions), of length 1 for each sample."""
        attention = ops.mean(ops.power(ops.abs(features), self.power), axis=-1)
        attention = ops.reshape(attention, (ops.shape(attention)[0], -1))
        return attention * ops.rsqrt(ops.maximum(ops.sum(ops.square(attention), axis=-1, keepdims=True), _TINY))

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {**super().get_config(), "power": self.power}


@keras.saving.register_keras_serializable("tfopt")
class RelationalDistillation(DistillationLoss):
    """The distances and angles between the samples of a batch become the same for the student as for the teacher.

    `distance mean_ij h(d^t_ij - d^s_ij) + angle mean_ijk h(cos^t_ijk - cos^s_ijk)`, with `h` the Huber loss, `d` the distance of
    two samples divided by the mean distance in the batch, and `cos_ijk` the cosine of the angle at sample `i` between `j` and `k`.
    The features of student and teacher may have any two sizes.

    Example:

    ```python
    tfopt.RelationalDistillation(student_layer="pool", teacher_layer="avg_pool")
    ```

    Args:
        distance: weight of the distances, at least 0, by default 25.0.
        angle: weight of the angles, at least 0, by default 50.0. Angles need memory for the cube of the batch size.
        student_layer, teacher_layer: names or paths of layers; None (default): the outputs of the models. All axes but the batch
            are flattened.
        name: the name under which the loss is logged, by default "relational_distillation".

    Raises:
        ArgumentError: an argument has another value.

    Source: Park et al., Relational knowledge distillation, arXiv:1904.05068.
    """

    def __init__(
        self,
        distance: float = 25.0,
        angle: float = 50.0,
        *,
        student_layer: str | None = None,
        teacher_layer: str | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name, student_layer=student_layer, teacher_layer=teacher_layer)
        for word, value in (("distance", distance), ("angle", angle)):
            require_positive(word, value, or_zero=True)
        self.distance: float = float(distance)
        self.angle: float = float(angle)

    def build(self, student_shape: Shape, teacher_shape: Shape) -> None:
        """Does nothing, as any two shapes can be compared."""

    def __call__(
        self,
        student: tf.Tensor,
        teacher: tf.Tensor,
        labels: tf.Tensor | None = None,
        sample_weight: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """The loss of the batch; the weight of a pair or triple is the product of the weights of its samples."""
        student, teacher = (ops.reshape(each, (ops.shape(each)[0], -1)) for each in (student, teacher))
        weight = ops.ones_like(student[:, 0]) if sample_weight is None else ops.cast(sample_weight, student.dtype)
        total = 0.0
        if self.distance:
            pairs = weight[:, None] * weight[None, :]
            difference = _distances(teacher, pairs) - _distances(student, pairs)
            total += self.distance * ops.mean(pairs * _huber(difference))
        if self.angle:
            triples = weight[:, None, None] * weight[None, :, None] * weight[None, None, :]
            total += self.angle * ops.mean(triples * _huber(_cosines(teacher) - _cosines(student)))
        return total

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {**super().get_config(), "distance": self.distance, "angle": self.angle}


def _distances(features: tf.Tensor, pairs: tf.Tensor) -> tf.Tensor:
    """The distances between samples, (batch, batch), divided by the weighted mean of the distances that are not 0."""
    squares = ops.sum(ops.square(features[:, None, :] - features[None, :, :]), axis=-1)
    apart = squares > _TINY
    distances = ops.where(apart, ops.sqrt(ops.where(apart, squares, 1.0)), 0.0)  # the gradient is finite at 0
    counted = ops.where(apart, pairs, 0.0)
    mean = ops.sum(distances * counted) / ops.maximum(ops.sum(counted), _TINY)
    return distances / ops.maximum(mean, _TINY)


def _cosines(features: tf.Tensor) -> tf.Tensor:
    """The cosines of the angles at the first sample between the second and the third, (batch, batch, batch)."""
    difference = features[None, :, :] - features[:, None, :]
    squares = ops.sum(ops.square(difference), axis=-1, keepdims=True)
    unit = difference * ops.rsqrt(ops.maximum(squares, _TINY))
    return ops.matmul(unit, ops.transpose(unit, (0, 2, 1)))


def _huber(difference: tf.Tensor) -> tf.Tensor:
    size = ops.abs(difference)
    return ops.where(size <= 1.0, 0.5 * ops.square(difference), size - 0.5)


def _require_alignable(name: str, student_shape: Shape, teacher_shape: Shape) -> None:
    ranks = {len(student_shape), len(teacher_shape)}
    resized = len(ranks) == 1 and None not in (*student_shape[1:-1], *teacher_shape[1:-1])
    resized = resized and student_shape[1:-1] != teacher_shape[1:-1]
    if min(ranks) < 2 or (len(ranks) == 2 and min(ranks) != 2) or (resized and max(ranks) > 4):
        raise ArgumentError(
            f"{name} needs two outputs (batch, channels), (batch, steps, channels) or (batch, height, width, channels), or one of "
            f"these and one (batch, channels). Received: {student_shape} from the student, {teacher_shape} from the teacher. Name "
            "other layers."
        )


def _aligned_shape(student_shape: Shape, teacher_shape: Shape) -> Shape:
    """The shape of the student's features after `_align`."""
    return student_shape if len(student_shape) <= len(teacher_shape) else (student_shape[0], student_shape[-1])


def _align(student: tf.Tensor, teacher: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Both features with the positions of the student, or both without positions."""
    rank_s, rank_t = len(student.shape), len(teacher.shape)
    if rank_s > rank_t:
        return ops.mean(student, axis=tuple(range(1, rank_s - 1))), teacher
    if rank_t > rank_s:
        return student, ops.mean(teacher, axis=tuple(range(1, rank_t - 1)))
    size, other = student.shape[1:-1], teacher.shape[1:-1]
    if size == other or None in (*size, *other):
        return student, teacher
    if rank_s == 3:
        resized = ops.image.resize(teacher[:, :, None, :], (*size, 1), antialias=True, data_format="channels_last")
        return student, resized[:, :, 0, :]
    return student, ops.image.resize(teacher, size, antialias=True, data_format="channels_last")
