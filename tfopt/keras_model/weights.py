"""Walk the weights of a Keras model of either generation."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tfopt.keras_model.describe import layer_path
from tfopt.keras_model.walk import sublayers

if TYPE_CHECKING:
    from tfopt.keras_model.types import AnyLayer, AnyModel, AnyVariable


@dataclasses.dataclass(frozen=True)
class Weight:
    """A variable of a model and the layers around it."""

    variable: AnyVariable
    layers: tuple[AnyLayer, ...]  # from the outermost to the layer that owns the variable

    @property
    def layer_name(self) -> str:
        """Names of the layers around the variable, such as `encoder/dense_1`."""
        return layer_path(self.layers)

    @property
    def kind(self) -> str:
        """The name of the variable in its layer, such as `kernel`."""
        return self.variable.name.rpartition("/")[2].partition(":")[0]

    @property
    def name(self) -> str:
        """The name of the variable in the model, such as `encoder/dense_1/kernel`."""
        return f"{self.layer_name}/{self.kind}"


def walk_weights(model: AnyModel) -> Iterator[Weight]:
    """Yields each variable of a built model once, including those of nested models, wrappers, cells and custom layers."""
    seen = set()

    def walk(layer: AnyLayer, around: tuple[AnyLayer, ...]) -> Iterator[Weight]:
        if id(layer) in seen:
            return
        seen.add(id(layer))
        children = sublayers(layer)
        inner = {id(variable) for child in children for variable in child.weights}
        for child in children:
            yield from walk(child, (*around, child))
        for variable in layer.weights:
            if id(variable) not in inner and id(variable) not in seen:
                seen.add(id(variable))
                yield Weight(variable, around or (model,))

    yield from walk(model, ())
