"""Walk the layers and the operations of a Keras model of either generation."""

from __future__ import annotations

import collections
import dataclasses
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras

    from tfopt.keras_model.types import AnyLayer, AnyModel

    _Classes = tuple[type[Any], ...]

# Attributes in which Keras itself lists the layers of a layer or model again, in an order of its own or as a copy (Keras 3.15,
# tf-keras 2.21; those that begin with `_self_` are of TensorFlow's checkpoints). They are left out; nothing else is read from them.
# Each is named in full: a layer of the user's may well be called `_self_attention`.
_BOOKKEEPING = {
    "_functional", "_inbound_nodes", "_inbound_nodes_value", "_input_coordinates", "_input_layers", "_layers", "_metrics", "_nodes",
    "_nodes_by_depth", "_operations", "_operations_by_depth", "_outbound_nodes", "_outbound_nodes_value", "_output_coordinates",
    "_output_layers", "_self_extra_variables", "_self_name_based_restores", "_self_saveable_object_factories",
    "_self_tracked_trackables", "_self_unconditional_checkpoint_dependencies", "_self_unconditional_deferred_dependencies",
    "_self_unconditional_dependency_names", "_tracked",
}  # fmt: skip


@dataclasses.dataclass(frozen=True, eq=False)
class Place:
    """Where a layer hangs in a model.

    Attributes:
        layer: the layer.
        path: the names of the layers around it and its own, such as `encoder/block_0/att`. Where layers that hang side by side have
            the same name, the attributes that hold them tell them apart. A wrapper with the name of its layer counts once.
        parent: the place of the layer around it; None if it hangs in the model itself.
    """

    layer: AnyLayer
    path: str
    parent: Place | None = None

    @property
    def chain(self) -> tuple[Place, ...]:
        """This place and the places around it, outermost first."""
        return (*(self.parent.chain if self.parent else ()), self)

    @property
    def layers(self) -> tuple[AnyLayer, ...]:
        """The layer and the layers around it, outermost first."""
        return tuple(place.layer for place in self.chain)


def walk(model: AnyModel | AnyLayer) -> Iterator[Place]:
    """Yields the place of each layer in a model or layer once, depth first.

    Layers are found in nested models, wrappers, cells, and the attributes of any layer, also in lists, tuples, sets, and dicts
    there. A layer that hangs in several places has the first place of those next to the model.

    Example:

    ```python
    for place in walk(model):
        print(place.path, type(place.layer).__name__)
    ```

    Args:
        model: of either Keras generation, or one of its layers; it is not among the places.
    """
    seen = {id(model)}

    def inside(layer: AnyLayer, place: Place | None) -> Iterator[Place]:
        around = ""
        children = {key: child for key, child in _held(layer).items() if id(child) not in seen}
        seen.update(id(child) for child in children.values())  # before going deeper, where one of them may be held again
        names = collections.Counter(child.name for child in children.values())
        for key, child in children.items():
            if place is not None:
                is_wrapped = layer.name == child.name and getattr(layer, "layer", None) is child
                around = place.path.rpartition("/")[0] if is_wrapped else place.path
            name = child.name if names[child.name] == 1 else key
            found = Place(child, f"{around}/{name}" if around else name, place)
            yield found
            yield from inside(child, found)

    yield from inside(model, None)


def walk_layers(model: AnyModel | AnyLayer) -> Iterator[AnyLayer]:
    """Yields each layer in a model or layer once, in the order of `walk`."""
    for place in walk(model):
        yield place.layer


def walk_operations(model: AnyModel) -> Iterator[keras.Operation]:
    """Yields each operation that a Functional Keras 3 model computes outside its layers, such as `keras.ops.add`, once."""
    import keras

    for each in (model, *walk_layers(model)):
        if not isinstance(each, keras.Model):
            continue
        operations = getattr(each, "operations", ())
        if isinstance(each, keras.Sequential) and getattr(each, "built", False) and each.inputs:
            operations = keras.Function(each.inputs, each.outputs).operations  # a Sequential model does not show its own
        for operation in operations:
            if not hasattr(operation, "weights"):
                yield operation


def inner_layers(layer: AnyLayer) -> list[AnyLayer]:
    """The layers that a layer or model holds itself, not those that they hold, each once, in the order of `walk`."""
    return list(_held(layer).values())


def walk_pairs(one: AnyLayer, other: AnyLayer) -> Iterator[tuple[AnyLayer, AnyLayer]]:
    """Yields the layers of two models that hang in the same place, depth first, each once, and first the two models themselves.

    Args:
        one: a model or layer.
        other: its copy. Its layers may have other names; a layer that only one of the two holds has no pair.
    """
    seen: set[int] = set()

    def inside(left: AnyLayer, right: AnyLayer) -> Iterator[tuple[AnyLayer, AnyLayer]]:
        if id(left) in seen or type(left) is not type(right):
            return
        seen.add(id(left))
        yield left, right
        held = _held(right)
        for key, child in _held(left).items():
            if key in held:
                yield from inside(child, held[key])

    yield from inside(one, other)


def short_names(model: AnyModel) -> dict[int, str]:
    """The id of each layer of a model -> its name, or its path if another layer of the model has the same name."""
    places = list(walk(model))
    names = collections.Counter(place.layer.name for place in places)
    return {id(place.layer): place.layer.name if names[place.layer.name] == 1 else place.path for place in places}


def _held(layer: AnyLayer) -> dict[str, AnyLayer]:
    """Attribute, such as `blocks_0`, -> layer that it holds. The layers of a model come first, in the model's own order."""
    layer_kinds, model_kinds, other_kinds, two_way = _kinds()
    found: dict[int, tuple[str, AnyLayer]] = {}
    containers: set[int] = set()

    def look(key: str, value: Any) -> None:
        if isinstance(value, layer_kinds) and not isinstance(value, other_kinds):
            found.setdefault(id(value), (key, value))
        elif isinstance(value, list | tuple | set | frozenset | dict) and id(value) not in containers:
            containers.add(id(value))
            if isinstance(value, dict):
                pairs = list(value.items())
            elif isinstance(value, set | frozenset):
                pairs = list(enumerate(sorted(value, key=lambda each: str(getattr(each, "name", "")))))
            else:
                pairs = list(enumerate(value))
            for inner_key, each in pairs:
                look(f"{key}_{inner_key}", each)

    for key, value in vars(layer).items():  # Keras has no public list of the layers in a layer
        # The Bidirectional layer of Keras 2 runs two copies of its `layer`, which it keeps and does not run.
        if key not in _BOOKKEEPING and not (key == "layer" and isinstance(layer, two_way)):
            look(key.lstrip("_"), value)
    own: dict[int, tuple[str, AnyLayer]] = {}
    if isinstance(layer, model_kinds):
        for index, each in enumerate(layer.layers):
            own[id(each)] = found.get(id(each), (f"layers_{index}", each))
    held = {**own, **found}
    held.pop(id(layer), None)
    return dict(held.values())


def _kinds() -> tuple[_Classes, _Classes, _Classes, _Classes]:
    """(layers, models, what Keras derives from a layer though it is none, Bidirectional of Keras 2), of the packages in use."""
    loaded = [sys.modules[name] for name in ("keras", "tf_keras") if name in sys.modules]
    second = [each for each in loaded if each.__name__ == "tf_keras"]
    return (
        tuple(each.layers.Layer for each in loaded),
        tuple(each.Model for each in loaded),
        tuple(each.metrics.Metric for each in second),
        tuple(each.layers.Bidirectional for each in second),
    )
