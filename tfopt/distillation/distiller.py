"""`Distiller`: a model that trains a student on labels and on what a teacher makes of the same inputs."""

import inspect
import threading

import keras
from keras import ops, tree

from tfopt.distillation import cache as caching
from tfopt.distillation import guards
from tfopt.distillation.features import Features
from tfopt.errors import ArgumentError


@keras.saving.register_keras_serializable("tfopt")
class Distiller(keras.Model):
    """Trains `student` on the labels and towards `teacher`; `compile`, `fit`, `evaluate` and `predict` are the student's own.

    `loss = w student_loss + (1 - w) sum_i w_i distillation_loss_i + regularization`, with `w = student_loss_weight`.

    The teacher stays as it is: its weights, its `trainable`, its statistics. It runs with `training=False`. `fit` logs
    "student_loss" and each distillation loss by its name; metrics are those of the student. `sample_weight` and `class_weight`
    count in every term. Afterwards `student` is an ordinary model.

    Example:

    ```python
    distiller = tfopt.Distiller(student, teacher, distillation_losses=tfopt.LogitsDistillation(temperature=4.0))
    distiller.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    distiller.fit(x_train, y_train, epochs=5, validation_data=(x_test, y_test))
    distiller.student.save("student.keras")
    ```

    Args:
        student: a Keras 3 model, plain or quantization-aware.
        teacher: a Keras 3 model with the same inputs, and for losses of the outputs the same outputs.
        distillation_losses: one or a list of `DistillationLoss`; None: `LogitsDistillation()`.
        distillation_loss_weights: one or a list of floats >= 0, the `w_i`; None: 1 each.
        student_loss_weight: float in [0, 1]. 0 needs no labels; with 1 the teacher is not called.
        cache: None, "memory" or the path of a folder. The teacher then sees each sample once, before the first epoch, and what it
            said stays in memory, or in a file that later runs with the same data and teacher use again. `fit` must be given
            arrays: in a dataset or generator a sample has no number, and may be another one each time.

    Raises:
        ArgumentError: something that cannot be used; where the models have inputs, layers and shapes are compared at once.

    Sources: Hinton et al., arXiv:1503.02531; the losses name theirs.
    """

    def __init__(
        self,
        student,
        teacher,
        *,
        distillation_losses=None,
        distillation_loss_weights=None,
        student_loss_weight=0.5,
        cache=None,
        name="distiller",
        **kwargs,
    ):
        super().__init__(name=name, **kwargs)
        self.distillation_losses, self.distillation_loss_weights = guards.check_arguments(
            student, teacher, distillation_losses, distillation_loss_weights, student_loss_weight
        )
        self.student_loss_weight = float(student_loss_weight)
        self.student = student
        self.cache = cache
        names = {side: [getattr(loss, side) for loss in self.distillation_losses] for side in ("student_layer", "teacher_layer")}
        parts = _Parts(
            Features(student, _unique(names["student_layer"])),
            Features(teacher, _unique(names["teacher_layer"]), infers=True),
            [keras.metrics.Mean(name=each) for each in ("student_loss", *(loss.name for loss in self.distillation_losses))],
            caching.Cache(cache) if cache is not None else None,
        )
        self._parts = lambda: parts  # a closure: Keras takes what it finds in attributes for layers that train and are saved
        self._is_connected = False
        self._owns_teacher = False
        if all(getattr(model, "inputs", None) for model in (student, teacher)):
            guards.check_inputs(student, teacher)
            self._connect(guards.inputs_of(student))

    @property
    def teacher(self):
        """The teacher, as it was given."""
        return self._parts().taught.model

    def __call__(self, inputs, *args, **kwargs):
        """As that of any model; a subclassed student shows its shapes only now."""
        inputs, _ = caching.split(inputs)
        if not self._is_connected:
            self._connect(inputs)
        return super().__call__(inputs, *args, **kwargs)

    def call(self, inputs, training=None):
        """The student's outputs."""
        parts = self._parts()
        if not training:
            return self.student(inputs, training=training)
        outputs, parts.state.features = parts.learned(inputs, training=training)
        return outputs

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The student's loss, in training with those of distillation."""
        weight, parts = self.student_loss_weight, self._parts()
        if not training:
            return super().compute_loss(x, y, y_pred, sample_weight, training) if self.loss is not None else ops.zeros(())
        has_loss = self.loss is not None and (weight > 0 or y is not None)
        student_loss = super().compute_loss(x, y, y_pred, sample_weight, training) if has_loss else ops.zeros(())
        own, *others = parts.trackers
        replicas = self.distribute_strategy.num_replicas_in_sync  # whose gradients are summed: Keras divides its loss by it
        own.update_state(student_loss * replicas)
        if weight == 1:
            return student_loss
        said = parts.state.said or caching.pack(*parts.taught(x, training=False))
        said = {name: ops.cast(ops.stop_gradient(tensor), "float32") for name, tensor in said.items()}
        taught = caching.unpack(said, parts.taught.layers)
        total = sum(self.losses) if self.losses else 0.0  # regularization, which is in the student's loss as well
        for loss, scale, tracker in zip(self.distillation_losses, self.distillation_loss_weights, others, strict=True):
            value = self._term(loss, taught, y, y_pred, parts.state.features, sample_weight)
            tracker.update_state(value)
            total += scale * value
        return weight * student_loss + (1.0 - weight) * total / replicas

    def train_step(self, data):
        """A step of `fit`; with a cache the inputs come with what the teacher said."""
        state = self._parts().state
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        x, state.said = caching.split(x)
        try:
            logs = super().train_step((x, y, sample_weight))
        finally:
            state.said = state.features = None
        return {**logs, **{tracker.name: tracker.result() for tracker in self._logged()}}

    def fit(self, x=None, y=None, *args, **kwargs):
        """As `keras.Model.fit`."""
        if not self.compiled:
            raise ArgumentError("the distiller must be compiled before fit(). Received: one without an optimizer.")
        parts = self._parts()
        guards.check_data(self, x, y)
        arguments = dict(inspect.signature(super().fit).bind(x, y, *args, **kwargs).arguments)
        if parts.cache is not None and self.student_loss_weight < 1:
            arguments = parts.cache.prepare(parts.taught, arguments)
        return super().fit(**arguments)

    def reset_metrics(self):
        """As that of any model, and the losses begin anew."""
        super().reset_metrics()
        for tracker in self._parts().trackers:
            tracker.reset_state()

    def get_config(self):
        """Everything that makes this distiller again, both models included."""
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
    def from_config(cls, config, custom_objects=None):
        """A distiller with models of its own."""
        deserialize = keras.saving.deserialize_keras_object
        made = {name: deserialize(config[name], custom_objects) for name in ("student", "teacher")}
        losses = [deserialize(loss, custom_objects) for loss in config["distillation_losses"]]
        distiller = cls(**{**config, **made, "distillation_losses": losses})
        distiller._owns_teacher = True
        return distiller

    def save_own_variables(self, store):
        """The teacher's weights, which are none of this model's."""
        for index, variable in enumerate(self.teacher.weights):
            store[f"teacher_{index}"] = variable.numpy()

    def load_own_variables(self, store):
        """Restores them in a distiller that came from a file; a teacher that was given stays as it is."""
        if self._owns_teacher:
            for index, variable in enumerate(self.teacher.weights):
                variable.assign(store[f"teacher_{index}"])

    def _logged(self):
        own, *others = self._parts().trackers
        return (own,) if self.student_loss_weight == 1 else (own, *others)

    def _connect(self, inputs):
        """Compares the two models, and makes the projectors, before anything is computed; `inputs` tell shapes and dtypes."""
        import tensorflow as tf

        parts, found = self._parts(), {}

        @tf.function
        def trace(x):
            found["student"], found["teacher"] = parts.learned(x, training=False), parts.taught(x, training=False)

        def spec(tensor):
            return tf.TensorSpec((None, *tensor.shape[1:]), keras.backend.standardize_dtype(tensor.dtype))

        trace.get_concrete_function(tree.map_structure(spec, inputs))
        (outputs, features), (targets, guides) = found["student"], found["teacher"]
        outputs, targets = tree.flatten(outputs), tree.flatten(targets)
        for loss in self.distillation_losses:
            if loss.student_layer is not None:
                pairs = [(_require(features, loss.student_layer), _require(guides, loss.teacher_layer))]
            else:
                guards.check_outputs(loss, outputs, targets)
                pairs = list(zip(outputs, targets, strict=True))
            for student, teacher in pairs:
                loss.build(tuple(student.shape), tuple(teacher.shape))
        self.projectors = [layer for loss in self.distillation_losses for layer in loss.layers]
        self._is_connected = self.built = True

    def _term(self, loss, taught, y, y_pred, features, sample_weight):
        targets, guides = taught
        if loss.student_layer is not None:
            pairs = [(_require(features, loss.student_layer), _require(guides, loss.teacher_layer))]
        else:
            pairs = list(zip(tree.flatten(y_pred), targets, strict=True))
        labels = tree.flatten(y) if y is not None else []
        if loss.needs_labels and len(labels) != len(pairs):
            raise ArgumentError(f"{loss.name} needs labels for each output. Received: {len(labels)} for {len(pairs)}.")
        labels = labels if len(labels) == len(pairs) else [None] * len(pairs)
        weights = tree.flatten(sample_weight) if sample_weight is not None else [None]
        weights = weights if len(weights) == len(pairs) else weights[:1] * len(pairs)
        return sum(
            loss(ops.cast(student, "float32"), teacher, label, weight)
            for (student, teacher), label, weight in zip(pairs, labels, weights, strict=True)
        )


class _Parts:
    """What belongs to a distiller and is no part of the model: the teacher, metrics, and what a step passes on."""

    def __init__(self, learned, taught, trackers, cache):
        self.learned, self.taught, self.trackers, self.cache = learned, taught, trackers, cache
        self.state = _State()


class _State(threading.local):
    """Of the step that a thread computes; each replica of a strategy has one."""

    features = None  # of the student
    said = None  # by the teacher, where it was kept


def _unique(names):
    return list(dict.fromkeys(name for name in names if name is not None))


def _require(found, name):
    if name not in found:
        raise ArgumentError(f"a layer that is compared must run in each call of its model. Received: {name!r}, which did not.")
    return found[name]
