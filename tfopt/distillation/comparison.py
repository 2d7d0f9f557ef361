"""The comparison of a student with its teacher in one step of a `Distiller`: which tensors meet in which loss."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keras
from keras import ops, tree

from tfopt.distillation.cache import Cache
from tfopt.distillation.features import Features
from tfopt.errors import ArgumentError

if TYPE_CHECKING:
    import tensorflow as tf

    from tfopt.distillation.losses import DistillationLoss


class Step(threading.local):
    """Tensors that the parts of a training step share; each replica of a strategy computes its step in a thread of its own.

    Attributes:
        features: outputs of layers of the student, by name.
        answers: the answers of the teacher if they come from a cache, else None.
    """

    def __init__(self) -> None:
        self.features: dict[str, tf.Tensor] = {}
        self.answers: dict[str, tf.Tensor] | None = None


@dataclasses.dataclass(frozen=True)
class Parts:
    """The objects that belong to a distiller and are no part of the model that Keras saves and trains.

    Attributes:
        learned, taught: the student and the teacher.
        trackers: means of the student's loss and of each distillation loss.
        cache: the answers of the teacher, if they are kept.
        step: tensors of the step that is being computed.
    """

    learned: Features
    taught: Features
    trackers: list[keras.metrics.Mean]
    cache: Cache | None
    step: Step = dataclasses.field(default_factory=Step)


def pairs(
    loss: DistillationLoss,
    outputs: Sequence[tf.Tensor],
    targets: Sequence[tf.Tensor],
    features: Mapping[str, tf.Tensor],
    guides: Mapping[str, tf.Tensor],
) -> list[tuple[tf.Tensor, tf.Tensor]]:
    """The (student, teacher) tensors that a loss compares: the outputs of its layers, or all outputs of the models.

    Args:
        loss: the loss.
        outputs, targets: outputs of the student and of the teacher.
        features, guides: outputs of their layers, by name.

    Raises:
        ArgumentError: a layer of the loss did not run.
    """
    if loss.student_layer is None or loss.teacher_layer is None:
        return list(zip(outputs, targets, strict=True))
    for found, name in ((features, loss.student_layer), (guides, loss.teacher_layer)):
        if name not in found:
            raise ArgumentError(
                f"A layer whose output is compared must run in each call of its model. Received: {name!r}, which did not run."
            )
    return [(features[loss.student_layer], guides[loss.teacher_layer])]


def value_of(loss: DistillationLoss, compared: Sequence[tuple[tf.Tensor, tf.Tensor]], y: Any, sample_weight: Any) -> tf.Tensor:
    """The value of a loss for a batch, a float32 tensor of shape (): the sum over all pairs that it compares.

    Args:
        loss: the loss.
        compared: (student, teacher) tensors, as `pairs` returns them.
        y: None, or labels, a structure of tensors (batch, ...).
        sample_weight: None, or weights, a structure of tensors (batch,) or (batch, 1).

    Raises:
        ArgumentError: the loss needs labels, and there are none; a sample has several weights.
    """
    labels = tree.flatten(y) if y is not None else []
    if loss.needs_labels and len(labels) != len(compared):
        raise ArgumentError(
            f"{loss.name} needs labels for each output. Received: labels for {len(labels)} of {len(compared)}. Give fit() labels."
        )
    labels = labels if len(labels) == len(compared) else [None] * len(compared)
    weights = tree.flatten(sample_weight) if sample_weight is not None else [None]
    weights = weights if len(weights) == len(compared) else weights[:1] * len(compared)
    return sum(
        loss(ops.cast(student, "float32"), teacher, label, _by_sample(loss, weight, student))
        for (student, teacher), label, weight in zip(compared, labels, weights, strict=True)
    )


def _by_sample(loss: DistillationLoss, weight: tf.Tensor | None, student: tf.Tensor) -> tf.Tensor | None:
    """Weights (batch,) of weights that Keras takes as well, such as (batch, 1)."""
    if weight is None:
        return None
    sizes = weight.shape[1:] if weight.shape.rank else ()
    if any(size not in (1, None) for size in sizes):
        raise ArgumentError(
            f"{loss.name} needs one `sample_weight` for each sample, of shape (samples,) or (samples, 1), as the loss of a sample "
            f"is one number. Received: weights of shape {(None, *sizes)}. sample_weight.mean(axis=1, keepdims=True) makes one of "
            "several."
        )
    return ops.reshape(weight, (ops.shape(student)[0],))
