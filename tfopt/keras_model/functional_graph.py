"""A Functional model as a list of calls that can be made again with other layers and with further operations between them."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, TypeAlias

import keras

from tfopt import errors
from tfopt.keras_model.copy import copy_model
from tfopt.keras_model.describe import describe
from tfopt.keras_model.walk import walk_layers, walk_pairs

Tensors: TypeAlias = Any
"""A `KerasTensor`, or a list, tuple or dict of `Tensors`."""


@dataclasses.dataclass(frozen=True)
class Call:
    """One call of a layer, or of an operation such as `x + y`."""

    layer: keras.Operation  # every Keras 3 layer is one
    args: tuple[Any, ...]  # the arguments of the call, with `KerasTensor`s among them
    kwargs: Mapping[str, Any]
    outputs: Tensors

    @property
    def inputs(self) -> list[keras.KerasTensor]:
        """The tensors among the arguments."""
        return [value for value in keras.tree.flatten((self.args, self.kwargs)) if isinstance(value, keras.KerasTensor)]


class Graph:
    """The calls of a Functional or Sequential model, in order, on the layers of a copy; the model itself stays as it is.

    The model is copied as a whole, since some layers can only be made by the model around them.

    Args:
        model: a built Keras 3 model with symbolic inputs and outputs.
        consumes: whether the layers of `model` itself are taken; it must not be used any more.
        plain: the `plain` of the graph of the model around it, which makes layers of both models forget their calls; None if
            there is none.

    Attributes:
        calls: the calls, each after the calls that make its inputs.
        origins: id of a copy -> the layer of the model that was copied, also of the layers inside the layers that are called.
        output_names: of the model, in its order.
        plain: id of a model inside, at any depth -> a plain Functional model of its layers.
    """

    calls: list[Call]
    origins: dict[int, keras.Operation]
    output_names: list[str]
    plain: Mapping[int, keras.Model]

    def __init__(self, model: keras.Model, *, consumes: bool = False, plain: Mapping[int, keras.Model] | None = None) -> None:
        self.calls, self.origins = [], {}
        origin = plain[id(model)] if plain else _functional(model)
        copy = origin if consumes else _functional(copy_model(model))
        self.output_names = list(getattr(model, "output_names", origin.output_names))  # a Sequential model has none
        named = {each.name: each for each in origin.operations}
        is_named = named.keys() == {each.name for each in copy.operations}
        for new, counterpart in zip(copy.operations, origin.operations, strict=True):
            old = named[new.name] if is_named else counterpart  # a model may name its layers anew
            self.origins[id(new)] = old
            if isinstance(new, keras.layers.Layer):
                self.origins.update({id(inner): outer for outer, inner in walk_pairs(old, new)})
        names = {id(layer.output): layer.name for layer in origin.layers if isinstance(layer, keras.layers.InputLayer)}
        self._operations = [each for each in copy.operations if not isinstance(each, keras.layers.InputLayer)]
        self.plain = plain or _plain_models(self._operations)
        _forget_calls(self._operations)
        self._model = keras.models.clone_model(copy, clone_function=lambda layer: layer, call_function=self._record)
        self._input_names = {id(new): names[id(old)] for new, old in zip(self._model.inputs, origin.inputs, strict=True)}
        self._consumers: dict[int, list[Call]] = {}
        for call in self.calls:
            for tensor in call.inputs:
                self._consumers.setdefault(id(tensor), []).append(call)
        self._ends = {id(tensor) for tensor in self._model.outputs}

    def sole_consumer(self, tensor: keras.KerasTensor, transparent: Collection[str] = ()) -> Call | None:
        """The only call that takes a tensor, or None if several calls take it or if it is an output of the model.

        Args:
            tensor: an input or output of one of the calls.
            transparent: names of layer classes. If the only call is of such a layer, the question is asked of its output.
        """
        consumers = self._consumers.get(id(tensor), [])
        if len(consumers) != 1 or id(tensor) in self._ends:
            return None
        if type(consumers[0].layer).__name__ in transparent:
            return self.sole_consumer(consumers[0].outputs, transparent)
        return consumers[0]

    def replay(
        self,
        make: Callable[[keras.Operation], keras.Operation | None],
        *,
        begin: Callable[[keras.KerasTensor, str], keras.KerasTensor] = lambda tensor, name: tensor,
        call: Callable[[Call, keras.Operation, tuple[Any, ...], dict[str, Any]], Tensors] | None = None,
        around: Callable[[Call], contextlib.AbstractContextManager[Any]] | None = None,
        model_class: type[keras.Model] = keras.Model,
        makes_anew: bool = False,
    ) -> keras.Model:
        """Makes all calls again, once: the new model gets the copied layers.

        Args:
            make: function of a copied layer that returns the layer to call in its place, or None to call the copied layer itself.
                It is called once for each layer.
            begin: function of a new input tensor and its name that returns the tensor to compute with.
            call: function of a `Call`, the layer to call, and the new arguments, that makes the call and returns its outputs.
            around: function of a `Call` that returns the context in which its layer is made and called.
            model_class: class of the new model.
            makes_anew: whether layers for which `make` returns None are made again from their own configuration, inside `around`,
                as their variables belong there.

        Returns:
            A new model with the same name, inputs and outputs.
        """
        made: dict[int, keras.Operation] = {}
        copied: list[tuple[keras.Operation, keras.Operation]] = []  # copies that `make` left to this method, and their origins
        tensors: dict[int, keras.KerasTensor] = {}

        def fresh(tensor: keras.KerasTensor) -> keras.KerasTensor:
            name = self._input_names[id(tensor)]
            new = keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=name)
            tensors[id(tensor)] = begin(new, name)
            return new

        def layer_for(layer: keras.Operation) -> keras.Operation:
            if id(layer) not in made:
                own = make(layer)
                if own is None and makes_anew:
                    own = _copy_of(layer)
                    copied.append((own, layer))
                elif own is None:
                    own = layer
                made[id(layer)] = own
            return made[id(layer)]

        _forget_calls(self._operations)
        inputs = keras.tree.map_structure(fresh, self._model.input)
        for each in self.calls:
            with around(each) if around else contextlib.nullcontext():
                layer = layer_for(each.layer)
                args, kwargs = keras.tree.map_structure(lambda value: tensors.get(id(value), value), (each.args, each.kwargs))
                outputs = call(each, layer, args, kwargs) if call else layer(*args, **kwargs)
            for old, new in zip(keras.tree.flatten(each.outputs), keras.tree.flatten(outputs), strict=True):
                tensors[id(old)] = new
        for layer, origin in copied:
            _take_state(layer, origin)
        outputs = keras.tree.map_structure(lambda tensor: tensors[id(tensor)], self._model.output)
        return model_class(inputs, outputs, name=self._model.name)

    def _record(self, layer: keras.Operation, *args: Any, **kwargs: Any) -> Tensors:
        outputs = layer(*args, **kwargs)
        self.calls.append(Call(layer, args, kwargs, outputs))
        return outputs


def _functional(model: keras.Model) -> keras.Model:
    """A plain Functional model of the same layers, which lists its operations."""
    ends = (model.inputs[0], model.outputs[0]) if isinstance(model, keras.Sequential) else (model.input, model.output)
    return keras.Model(*ends, name=model.name)


def _plain_models(operations: Iterable[keras.Operation]) -> dict[int, keras.Model]:
    """`Graph.plain` of the models among these operations, while their calls are known."""
    found: dict[int, keras.Model] = {}
    for model in filter(is_functional, operations):
        found[id(model)] = _functional(model)
        found.update(_plain_models(found[id(model)].operations))
    return found


def _forget_calls(operations: Iterable[keras.Operation]) -> None:
    """Makes layers of this module's own as if they had not been called, but built: their next call is the one that Keras shows."""
    for operation in operations:  # there is no public way (Keras 3.15); the layers belong to no model of the caller's
        operation._inbound_nodes.clear()
        operation._outbound_nodes.clear()


def is_functional(layer: keras.Operation) -> bool:
    """Whether a layer is a model whose calls can be listed: a Functional model, or a built Sequential one."""
    if not isinstance(layer, keras.Model) or not getattr(layer, "inputs", None):
        return False
    return isinstance(layer, keras.Sequential) or bool(getattr(layer, "operations", None))


def _copy_of(layer: keras.Operation) -> keras.Operation:
    """A layer or operation made from the configuration of another one. It has no weights yet: see `_take_state`."""
    try:
        return keras.models.clone_model(layer) if is_functional(layer) else type(layer).from_config(layer.get_config())
    except (NotImplementedError, TypeError, ValueError) as error:
        raise errors.ArgumentError(
            "each layer must be one that Keras can make again from its configuration: the caller's own classes need `get_config`. "
            f"Received: {describe(layer)}: {(str(error).strip().splitlines() or [type(error).__name__])[0]}"
        ) from error


def _take_state(copy: keras.Operation, origin: keras.Operation) -> None:
    if not isinstance(origin, keras.layers.Layer):
        return
    copy.set_weights(origin.get_weights())
    for new, old in zip((copy, *walk_layers(copy)), (origin, *walk_layers(origin)), strict=True):
        new.trainable = old.trainable
