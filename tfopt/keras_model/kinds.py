"""Tell which Keras class, of either generation, a layer computes as."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras

    from tfopt.keras_model.types import AnyLayer

# What a class of the caller's own may define without computing anything else than the Keras class it is derived from. `inputs`
# and `outputs` of a layer follow from `call`, and its weights from `build`.
_DESCRIPTIVE = {
    "build", "get_config", "from_config", "get_build_config", "build_from_config", "compute_output_shape", "compute_output_spec",
    "save_own_variables", "load_own_variables", "add_weight", "add_loss", "count_params", "quantize",
}  # fmt: skip


def layer_kind(layer: AnyLayer | keras.Operation, *, besides: tuple[str, ...] = ()) -> str | None:
    """The name of the Keras class as which a layer computes; None for every other layer, and for an operation.

    A class of the caller's own counts as the Keras class that it is derived from if it overrides no method with which this class
    computes.

    Example:

    ```python
    layer_kind(keras.layers.LSTM(4))  # "LSTM", as for tf_keras.layers.LSTM(4)
    ```

    Args:
        layer: of either Keras generation.
        besides: names of further methods that a derived class may override.
    """
    own: set[str] = set()
    if not hasattr(layer, "weights"):
        return None
    for kind in type(layer).__mro__:
        if _is_of_keras(kind):
            return None if any(_is_overriding(kind, name) for name in own.difference(_DESCRIPTIVE, besides)) else kind.__name__
        own.update(vars(kind))
    return None


def operation_kind(operation: AnyLayer | keras.Operation) -> str | None:
    """The class name of an operation that `keras.ops` makes of a symbolic tensor, such as `Maximum`; None for every other one.

    Args:
        operation: a layer or an operation.
    """
    kind = type(operation)
    return kind.__name__ if _is_of_keras(kind) and not hasattr(operation, "weights") else None


def is_keras_2(layer: AnyLayer | keras.Operation) -> bool:
    """Whether a layer is one of `tf_keras`, or of a class that is derived from one."""
    return any(kind.__module__.partition(".")[0] == "tf_keras" for kind in type(layer).__mro__)


def _is_of_keras(kind: type) -> bool:
    return kind.__module__.partition(".")[0] in ("keras", "tf_keras")


def _is_overriding(kind: type, name: str) -> bool:
    return (not name.startswith("__") or name == "__call__") and hasattr(kind, name)
