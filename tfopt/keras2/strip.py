"""`strip()`: take tfmot's layers out of a model again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfopt import errors
from tfopt.keras2.rebuild import rebuild
from tfopt.keras2.requirements import require_keras2
from tfopt.keras2.strip_quantization import strip_quantization
from tfopt.keras2.tfmot_layers import has_quantizers, pruning_wrappers
from tfopt.keras_model.copy import copy_model
from tfopt.keras_model.describe import describe

if TYPE_CHECKING:
    import tf_keras


def strip(model: tf_keras.Model) -> tf_keras.Model:
    """A plain Keras 2 model with the weights of a model that `prune` or `quantize_aware` made.

    Example: `tfopt.legacy.strip(pruned).save("pruned.h5")`

    Args:
        model: a tf_keras model of `prune` (or of tfmot's `prune_low_magnitude`), or of `quantize_aware` (or tfmot's
            `quantize_model`); it stays as it is.

    Returns:
        A model with the layers and names of the original model, not compiled. If it is trained further, its zeros do not stay
        zero. Its weights are not rounded.

    Raises:
        ArgumentError: a Keras 3 model, or a model that is plain already.
    """
    require_keras2(model, "strip")
    if has_quantizers(model):
        return strip_quantization(model)
    wrappers = pruning_wrappers(model)
    if not wrappers:
        raise errors.ArgumentError(
            f"the model must come from tfopt.legacy.prune or tfopt.legacy.quantize_aware. Received: {describe(model)}, a plain one."
        )
    # Training without the callbacks adds the last gradient to weights that should be zero.
    model.distribute_strategy.run(lambda: [wrapper.pruning_obj.weight_mask_op() for wrapper in wrappers])
    return copy_model(rebuild(model, {id(wrapper): wrapper.layer for wrapper in wrappers}))
