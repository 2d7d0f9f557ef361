"""What a student learns from its teacher: each loss compares their outputs, or those of two layers, sample by sample."""

import re

import keras
from keras import ops

from tfopt.errors import ArgumentError

_TINY = 1e-7


class DistillationLoss:
    """Base of what a `Distiller` adds to the student's own loss. A subclass computes one number for each sample, in `call`.

    Example:

    ```python
    class Difference(tfopt.DistillationLoss):
        def call(self, student, teacher, labels=None):
            return keras.ops.mean(keras.ops.abs(student - teacher), axis=-1)  # (batch,)
    ```

    Args:
        name: str, under which `fit` logs it; None: the class in snake case.
        student_layer, teacher_layer: names or paths of layers whose outputs are compared; None: the outputs of the models. If a
            layer is called more than once, its last output is meant.
    """

    needs_labels = False

    def __init__(self, name=None, *, student_layer=None, teacher_layer=None):
        if (student_layer is None) != (teacher_layer is None):
            raise ArgumentError(
                "`student_layer` and `teacher_layer` must be given both or neither. "
                f"Received: student_layer={student_layer!r}, teacher_layer={teacher_layer!r}."
            )
        self.name = name or re.sub("(?<!^)(?=[A-Z])", "_", type(self).__name__).lower()
        self.student_layer, self.teacher_layer = student_layer, teacher_layer
        self.layers = []  # that train with the student and are dropped after

    def build(self, student_shape, teacher_shape):
        """Checks that two shapes, tuples with the batch first, can be compared, and makes the layers that this needs.

        Raises:
            ArgumentError: they cannot.
        """
        if len(student_shape) != len(teacher_shape) or any(
            None not in pair and pair[0] != pair[1] for pair in zip(student_shape[1:], teacher_shape[1:], strict=True)
        ):
            raise ArgumentError(
                f"{self.name} compares tensors of one shape, the same classes among them. Received: {_text(student_shape)} of the "
                f"student, {_text(teacher_shape)} of the teacher. For features of other sizes there is tfopt.FeatureDistillation."
            )

    def call(self, student, teacher, labels=None):
        """The loss of each sample.

        Args:
            student, teacher: float32 tensors (batch, ...), with the shapes that `build` was given.
            labels: tensor of what `fit` was given, None if nothing was.

        Returns:
            float32 tensor (batch,).
        """
        raise NotImplementedError(f"{type(self).__name__} must define call(student, teacher, labels=None).")

    def __call__(self, student, teacher, labels=None, sample_weight=None):
        """The mean over the batch, in which a sample counts `sample_weight` (batch,) times."""
        values = self.call(student, teacher, labels)
        return ops.mean(values if sample_weight is None else values * sample_weight)

    def get_config(self):
        """The arguments of the constructor."""
        config = {"name": self.name}
        if self.student_layer is not None:
            config |= {"student_layer": self.student_layer, "teacher_layer": self.teacher_layer}
        return config

    @classmethod
    def from_config(cls, config):
        """A loss with the arguments of `get_config`."""
        return cls(**config)


@keras.saving.register_keras_serializable("tfopt")
class LogitsDistillation(DistillationLoss):
    """The student's outputs follow the teacher's, softened by a temperature `T`.

    "kl": `T^2 sum_c p_c log(p_c / q_c)`, with `p = softmax(teacher / T)` and `q = softmax(student / T)` over the last axis.
    "binary_kl": `T^2 mean_c [p_c log(p_c / q_c) + (1 - p_c) log((1 - p_c) / (1 - q_c))]`, with the sigmoid, for labels that do not
    exclude each other. "mse": `mean_c (teacher_c - student_c)^2`, without a temperature, for regression and for logits as they are
    (Bucila et al., Model compression, KDD 2006). Other axes, such as positions, are averaged.

    Example:

    ```python
    tfopt.Distiller(student, teacher, distillation_losses=tfopt.LogitsDistillation(temperature=4.0))
    ```

    Args:
        temperature: float > 0.
        kind: "kl", "binary_kl" or "mse".
        from_logits: bool, whether the models put out logits. False: probabilities, whose logarithms stand for the logits.
        name: str, under which it is logged.

    Raises:
        ArgumentError: another value.

    Source: Hinton et al., Distilling the knowledge in a neural network, arXiv:1503.02531; `T^2` keeps the size of its gradient.
    """

    def __init__(self, temperature=3.0, kind="kl", *, from_logits=True, name=None):
        super().__init__(name)
        require_positive("temperature", temperature)
        if kind not in ("kl", "binary_kl", "mse"):
            raise ArgumentError(f"`kind` must be 'kl', 'binary_kl' or 'mse'. Received: kind={kind!r}.")
        self.temperature, self.kind, self.from_logits = float(temperature), kind, bool(from_logits)

    def call(self, student, teacher, labels=None):
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
            for sign in (1.0, -1.0):  # of being the class, of not being it
                expected = ops.log_sigmoid(sign * teacher)
                values += ops.exp(expected) * (expected - ops.log_sigmoid(sign * student))
            values = ops.mean(values, axis=-1) * self.temperature**2
        return by_sample(values)

    def get_config(self):
        return {**super().get_config(), "temperature": self.temperature, "kind": self.kind, "from_logits": self.from_logits}


@keras.saving.register_keras_serializable("tfopt")
class DecoupledDistillation(DistillationLoss):
    """Distillation of logits in two parts: how sure the teacher is of the label, and how it orders the other classes.

    `T^2 [alpha KL(b_t || b_s) + beta KL(r_t || r_s)]`, with `b = (p_label, 1 - p_label)` and `r` the probabilities of the other
    classes among themselves, all of `softmax(logits / T)`. Labels must be given to `fit`.

    Example:

    ```python
    tfopt.Distiller(student, teacher, distillation_losses=tfopt.DecoupledDistillation(alpha=1.0, beta=8.0, temperature=4.0))
    ```

    Args:
        alpha, beta: floats >= 0.
        temperature: float > 0.
        from_logits: bool, whether the models put out logits; False: probabilities.
        name: str, under which it is logged.

    Raises:
        ArgumentError: another value.

    Source: Zhao et al., Decoupled knowledge distillation, arXiv:2203.08679.
    """

    needs_labels = True

    def __init__(self, alpha=1.0, beta=8.0, temperature=4.0, *, from_logits=True, name=None):
        super().__init__(name)
        require_positive("temperature", temperature)
        for word, value in (("alpha", alpha), ("beta", beta)):
            require_positive(word, value, or_zero=True)
        self.alpha, self.beta, self.temperature, self.from_logits = float(alpha), float(beta), float(temperature), bool(from_logits)

    def call(self, student, teacher, labels=None):
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

    def get_config(self):
        own = {"alpha": self.alpha, "beta": self.beta, "temperature": self.temperature, "from_logits": self.from_logits}
        return {**super().get_config(), **own}


def require_positive(name, value, or_zero=False):
    """Raises `ArgumentError` unless `value` is a number above 0, or 0 itself."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (is_number and (0 < value < float("inf") or (or_zero and value == 0))):
        raise ArgumentError(f"`{name}` must be a number {'of at least' if or_zero else 'above'} 0. Received: {name}={value!r}.")


def log_softmax(outputs, temperature, from_logits):
    """`log softmax(outputs / temperature)` over the last axis; without `from_logits` of the logarithms of `outputs`."""
    return ops.log_softmax((outputs if from_logits else ops.log(_clipped(outputs))) / temperature, axis=-1)


def _clipped(probabilities):
    return ops.clip(probabilities, _TINY, 1.0 - _TINY)


def by_sample(values):
    """The mean over all axes but the first."""
    return ops.mean(values, axis=tuple(range(1, len(values.shape)))) if len(values.shape) > 1 else values


def _text(shape):
    return f"({', '.join('None' if size is None else str(size) for size in shape)})"
