"""Losses between a student and its teacher: each one compares their outputs, or the outputs of two layers, sample by sample."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Self

import keras
from keras import ops

from tfopt.errors import ArgumentError

if TYPE_CHECKING:
    import tensorflow as tf

Shape = tuple[int | None, ...]
"""The shape of a tensor, with the batch first; None for sizes that the model leaves open."""
LogitsKind = Literal["kl", "binary_kl", "mse"]
KINDS: tuple[LogitsKind, ...] = ("kl", "binary_kl", "mse")
_TINY = 1e-7


class DistillationLoss:
    """Base class of the losses that a `Distiller` adds to the student's own. A subclass computes one number per sample in `call`.

    Example:

    ```python
    class Difference(tfopt.DistillationLoss):
        def call(self, student, teacher, labels=None):
            return keras.ops.mean(keras.ops.abs(student - teacher), axis=-1)  # (batch,)
    ```

    Args:
        name: the name under which `fit` logs the loss; None (default): the name of the class in snake case.
        student_layer, teacher_layer: names or paths of layers whose outputs are compared; None (default): the outputs of the
            models are compared. If a layer is called more than once, its last output counts.

    Attributes:
        needs_labels: whether `call` needs labels.
        layers: Keras layers that train with the student and are no part of it.
    """

    needs_labels: bool = False

    def __init__(self, name: str | None = None, *, student_layer: str | None = None, teacher_layer: str | None = None) -> None:
        if (student_layer is None) != (teacher_layer is None):
            raise ArgumentError(
                "`student_layer` and `teacher_layer` must both be given, or neither. "
                f"Received: student_layer={student_layer!r}, teacher_layer={teacher_layer!r}."
            )
        self.name: str = name or re.sub("(?<!^)(?=[A-Z])", "_", type(self).__name__).lower()
        self.student_layer: str | None = student_layer
        self.teacher_layer: str | None = teacher_layer
        self.layers: list[keras.layers.Layer] = []

    def build(self, student_shape: Shape, teacher_shape: Shape) -> None:
        """Checks that tensors of two shapes can be compared, and makes the layers that the comparison needs.

        Raises:
            ArgumentError: they cannot be compared.
        """
        if len(student_shape) != len(teacher_shape) or any(
            None not in pair and pair[0] != pair[1] for pair in zip(student_shape[1:], teacher_shape[1:], strict=True)
        ):
            raise ArgumentError(
                f"{self.name} needs tensors of one shape, with the same classes. Received: {_text(student_shape)} from the "
                f"student, {_text(teacher_shape)} from the teacher. tfopt.FeatureDistillation compares features of different sizes."
            )

    def call(self, student: tf.Tensor, teacher: tf.Tensor, labels: tf.Tensor | None = None) -> tf.Tensor:
        """The loss of each sample.

        Args:
            student, teacher: float32 tensors (batch, ...), with the shapes that `build` was given.
            labels: the labels that `fit` was given; None if it was given none.

        Returns:
            float32 tensor (batch,).
        """
        raise NotImplementedError(f"{type(self).__name__} must define call(student, teacher, labels=None).")

    def __call__(
        self,
        student: tf.Tensor,
        teacher: tf.Tensor,
        labels: tf.Tensor | None = None,
        sample_weight: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """The mean loss of the batch, a float32 tensor of shape (); a sample counts `sample_weight` (batch,) times."""
        values = self.call(student, teacher, labels)
        return ops.mean(values if sample_weight is None else values * sample_weight)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        config: dict[str, Any] = {"name": self.name}
        if self.student_layer is not None:
            config |= {"student_layer": self.student_layer, "teacher_layer": self.teacher_layer}
        return config

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """A loss with the arguments of `get_config`."""
        return cls(**config)


@keras.saving.register_keras_serializable("tfopt")
class LogitsDistillation(DistillationLoss):
    """The student's outputs follow the teacher's outputs, softened by a temperature `T`.

    "kl": `T^2 sum_c p_c log(p_c / q_c)`, with `p = softmax(teacher / T)` and `q = softmax(student / T)` over the last axis.
    "binary_kl": `T^2 mean_c [p_c log(p_c / q_c) + (1 - p_c) log((1 - p_c) / (1 - q_c))]`, with the sigmoid, for labels that do not
    exclude each other. "mse": `mean_c (teacher_c - student_c)^2`, without a temperature, for regression and for plain logits
    (Bucila et al., Model compression, KDD 2006). The loss is the mean over all other axes, such as positions.

    Example:

    ```python
    tfopt.Distiller(student=student, teacher=teacher, distillation_losses=tfopt.LogitsDistillation(temperature=4.0))
    ```

    Args:
        temperature: above 0, by default 3.0.
        kind: "kl" (default), "binary_kl" or "mse".
        from_logits: whether the outputs of the models are logits (default); False: they are probabilities, whose logarithms take
            the place of logits.
        name: the name under which the loss is logged, by default "logits_distillation".

    Raises:
        ArgumentError: an argument has another value.

    Source: Hinton et al., Distilling the knowledge in a neural network, arXiv:1503.02531; the factor `T^2` keeps the gradient at
    the same size for all temperatures.
    """

    def __init__(
        self, temperature: float = 3.0, kind: LogitsKind = "kl", *, from_logits: bool = True, name: str | None = None
    ) -> None:
        super().__init__(name)
        require_positive("temperature", temperature)
        if kind not in KINDS:
            raise ArgumentError(f"`kind` must be one of {', '.join(KINDS)}. Received: kind={kind!r}.")
        self.temperature: float = float(temperature)
        self.kind: LogitsKind = kind
        self.from_logits: bool = bool(from_logits)

    def call(self, student: tf.Tensor, teacher: tf.Tensor, labels: tf.Tensor | None = None) -> tf.Tensor:
        """See `DistillationLoss.call`."""
        if self.kind == "mse":
            values = ops.mean(ops.square(teacher - student), axis=-1)
        elif self.kind == "kl":
            student, teacher = (log_softmax(each, self.temperature, self.from_logits) for each in (student, teacher))
            values = ops.sum(ops.exp(teacher) * (teacher - student), axis=-1) * self.temperature**2
        else:
            if not self.from_logits:
                student, teacher = (_clipped(each) for each in (student, teacher))
                student, teacher = (ops.log(each) - ops.log1p(-each) for each in (student, teacher))
            student, teacher = student / self.temperature, teacher / self.temperature
            values = 0.0
            for sign in (1.0, -1.0):  # for the probability of the class, and for one minus this probability
                expected = ops.log_sigmoid(sign * teacher)
                values += ops.exp(expected) * (expected - ops.log_sigmoid(sign * student))
            values = ops.mean(values, axis=-1) * self.temperature**2
        return by_sample(values)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {**super().get_config(), "temperature": self.temperature, "kind": self.kind, "from_logits": self.from_logits}


@keras.saving.register_keras_serializable("tfopt")
class DecoupledDistillation(DistillationLoss):
    """Distillation of logits in two parts: how sure the teacher is of the label, and how it ranks the other classes.

    `T^2 [alpha KL(b_t || b_s) + beta KL(r_t || r_s)]`, with `b = (p_label, 1 - p_label)` and `r = p_others / (1 - p_label)`, where
    `p = softmax(logits / T)`. `fit` must be given labels.

    Example:

    ```python
    loss = tfopt.DecoupledDistillation(alpha=1.0, beta=8.0, temperature=4.0)
    distiller = tfopt.Distiller(student=student, teacher=teacher, distillation_losses=loss)
    ```

    Args:
        alpha: weight of the first part, at least 0, by default 1.0.
        beta: weight of the second part, at least 0, by default 8.0.
        temperature: above 0, by default 4.0.
        from_logits: whether the outputs of the models are logits (default); False: they are probabilities.
        name: the name under which the loss is logged, by default "decoupled_distillation".

    Raises:
        ArgumentError: an argument has another value.

    Source: Zhao et al., Decoupled knowledge distillation, arXiv:2203.08679.
    """

    needs_labels = True

    def __init__(
        self,
        alpha: float = 1.0,
        beta: float = 8.0,
        temperature: float = 4.0,
        *,
        from_logits: bool = True,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        require_positive("temperature", temperature)
        for word, value in (("alpha", alpha), ("beta", beta)):
            require_positive(word, value, or_zero=True)
        self.alpha: float = float(alpha)
        self.beta: float = float(beta)
        self.temperature: float = float(temperature)
        self.from_logits: bool = bool(from_logits)

    def call(self, student: tf.Tensor, teacher: tf.Tensor, labels: tf.Tensor | None = None) -> tf.Tensor:
        """See `DistillationLoss.call`; `labels` are class ids (batch, ...) or (batch, ..., 1), or one-hot rows."""
        assert labels is not None  # as `needs_labels` says
        classes = student.shape[-1]
        if len(labels.shape) == len(student.shape) and labels.shape[-1] == classes and classes > 1:
            labels = ops.argmax(labels, axis=-1)
        elif len(labels.shape) == len(student.shape):
            labels = ops.squeeze(labels, axis=-1)
        is_label = ops.one_hot(ops.cast(labels, "int32"), classes, dtype="bool")
        parts = []
        for logits in (student, teacher):
            log_p = log_softmax(logits, self.temperature, self.from_logits)
            others = ops.where(is_label, -1e9, log_p)
            label = ops.sum(ops.where(is_label, log_p, 0.0), axis=-1)
            rest = ops.logsumexp(others, axis=-1)
            parts.append((label, rest, ops.where(is_label, 0.0, others - rest[..., None])))
        (label_s, rest_s, order_s), (label_t, rest_t, order_t) = parts
        target = ops.exp(label_t) * (label_t - label_s) + ops.exp(rest_t) * (rest_t - rest_s)
        other = ops.sum(ops.where(is_label, 0.0, ops.exp(order_t) * (order_t - order_s)), axis=-1)
        return by_sample((self.alpha * target + self.beta * other) * self.temperature**2)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        own = {"alpha": self.alpha, "beta": self.beta, "temperature": self.temperature, "from_logits": self.from_logits}
        return {**super().get_config(), **own}


def require_positive(name: str, value: object, or_zero: bool = False) -> None:
    """Raises `ArgumentError` unless `value` is a finite number above 0, or of at least 0 if `or_zero`."""
    is_usable = isinstance(value, int | float) and (0 < value < float("inf") or (or_zero and value == 0))
    if not is_usable or isinstance(value, bool):
        raise ArgumentError(f"`{name}` must be a number {'of at least' if or_zero else 'above'} 0. Received: {name}={value!r}.")


def log_softmax(outputs: tf.Tensor, temperature: float, from_logits: bool) -> tf.Tensor:
    """`log softmax(outputs / temperature)` over the last axis; without `from_logits`, of the logarithms of `outputs`."""
    return ops.log_softmax((outputs if from_logits else ops.log(_clipped(outputs))) / temperature, axis=-1)


def _clipped(probabilities: tf.Tensor) -> tf.Tensor:
    return ops.clip(probabilities, _TINY, 1.0 - _TINY)


def by_sample(values: tf.Tensor) -> tf.Tensor:
    """The mean over all axes but the first, a tensor (batch,)."""
    return ops.mean(values, axis=tuple(range(1, len(values.shape)))) if len(values.shape) > 1 else values


def _text(shape: Shape) -> str:
    return f"({', '.join('None' if size is None else str(size) for size in shape)})"
