"""Take tfmot's layers out of a model again."""

from tfopt import errors
from tfopt.keras2.door import from_config
from tfopt.keras2.model import custom_objects_of, has_quantizers, rebuild, require_keras2, wrapped_layers
from tfopt.keras2.plain import copy_weights, plain_config
from tfopt.keras_model.copy import copy_model
from tfopt.keras_model.describe import describe


def strip(model):
    """A plain Keras 2 model with the weights of a model that `prune` or `quantize_aware` made.

    Example: `tfopt.legacy.strip(pruned).save("pruned.h5")`

    Args:
        model: a tf_keras model of `prune` (or of tfmot's `prune_low_magnitude`), or of `quantize_aware` (or tfmot's
            `quantize_model`); it stays as it is.

    Returns:
        A `tf_keras.Model` with the layers and names of the model before, not compiled. Nothing holds its zeros when it trains
        on; weights are not rounded.

    Raises:
        ArgumentError: a Keras 3 model, or a model that is plain already.
    """
    require_keras2(model, "strip")
    if has_quantizers(model):
        return strip_quantization(model)
    wrappers = wrapped_layers(model)
    if not wrappers:
        raise errors.ArgumentError(
            f"the model must come from tfopt.legacy.prune or tfopt.legacy.quantize_aware. Received: {describe(model)}, a plain one."
        )
    # A loop without callbacks leaves the last gradient on what should be zero.
    model.distribute_strategy.run(lambda: [wrapper.pruning_obj.weight_mask_op() for wrapper in wrappers])
    return copy_model(rebuild(model, {id(wrapper): wrapper.layer for wrapper in wrappers}))


def strip_quantization(model):
    """The model without tfmot's layers."""
    import tf_keras

    kind = "Sequential" if isinstance(model, tf_keras.Sequential) else "Functional"
    config = {"class_name": kind, "config": plain_config(model.get_config())}
    plain = from_config(config, custom_objects_of(model))
    copy_weights(model, plain)
    return plain
