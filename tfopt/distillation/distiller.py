"""`Distiller`: a model that trains a student on labels and on the outputs of a teacher for the same inputs."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec, Self

import keras
from keras import ops, tree

from tfopt.distillation import cache as caching
from tfopt.distillation import guards
from tfopt.distillation.comparison import Parts, pairs, value_of
from tfopt.distillation.features import Features
from tfopt.errors import ArgumentError
from tfopt.reporting.units import plural

if TYPE_CHECKING:
    import tensorflow as tf

    from tfopt.distillation.losses import DistillationLoss
    from tfopt.files import PathLike

    Tensors = Any  # a tensor, or lists, tuples and dicts of tensors

_Arguments = ParamSpec("_Arguments")


def _keyword_only(init: Callable[_Arguments, None]) -> Callable[_Arguments, None]:
    """The constructor `init`, with an error for positional arguments that names the keywords."""

    @functools.wraps(init)
    def checked(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> None:
        if len(args) > 1:
            raise ArgumentError(
                "The models must be given by name: tfopt.Distiller(student=..., teacher=...), as keras.distillation.Distiller has "
                f"them in the other order. Received: {plural(len(args) - 1, 'positional argument')}."
            )
        init(*args, **kwargs)

    return checked


@keras.saving.register_keras_serializable("tfopt")
class Distiller(keras.Model):
    """Trains `student` on the labels and towards `teacher`; `compile`, `fit`, `evaluate` and `predict` work as for the student.

    `loss = w student_loss + (1 - w) sum_i w_i distillation_loss_i + regularization`, with `w = student_loss_weight`.

    The weights, the statistics and the `trainable` of the teacher stay as they are; it runs with `training=False`. `fit` logs
    "student_loss" and each distillation loss by its name; the metrics are computed from the outputs of the student.
    `sample_weight` and `class_weight` count in every term. After training, `student` is an ordinary model.

    Example:

    ```python
    losses = tfopt.LogitsDistillation(temperature=4.0)
    distiller = tfopt.Distiller(student=student, teacher=teacher, distillation_losses=losses)
    distiller.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    distiller.fit(x_train, y_train, epochs=5, validation_data=(x_test, y_test))
    distiller.student.save("student.keras")
    ```

    Args:
        student: a Keras 3 model, plain or quantization-aware.
        teacher: a Keras 3 model with the same inputs, and for losses that compare the outputs with the same outputs.
        distillation_losses: one or a list of `DistillationLoss`; None (default): `LogitsDistillation()`.
        distillation_loss_weights: the `w_i`, one or a list of numbers of at least 0; None (default): 1 each.
        student_loss_weight: from 0 to 1, by default 0.5. With 0 no labels are needed, with 1 the teacher is not called.
        cache: None (default), "memory" or the path of a folder. With a cache, the teacher sees each sample once, before the first
            epoch. Its outputs stay in memory, or in a file that later runs with the same data and teacher use again. `fit` must be
            given arrays, as the samples of a dataset or generator have no numbers and may differ from epoch to epoch.
        name: the name of the model, by default "distiller".

    Attributes:
        student, student_loss_weight, cache: as given.
        distillation_losses, distillation_loss_weights: lists of the same length.
        projectors: layers of the losses, which train with the student and are no part of it.

    Raises:
        ArgumentError: an argument cannot be used, or is not given by name. If the models have inputs, the inputs, the layers and
            the shapes are compared at once, otherwise at the first call.

    Sources: Hinton et al., arXiv:1503.02531; the losses name their own.
    """

    @_keyword_only
    def __init__(
        self,
        *,
        student: keras.Model,
        teacher: keras.Model,
        distillation_losses: DistillationLoss | Sequence[DistillationLoss] | None = None,
        distillation_loss_weights: float | Sequence[float] | None = None,
        student_loss_weight: float = 0.5,
        cache: PathLike | None = None,
        name: str = "distiller",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        losses, weights = guards.check_arguments(
            student, teacher, distillation_losses, distillation_loss_weights, student_loss_weight
        )
        self.distillation_losses: list[DistillationLoss] = losses
        self.distillation_loss_weights: list[float] = weights
        self.student_loss_weight: float = float(student_loss_weight)
        self.student: keras.Model = student
        self.cache: PathLike | None = cache
        self.projectors: list[keras.layers.Layer] = []
        parts = Parts(
            Features(student, _unique(loss.student_layer for loss in losses)),
            Features(teacher, _unique(loss.teacher_layer for loss in losses), infers=True),
            [keras.metrics.Mean(name=each) for each in ("student_loss", *(loss.name for loss in losses))],
            caching.Cache(cache) if cache is not None else None,
        )
        self._parts: Callable[[], Parts] = lambda: parts  # a function, as Keras would save and train layers in attributes
        self._is_connected = False
        self._owns_teacher = False
        if all(getattr(model, "inputs", None) for model in (student, teacher)):
            guards.check_inputs(student, teacher)
            self._connect(guards.inputs_of(student))

    @property
    def teacher(self) -> keras.Model:
        """The teacher, as it was given."""
        return self._parts().taught.model

    def __call__(self, inputs: Tensors, *args: Any, **kwargs: Any) -> Tensors:
        """As for every model; the shapes of a subclassed student are known only now."""
        inputs, _ = caching.split(inputs)
        if not self._is_connected:
            self._connect(inputs)
        return super().__call__(inputs, *args, **kwargs)

    def call(self, inputs: Tensors, training: bool | None = None) -> Tensors:
        """The student's outputs."""
        parts = self._parts()
        if not training:
            return self.student(inputs, training=training)
        outputs, parts.step.features = parts.learned(inputs, training=training)
        return outputs

    def compute_loss(
        self,
        x: Tensors = None,
        y: Tensors = None,
        y_pred: Tensors = None,
        sample_weight: Tensors = None,
        training: bool = True,
    ) -> tf.Tensor:
        """The student's loss, in training together with the losses of distillation: a tensor of shape ()."""
        weight, parts = self.student_loss_weight, self._parts()
        if not training:
            return super().compute_loss(x, y, y_pred, sample_weight, training) if self.loss is not None else ops.zeros(())
        has_loss = self.loss is not None and (weight > 0 or y is not None)
        student_loss = super().compute_loss(x, y, y_pred, sample_weight, training) if has_loss else ops.zeros(())
        own, *others = parts.trackers
        # The gradients of the replicas are summed, so that Keras divides its loss by their number.
        replicas = self.distribute_strategy.num_replicas_in_sync
        own.update_state(student_loss * replicas)
        if weight == 1:
            return student_loss
        answers = parts.step.answers or caching.pack(*parts.taught(x, training=False))
        answers = {name: ops.cast(ops.stop_gradient(tensor), "float32") for name, tensor in answers.items()}
        targets, guides = caching.unpack(answers, parts.taught.layers)
        total = sum(self.losses) if self.losses else 0.0  # regularization, which is in the student's loss as well
        for loss, scale, tracker in zip(self.distillation_losses, self.distillation_loss_weights, others, strict=True):
            compared = pairs(loss, tree.flatten(y_pred), targets, parts.step.features, guides)
            value = value_of(loss, compared, y, sample_weight)
            tracker.update_state(value)
            total += scale * value
        return weight * student_loss + (1.0 - weight) * total / replicas

    def train_step(self, data: Tensors) -> dict[str, tf.Tensor]:
        """A step of `fit`; with a cache, the inputs come with the answers of the teacher."""
        step = self._parts().step
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        x, step.answers = caching.split(x)
        try:
            logs = super().train_step((x, y, sample_weight))
        finally:
            step.answers, step.features = None, {}
        return {**logs, **{tracker.name: tracker.result() for tracker in self._logged()}}

    def fit(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """As `keras.Model.fit`.

        Raises:
            ArgumentError: the distiller is not compiled, a loss needs labels, or there is a cache and `x` is not made of arrays.
            DataError: there are no data, or an output or weight of the teacher is NaN or infinite.
            OutputError: the folder of the cache cannot be written.
        """
        if not self.compiled:
            raise ArgumentError("The distiller must be compiled before fit(). Received: a distiller without an optimizer.")
        parts = self._parts()
        guards.check_data(self, x, y)
        arguments = dict(inspect.signature(super().fit).bind(x, y, *args, **kwargs).arguments)
        if parts.cache is not None and self.student_loss_weight < 1:
            arguments = parts.cache.prepare(parts.taught, arguments)
        return super().fit(**arguments)

    def reset_metrics(self) -> None:
        """As for every model; the means of the losses start again too."""
        super().reset_metrics()
        for tracker in self._parts().trackers:
            tracker.reset_state()

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor, both models included."""
        serialize = keras.saving.serialize_keras_object
        return {
            "name": self.name,
            "student": serialize(self.student),
            "teacher": serialize(self.teacher),
            "distillation_losses": [serialize(loss) for loss in self.distillation_losses],
            "distillation_loss_weights": list(self.distillation_loss_weights),
            "student_loss_weight": self.student_loss_weight,
            "cache": None if self.cache is None else str(self.cache),
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Self:
        """A distiller with models of its own."""
        deserialize = keras.saving.deserialize_keras_object
        made = {name: deserialize(config[name], custom_objects) for name in ("student", "teacher")}
        losses = [deserialize(loss, custom_objects) for loss in config["distillation_losses"]]
        distiller = cls(**{**config, **made, "distillation_losses": losses})
        distiller._owns_teacher = True
        return distiller

    def save_own_variables(self, store: MutableMapping[str, Any]) -> None:
        """Saves the weights of the teacher, which are no weights of this model."""
        for index, variable in enumerate(self.teacher.weights):
            store[f"teacher_{index}"] = variable.numpy()

    def load_own_variables(self, store: Mapping[str, Any]) -> None:
        """Loads the weights of the teacher if it came from a file as well; a teacher that was given stays as it is."""
        if self._owns_teacher:
            for index, variable in enumerate(self.teacher.weights):
                variable.assign(store[f"teacher_{index}"])

    def _logged(self) -> Sequence[keras.metrics.Metric]:
        own, *others = self._parts().trackers
        return (own,) if self.student_loss_weight == 1 else (own, *others)

    def _connect(self, inputs: Tensors) -> None:
        """Compares the two models, and makes the projectors, before any value is computed.

        Args:
            inputs: tensors, real or symbolic, with the shapes and dtypes of the inputs.
        """
        import tensorflow as tf

        parts = self._parts()
        found: dict[str, tuple[Tensors, dict[str, tf.Tensor]]] = {}

        @tf.function
        def trace(x: Tensors) -> None:
            found["student"], found["teacher"] = parts.learned(x, training=False), parts.taught(x, training=False)

        def spec(tensor: tf.Tensor) -> tf.TensorSpec:
            return tf.TensorSpec((None, *tensor.shape[1:]), keras.backend.standardize_dtype(tensor.dtype))

        trace.get_concrete_function(tree.map_structure(spec, inputs))
        (outputs, features), (targets, guides) = found["student"], found["teacher"]
        outputs, targets = tree.flatten(outputs), tree.flatten(targets)
        for loss in self.distillation_losses:
            if loss.student_layer is None:
                guards.check_outputs(loss, outputs, targets)
            for student, teacher in pairs(loss, outputs, targets, features, guides):
                loss.build(tuple(student.shape), tuple(teacher.shape))
        self.projectors = [layer for loss in self.distillation_losses for layer in loss.layers]
        self._is_connected = self.built = True


def _unique(names: Iterable[str | None]) -> list[str]:
    return list(dict.fromkeys(name for name in names if name is not None))
