"""Which layers of a Keras 2 model tfmot wraps to prune them."""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING

from tfopt import errors
from tfopt.keras_model.describe import describe
from tfopt.pruning import masks, options
from tfopt.pruning.prunable_weights import Target, find_targets

if TYPE_CHECKING:
    import tensorflow as tf
    import tf_keras

    from tfopt.keras_model.select import Selectors
    from tfopt.pruning.schedules import Schedule


def find_layers(
    model: tf_keras.Model, schedule: Schedule, pattern: masks.Pattern, include: Selectors, exclude: Selectors
) -> dict[tf_keras.layers.Layer, tuple[Schedule, list[tf.Variable]]]:
    """The layers of a Keras 2 model that tfmot wraps.

    Returns:
        Layer -> the schedule of this layer and its variables to prune.

    Raises:
        ArgumentError: tfmot cannot prune one of the weights in this way.
    """
    targets, _ = find_targets(model, pattern, include, exclude, plan=options.as_plan(schedule.final), frozen=False)
    found: dict[tf_keras.layers.Layer, list[Target]] = collections.defaultdict(list)
    for target in targets:
        _check_tfmot_can(target, pattern)
        found[_unit(target)].append(target)
    layers = {}
    for layer, own in found.items():
        plans = [schedule.of(target.layer_name) for target in own]
        if any(plan != plans[0] for plan in plans):
            each = ", ".join(f"{target.name} {plan.final:g}" for target, plan in zip(own, plans, strict=True))
            raise errors.ArgumentError(
                f"tfmot gives all weights of a layer the same sparsity. Received: {describe(layer)}, with {each}."
            )
        layers[layer] = (plans[0], [target.variable for target in own])
    return layers


def _unit(target: Target) -> tf_keras.layers.Layer:
    """The layer that is wrapped to prune a weight: the outermost one that is not a model."""
    layer = next(layer for layer in target.weight.layers if not getattr(layer, "outputs", None))
    if hasattr(layer, "fit"):
        raise errors.ArgumentError(
            "tfmot prunes Sequential and functional models without subclassed models inside. Received: "
            f"{target.name} in {describe(layer)}. Exclude it."
        )
    return layer


def _check_tfmot_can(target: Target, pattern: masks.Pattern) -> None:
    shape, reason = tuple(target.variable.shape), ""
    ordered = target.inputs == tuple(range(len(shape) - 1))
    if isinstance(pattern, masks.Block) and not (
        len(shape) == 2 and ordered and all(side >= 2 * block for side, block in zip(shape, pattern.shape, strict=True))
    ):
        reason = "blocks only in matrices (inputs, outputs) that have at least two blocks along each side"
    if isinstance(pattern, masks.NByM) and not (len(shape) in (2, 4) and ordered and shape[-2] % pattern.m == 0):
        reason = f"N of M only along input channels of matrices and 2-D convolutions whose number is a multiple of {pattern.m}"
    if reason:
        raise errors.ArgumentError(f"tfmot makes {reason}. Received: {target.name} of shape {shape}, {pattern}. Exclude the layer.")
