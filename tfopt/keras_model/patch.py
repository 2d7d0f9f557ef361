"""Give layers other attributes while a model is traced."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfopt.keras_model.types import AnyLayer


@contextlib.contextmanager
def replaced_attributes(replacements: Mapping[AnyLayer, Mapping[str, Any]]) -> Iterator[None]:
    """Gives layers other attributes, such as another `call`, until the `with` block ends; their names stay.

    The layers may be nested in any way. No weight is touched, and the layers have their own attributes again afterwards.

    Args:
        replacements: dict of layer -> dict of attribute -> value. A new `call` takes the arguments of the layer's own `call`
            without `self`; `type(layer).call(layer, ...)` in it computes what the layer computes.
    """
    own = {layer: {name: vars(layer)[name] for name in values if name in vars(layer)} for layer, values in replacements.items()}
    try:
        for layer, values in replacements.items():
            for name, value in values.items():
                object.__setattr__(layer, name, value)  # Keras' own __setattr__ would track the value
        yield
    finally:
        for layer, values in replacements.items():
            for name in values:
                vars(layer).pop(name, None)
            vars(layer).update(own[layer])
