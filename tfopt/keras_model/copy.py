"""Copy a Keras model of either generation with its weights."""

from tfopt import errors
from tfopt.keras_model.describe import describe
from tfopt.keras_model.walk import own_keras


def copy_model(model):
    """A second model of the same Keras generation with the same layers and weights; not compiled.

    Args:
        model: a built Keras 3 or Keras 2 model. A subclassed one must be of Keras 3 and have `get_config` (and `from_config`).

    Raises:
        ArgumentError: the model or one of its layers cannot be made again from its configuration.
    """
    keras = own_keras(model)
    try:
        if isinstance(model, keras.Sequential) or getattr(model, "operations", None) or keras.__name__ == "tf_keras":
            copy = keras.models.clone_model(model)
        else:
            copy = type(model).from_config(model.get_config())
            copy.build_from_config(model.get_build_config())
    except (NotImplementedError, TypeError, ValueError) as error:
        raise errors.ArgumentError(
            f"the model must be one that its configuration can make again: its own layers and classes need `get_config`. "
            f"Received: {describe(model)}: {(str(error).strip().splitlines() or [type(error).__name__])[0]}"
        ) from error
    values = model.get_weights()
    if len(copy.get_weights()) != len(values):
        raise errors.ArgumentError(
            f"the model must be one that its configuration can make again with all weights. Received: {describe(model)}, whose "
            f"copy has {len(copy.get_weights())} of {len(values)}. Create weights in __init__ or build()."
        )
    copy.set_weights(values)
    return copy
