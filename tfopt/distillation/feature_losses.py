"""Losses between the outputs of two layers: features themselves, where attention lies, how samples relate."""

import keras
from keras import ops

from tfopt.distillation.losses import DistillationLoss, by_sample, require_positive
from tfopt.errors import ArgumentError
from tfopt.keras_model.describe import describe

_TINY = 1e-12


@keras.saving.register_keras_serializable("tfopt")
class FeatureDistillation(DistillationLoss):
    """The output of a layer of the student follows that of a layer of the teacher.

    `mean (teacher - projector(student))^2` over all but the samples. Of two maps the teacher's is resized to the student's; where
    one of the two has no positions, the other is averaged over its own.

    Example:

    ```python
    tfopt.FeatureDistillation("block2_relu", "conv4_block6_out")
    ```

    Args:
        student_layer, teacher_layer: names or paths (`encoder/dense_1`) of layers, nested ones too.
        projector: "auto": a Dense over the last axis, a 1 x 1 convolution, if the teacher has other channels than the student;
            None: none; or a Keras layer. It trains with the student and is no part of it.
        name: str, under which it is logged.

    Raises:
        ArgumentError: another value; features that cannot be compared.

    Source: Romero et al., FitNets, arXiv:1412.6550.
    """

    def __init__(self, student_layer, teacher_layer, projector="auto", *, name=None):
        super().__init__(name, student_layer=student_layer, teacher_layer=teacher_layer)
        if projector not in ("auto", None) and not isinstance(projector, keras.layers.Layer):
            raise ArgumentError(f"`projector` must be 'auto', None or a Keras layer. Received: {projector!r}.")
        self.projector = projector
        self.layers = [projector] if isinstance(projector, keras.layers.Layer) else []

    def build(self, student_shape, teacher_shape):
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
                f"{describe(self.layers[0]) if self.layers else 'the student, without a projector'}. Let projector='auto' make one."
            )

    def call(self, student, teacher, labels=None):
        student, teacher = _align(student, teacher)
        for layer in self.layers:
            student = layer(student)
        return by_sample(ops.square(teacher - student))

    def get_config(self):
        projector = self.projector
        if isinstance(projector, keras.layers.Layer):
            projector = keras.saving.serialize_keras_object(projector)
        return {**super().get_config(), "projector": projector}

    @classmethod
    def from_config(cls, config):
        projector = config["projector"]
        if isinstance(projector, dict):
            projector = keras.saving.deserialize_keras_object(projector)
        return cls(**{**config, "projector": projector})


@keras.saving.register_keras_serializable("tfopt")
class AttentionTransfer(DistillationLoss):
    """The student attends to the positions that the teacher attends to.

    `sum (a_t / ||a_t|| - a_s / ||a_s||)^2` over the positions, with `a = mean_c |f_c|^p`; the teacher's map is resized to the
    student's, and channels may differ.

    Example:

    ```python
    tfopt.AttentionTransfer("block2_relu", "conv4_block6_out")
    ```

    Args:
        student_layer, teacher_layer: names or paths of layers with outputs (batch, positions ..., channels).
        power: float > 0, the `p`.
        name: str, under which it is logged.

    Raises:
        ArgumentError: another value; features without positions.

    Source: Zagoruyko and Komodakis, Paying more attention to attention, arXiv:1612.03928.
    """

    def __init__(self, student_layer, teacher_layer, power=2.0, *, name=None):
        super().__init__(name, student_layer=student_layer, teacher_layer=teacher_layer)
        require_positive("power", power)
        self.power = float(power)

    def build(self, student_shape, teacher_shape):
        _require_alignable(self.name, student_shape, teacher_shape)
        if min(len(student_shape), len(teacher_shape)) < 3:
            raise ArgumentError(
                f"{self.name} needs features with positions, (batch, positions ..., channels). Received: {student_shape} of the "
                f"student, {teacher_shape} of the teacher."
            )

    def call(self, student, teacher, labels=None):
        student, teacher = (self._attention(each) for each in _align(student, teacher))
        return ops.sum(ops.square(teacher - student), axis=-1)

    def _attention(self, features):
        attention = ops.mean(ops.power(ops.abs(features), self.power), axis=-1)
        attention = ops.reshape(attention, (ops.shape(attention)[0], -1))
        return attention * ops.rsqrt(ops.maximum(ops.sum(ops.square(attention), axis=-1, keepdims=True), _TINY))

    def get_config(self):
        return {**super().get_config(), "power": self.power}


@keras.saving.register_keras_serializable("tfopt")
class RelationalDistillation(DistillationLoss):
    """Samples of a batch lie to each other for the student as they do for the teacher, whatever the sizes of their features.

    `distance mean_ij h(d^t_ij - d^s_ij) + angle mean_ijk h(cos^t_ijk - cos^s_ijk)`, with `h` the Huber loss, `d` the distance of
    two samples divided by the mean distance in the batch, and `cos_ijk` the cosine of the angle at sample `i` between `j` and `k`.

    Example:

    ```python
    tfopt.RelationalDistillation(student_layer="pool", teacher_layer="avg_pool")
    ```

    Args:
        distance, angle: floats >= 0. The angles cost memory with the cube of the batch.
        student_layer, teacher_layer: names or paths of layers; None: the outputs of the models. What they give is made flat.
        name: str, under which it is logged.

    Raises:
        ArgumentError: another value.

    Source: Park et al., Relational knowledge distillation, arXiv:1904.05068.
    """

    def __init__(self, distance=25.0, angle=50.0, *, student_layer=None, teacher_layer=None, name=None):
        super().__init__(name, student_layer=student_layer, teacher_layer=teacher_layer)
        for word, value in (("distance", distance), ("angle", angle)):
            require_positive(word, value, or_zero=True)
        self.distance, self.angle = float(distance), float(angle)

    def build(self, student_shape, teacher_shape):
        pass  # any two shapes can be compared

    def __call__(self, student, teacher, labels=None, sample_weight=None):
        """The loss of the batch; a pair or triple counts the product of the weights of its samples."""
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

    def get_config(self):
        return {**super().get_config(), "distance": self.distance, "angle": self.angle}


def _distances(features, pairs):
    """(batch, batch), divided by the weighted mean of those that are not 0."""
    squares = ops.sum(ops.square(features[:, None, :] - features[None, :, :]), axis=-1)
    apart = squares > _TINY
    distances = ops.where(apart, ops.sqrt(ops.where(apart, squares, 1.0)), 0.0)  # whose gradient is finite at 0
    counted = ops.where(apart, pairs, 0.0)
    mean = ops.sum(distances * counted) / ops.maximum(ops.sum(counted), _TINY)
    return distances / ops.maximum(mean, _TINY)


def _cosines(features):
    """(batch, batch, batch): at the first sample, between the second and the third."""
    difference = features[None, :, :] - features[:, None, :]
    squares = ops.sum(ops.square(difference), axis=-1, keepdims=True)
    unit = difference * ops.rsqrt(ops.maximum(squares, _TINY))
    return ops.matmul(unit, ops.transpose(unit, (0, 2, 1)))


def _huber(difference):
    size = ops.abs(difference)
    return ops.where(size <= 1.0, 0.5 * ops.square(difference), size - 0.5)


def _require_alignable(name, student_shape, teacher_shape):
    ranks = {len(student_shape), len(teacher_shape)}
    resized = len(ranks) == 1 and None not in (*student_shape[1:-1], *teacher_shape[1:-1])
    resized = resized and student_shape[1:-1] != teacher_shape[1:-1]
    if min(ranks) < 2 or (len(ranks) == 2 and min(ranks) != 2) or (resized and max(ranks) > 4):
        raise ArgumentError(
            f"{name} compares (batch, channels), (batch, steps, channels) or (batch, height, width, channels), or one of these "
            f"with (batch, channels). Received: {student_shape} of the student, {teacher_shape} of the teacher. Name other layers."
        )


def _aligned_shape(student_shape, teacher_shape):
    return student_shape if len(student_shape) <= len(teacher_shape) else (student_shape[0], student_shape[-1])


def _align(student, teacher):
    """Both with the positions of the student, or without any."""
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
