"""Walk the weights of a Keras model of either generation."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tfopt.keras_model.walk import Place, inner_layers, walk

if TYPE_CHECKING:
    from tfopt.keras_model.types import AnyLayer, AnyModel, AnyVariable


@dataclasses.dataclass(frozen=True)
class Weight:
    """A variable of a model and the place of the layer that owns it."""

    variable: AnyVariable
    place: Place

    @property
    def layers(self) -> tuple[AnyLayer, ...]:
        """The layers around the variable, from the outermost to the one that owns it."""
        return self.place.layers

    @property
    def layer_name(self) -> str:
        """Names of the layers around the variable, such as `encoder/dense_1`."""
        return self.place.path

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
    seen: set[int] = set()

    def own(layer: AnyLayer) -> Iterator[AnyVariable]:
        inner = {id(variable) for child in inner_layers(layer) for variable in child.weights}
        for variable in layer.weights:
            if id(variable) not in inner and id(variable) not in seen:
                seen.add(id(variable))
                yield variable

    for place in walk(model):
        for variable in own(place.layer):
            yield Weight(variable, place)
    for variable in own(model):
        yield Weight(variable, Place(model, model.name))
