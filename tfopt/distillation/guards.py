"""The models, losses and data that a `Distiller` refuses, or warns about, before it trains."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeGuard

import keras
import numpy as np
from keras import tree

from tfopt.distillation.losses import DistillationLoss, LogitsDistillation
from tfopt.errors import ArgumentError, DataError

if TYPE_CHECKING:
    import numpy.typing as npt
    import tensorflow as tf

    from tfopt.distillation.distiller import Distiller

SAMPLES = 8
"""Number of samples for which the outputs of a teacher are checked."""


def check_arguments(
    student: keras.Model,
    teacher: keras.Model,
    losses: DistillationLoss | Sequence[DistillationLoss] | None,
    weights: float | Sequence[float] | None,
    student_loss_weight: float,
) -> tuple[list[DistillationLoss], list[float]]:
    """(losses, a weight for each), as the arguments of a `Distiller` say; raises `ArgumentError` for arguments of no use."""
    for name, model in (("student", student), ("teacher", teacher)):
        if not isinstance(model, keras.Model):
            raise ArgumentError(f"`{name}` must be a Keras 3 model. Received: {type(model).__name__}.")
    if student is teacher:
        raise ArgumentError(
            "`student` and `teacher` must be two models. Received: the same model twice. "
            "keras.models.clone_model makes a second one."
        )
    listed: list[DistillationLoss] = [LogitsDistillation()] if losses is None else _as_list(losses)
    for loss in listed:
        if not isinstance(loss, DistillationLoss):
            raise ArgumentError(
                "`distillation_losses` must be tfopt.LogitsDistillation, FeatureDistillation, AttentionTransfer, "
                "RelationalDistillation, DecoupledDistillation, another tfopt.DistillationLoss, or a list of these. "
                f"Received: {loss!r}."
            )
    names = [loss.name for loss in listed]
    if len(set(names)) < len(names):
        raise ArgumentError(f"Each of `distillation_losses` must have a name of its own. Received: {names}. Give name=.")
    scales: list[float] = [1.0] * len(listed) if weights is None else _as_list(weights)
    if len(scales) != len(listed) or not all(_is_number(scale) and scale >= 0 for scale in scales):
        raise ArgumentError(
            f"`distillation_loss_weights` must be a number of at least 0 for each of {len(listed)} losses. Received: {scales!r}."
        )
    if not _is_number(student_loss_weight) or not 0 <= student_loss_weight <= 1:
        raise ArgumentError(f"`student_loss_weight` must be a number from 0 to 1. Received: {student_loss_weight!r}.")
    return listed, [float(scale) for scale in scales]


def check_inputs(student: keras.Model, teacher: keras.Model) -> None:
    """Raises `ArgumentError` if the two models do not take the same inputs."""
    shapes = [[tuple(tensor.shape[1:]) for tensor in tree.flatten(model.inputs)] for model in (student, teacher)]
    is_same = len(shapes[0]) == len(shapes[1]) and all(
        len(own) == len(other) and all(None in pair or pair[0] == pair[1] for pair in zip(own, other, strict=True))
        for own, other in zip(*shapes, strict=True)
    )
    if not is_same:
        raise ArgumentError(
            f"Student and teacher must take the same inputs. Received: {shapes[0]} and {shapes[1]}. {_way_out(student, teacher)}"
        )


def _way_out(student: keras.Model, teacher: keras.Model) -> str:
    """How a model around one of two models gives it the inputs of the other, as lines of Python where these are known."""
    fewer, more = ("student", "teacher") if len(student.inputs) < len(teacher.inputs) else ("teacher", "student")
    models = {"student": student, "teacher": teacher}
    given = inputs_of(models[more])
    keys = dict(given.items() if isinstance(given, dict) else enumerate(tree.flatten(given)))
    passed: list[str | int] = []
    for wanted in models[fewer].inputs:
        fitting = [key for key, tensor in keys.items() if getattr(tensor, "shape", None) == wanted.shape and key not in passed]
        named = [key for key in fitting if wanted.name in (key, keys[key].name)]
        passed.extend((named or fitting)[:1])
    listed = ", ".join(f"inputs[{key!r}]" for key in passed)
    lines = []
    if len(passed) == len(models[fewer].inputs) < len(keys):
        lines = [
            f"old = keras.tree.flatten({more}.input)",
            "new = [keras.Input(each.shape[1:], dtype=each.dtype, name=each.name) for each in old]",
            f"inputs = keras.tree.pack_sequence_as({more}.input, new)",
            f"wrapped = keras.Model(inputs, {fewer}({listed if len(passed) == 1 else f'[{listed}]'}))",
            f"distiller = tfopt.Distiller({fewer}=wrapped, {more}={more})",
        ]
    own, other = student.inputs[0].shape[1:], teacher.inputs[0].shape[1:]
    if (
        len(student.inputs) == len(teacher.inputs) == 1
        and len(own) == len(other) == 3
        and own[-1] == other[-1]
        and None not in other
    ):
        lines = [
            f"images = keras.Input({own})",
            f"wrapped = keras.Model(images, teacher(keras.layers.Resizing({other[0]}, {other[1]})(images)))",
            "distiller = tfopt.Distiller(student=student, teacher=wrapped)",
        ]
    told = "\n".join(["Wrap one model in a keras.Model that takes what the other takes", *lines])
    return told.replace("takes\n", "takes:\n") if lines else f"{told} and passes on what its own layers need."


def inputs_of(model: keras.Model) -> Any:
    """The symbolic inputs of a model, in their structure. A `Sequential` has no `input` before it is called."""
    return model.inputs[0] if isinstance(model, keras.Sequential) else model.input


def check_outputs(loss: DistillationLoss, outputs: Sequence[tf.Tensor], targets: Sequence[tf.Tensor]) -> None:
    """Raises `ArgumentError` if the student has not as many `outputs` as the teacher has `targets`."""
    if len(outputs) != len(targets):
        raise ArgumentError(
            f"{loss.name} needs as many outputs of the student as of the teacher. Received: {len(outputs)} and {len(targets)}. "
            "Name layers instead: tfopt.FeatureDistillation(student_layer, teacher_layer)."
        )


def check_data(distiller: Distiller, x: Any, y: Any) -> None:
    """Checks the data that `fit` was given, and the outputs of the teacher for a few samples.

    Args:
        distiller: the distiller that trains.
        x, y: the arguments of `fit`.

    Raises:
        DataError: there are no data, or an output of the teacher is NaN or infinite.
        ArgumentError: a loss needs labels, and there are none; the teacher's outputs are not as a loss expects them.
    """
    arrays = as_arrays(x)
    cardinality = getattr(x, "cardinality", None)
    count = len(tree.flatten(arrays)[0]) if arrays is not None else int(cardinality()) if callable(cardinality) else None
    if count == 0:
        raise DataError("fit() needs at least one sample. Received: no samples.")
    needing = [loss.name for loss in distiller.distillation_losses if loss.needs_labels]
    if arrays is not None and y is None and needing and distiller.student_loss_weight < 1:
        raise ArgumentError(f"{', '.join(needing)} needs labels. Received: y=None. Give fit() labels.")
    if distiller.student_loss_weight == 1:
        return
    teacher = distiller.teacher
    for variable in teacher.weights:
        value = variable.numpy()
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise DataError(f"The teacher must be finite. Received: NaN or infinity in its weight {variable.path!r}.")
    batch = _few(arrays, teacher)
    if batch is None:
        return
    outputs = [keras.ops.convert_to_numpy(output) for output in tree.flatten(teacher(batch, training=False))]
    if not all(np.isfinite(output).all() for output in outputs):
        raise DataError(f"The teacher must be finite. Received: NaN or infinity in its outputs for {len(outputs[0])} samples of x.")
    are_probabilities = all(_are_probabilities(output) for output in outputs)
    for loss in distiller.distillation_losses:
        from_logits = getattr(loss, "from_logits", None)
        if from_logits is None or getattr(loss, "kind", None) == "mse":
            continue
        if from_logits and are_probabilities:
            warnings.warn(
                f"{loss.name} expects logits, but the outputs of the teacher are not negative and sum to 1, as probabilities do. "
                "If they are probabilities, give it from_logits=False.",
                stacklevel=3,
            )
        elif not from_logits and any(output.min() < 0 or output.max() > 1 for output in outputs):
            raise ArgumentError(
                f"{loss.name} with from_logits=False needs probabilities, from 0 to 1. Received: outputs of the teacher from "
                f"{min(output.min() for output in outputs):.4g} to {max(output.max() for output in outputs):.4g}. For logits, "
                "leave from_logits out."
            )


def as_arrays(x: Any) -> Any:
    """The data `x` with NumPy arrays at its leaves; None if `x` is None, a dataset, a generator or the like."""
    import tensorflow as tf

    if x is None or isinstance(x, tf.data.Dataset | keras.utils.PyDataset) or hasattr(x, "__next__"):
        return None
    if not all(hasattr(leaf, "shape") and hasattr(leaf, "__array__") and len(leaf.shape) for leaf in tree.flatten(x)):
        return None
    return tree.map_structure(_as_array, x)


def _as_array(leaf: npt.ArrayLike) -> npt.NDArray[Any]:
    array = np.asarray(leaf)
    return array.astype(keras.config.floatx()) if array.dtype.kind == "f" else array


def _few(arrays: Any, teacher: keras.Model) -> Any:
    """A few samples of `arrays`. If it is None: zeros, whose outputs are probabilities as well; None if sizes are open."""
    if arrays is not None:
        return tree.map_structure(lambda array: keras.ops.convert_to_tensor(array[:SAMPLES]), arrays)
    if not getattr(teacher, "inputs", None) or any(None in tensor.shape[1:] for tensor in teacher.inputs):
        return None
    return tree.map_structure(lambda tensor: keras.ops.zeros((SAMPLES, *tensor.shape[1:]), tensor.dtype), inputs_of(teacher))


def _are_probabilities(output: npt.NDArray[np.float32]) -> bool:
    return output.shape[-1] > 1 and output.min() >= 0 and np.allclose(output.sum(axis=-1), 1, atol=1e-3)


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and np.isfinite(value)
