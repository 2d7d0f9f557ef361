"""`split()`: a Functional model cut into three, so that the part in the middle can ship as int8."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tfopt.errors import ArgumentError
from tfopt.keras_model.describe import describe
from tfopt.keras_model.kinds import is_keras_2
from tfopt.keras_model.requirements import require_built

if TYPE_CHECKING:
    from tfopt.keras_model.types import AnyLayer, AnyModel


def split(model: AnyModel, at: tuple[str | None, str | None]) -> tuple[AnyModel | None, AnyModel, AnyModel | None]:
    """Cuts a model after one layer and before another one: `after(body(before(x)))` computes what `model(x)` does.

    TFLite has no operation for some layers that models begin or end with, such as lookups of strings and non-maximum suppression.
    The body between them converts to int8, and the program around the file computes the rest.

    Example:

    ```python
    image = keras.Input((8, 8, 1))
    hidden = keras.layers.Conv2D(4, 3, name="features")(keras.layers.Rescaling(2.0, name="scale")(image))
    detector = keras.Model(image, keras.layers.Softmax(name="classes")(keras.layers.Flatten(name="flat")(hidden)))
    before, body, after = tfopt.split(detector, at=("scale", "classes"))
    result = tfopt.convert(body, representative_data=before.predict(x_train, verbose=0))
    ```

    Args:
        model: a built Functional or Sequential model of either Keras generation. It is untouched, and the parts share its layers.
        at: (name of the last layer of `before`, name of the first layer of `after`); None in place of a name cuts nothing off
            there.

    Returns:
        (before, body, after): models, not compiled. `before` returns the outputs of its last layer, and `after` takes the inputs
        of its first layer, in that layer's order. None in place of a part that was not cut off.

    Raises:
        ArgumentError: the model is not Functional; there is no such layer, or it is called several times; or a part needs a
            tensor of another part besides the outputs of the named layer.
    """
    require_built(model)
    if not (
        isinstance(at, tuple | list) and len(at) == 2 and any(at) and all(name is None or isinstance(name, str) for name in at)
    ):
        raise ArgumentError(
            "`at` must be a pair of names of layers: the last one before the body and the first one after it, either of them "
            f"None. Received: at={at!r}."
        )
    if not getattr(model, "inputs", None) or not getattr(model, "outputs", None):
        raise ArgumentError(
            f"The model must be Functional or Sequential, so that it can be cut. Received: {describe(model)}. Call its layers one "
            "after the other instead."
        )
    last, first = at
    starts = _tensors(model, last, "output") if last else list(model.inputs)
    ends = _tensors(model, first, "input") if first else list(model.outputs)
    before = _part(model, model.inputs, starts, f"{model.name}_before") if last else None
    after = _part(model, ends, model.outputs, f"{model.name}_after") if first else None
    return before, _part(model, starts, ends, f"{model.name}_body"), after


def _tensors(model: AnyModel, name: str, side: str) -> list[Any]:
    """The inputs or the outputs of the only call of a layer."""
    layers: dict[str, AnyLayer] = {layer.name: layer for layer in model.layers}
    if name not in layers:
        raise ArgumentError(f"`at` must name layers of {describe(model)}. Received: {name!r}. There are: {', '.join(layers)}.")
    try:
        found = getattr(layers[name], side)
    except (AttributeError, ValueError) as error:
        raise ArgumentError(
            f"`at` must name layers that are called once. Received: {describe(layers[name])}: {str(error).splitlines()[0]}"
        ) from error
    return list(found) if isinstance(found, Sequence) else [found]


def _part(model: AnyModel, inputs: Sequence[Any], outputs: Sequence[Any], name: str) -> AnyModel:
    keras = sys.modules["tf_keras" if is_keras_2(model) else "keras"]
    try:
        return keras.Model(_one(inputs), _one(outputs), name=name)
    except ValueError as error:
        raise ArgumentError(
            f"Only the outputs of the named layer may pass from one part to the next. Received: {describe(model)}, whose part "
            f"{name!r} needs another tensor, as a skip connection does. Cut the model where one layer's outputs are all that is "
            f"needed. ({str(error).splitlines()[0][:200]})"
        ) from error


def _one(tensors: Sequence[Any]) -> Any:
    return tensors[0] if len(tensors) == 1 else list(tensors)
