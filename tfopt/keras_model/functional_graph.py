"""A Functional model as a list of calls, which can be made again with other layers and with more between them."""

import contextlib
import dataclasses

import keras

from tfopt import errors
from tfopt.keras_model.describe import describe
from tfopt.keras_model.walk import walk_layers


@dataclasses.dataclass(frozen=True)
class Call:
    """One call of a layer, or of an operation such as `x + y`.

    Attributes:
        layer: Keras 3 layer or operation.
        args, kwargs: what it was called with, `KerasTensor`s among it.
        outputs: `KerasTensor` or a structure of them.
    """

    layer: object
    args: tuple
    kwargs: dict
    outputs: object

    @property
    def inputs(self):
        """The tensors among the arguments, as a list."""
        return [value for value in keras.tree.flatten((self.args, self.kwargs)) if isinstance(value, keras.KerasTensor)]


class Graph:
    """Calls of a Functional or Sequential model, in order, on copies of its layers; the model itself is not touched.

    Args:
        model: built Keras 3 model with symbolic inputs and outputs.

    Attributes:
        calls: list of `Call`.
        origins: dict of id of a copy -> the layer that it is a copy of.
    """

    def __init__(self, model):
        self.calls, self.origins, self._copies = [], {}, {}
        ends = (model.inputs[0], model.outputs[0]) if isinstance(model, keras.Sequential) else (model.input, model.output)
        functional = keras.Model(*ends, name=model.name)
        names = {id(layer.output): layer.name for layer in functional.layers if isinstance(layer, keras.layers.InputLayer)}
        self._model = keras.models.clone_model(functional, clone_function=self._copy, call_function=self._record)
        self._input_names = {id(new): names[id(old)] for new, old in zip(self._model.inputs, functional.inputs, strict=True)}
        for copy in self._copies.values():
            _take_state(copy, self.origins[id(copy)])
        self._consumers = {}
        for call in self.calls:
            for tensor in call.inputs:
                self._consumers.setdefault(id(tensor), []).append(call)
        self._ends = {id(tensor) for tensor in self._model.outputs}

    def sole_consumer(self, tensor, transparent=()):
        """The one call that takes `tensor`, beyond layers of the `transparent` classes; None if several do or it is an output."""
        consumers = self._consumers.get(id(tensor), [])
        if len(consumers) != 1 or id(tensor) in self._ends:
            return None
        if type(consumers[0].layer).__name__ in transparent:
            return self.sole_consumer(consumers[0].outputs, transparent)
        return consumers[0]

    def replay(self, make, *, begin=lambda tensor, name: tensor, call=None, around=None, model_class=keras.Model):
        """Makes all calls again.

        Args:
            make: function from a layer copy to the layer to be called in its place, or None for one like it; asked once for each.
            begin: function of (new input tensor, its name) that returns what is computed with.
            call: function of (`Call`, layer, args, kwargs) that makes the call and returns its outputs.
            around: function of `Call` that returns the context in which its layer is made and called.
            model_class: class of the new model.

        Returns:
            A new model of the same name, inputs and outputs.
        """
        model, made, again, tensors = self._model, {}, [], {}

        def fresh(tensor):
            name = self._input_names[id(tensor)]
            new = keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=name)
            tensors[id(tensor)] = begin(new, name)
            return new

        inputs = keras.tree.map_structure(fresh, model.input)
        for each in self.calls:
            with around(each) if around else contextlib.nullcontext():
                if id(each.layer) not in made:
                    made[id(each.layer)] = make(each.layer)
                    if made[id(each.layer)] is None:
                        made[id(each.layer)] = _again(each.layer)
                        again.append((made[id(each.layer)], each.layer))
                args, kwargs = keras.tree.map_structure(lambda value: tensors.get(id(value), value), (each.args, each.kwargs))
                layer = made[id(each.layer)]
                outputs = call(each, layer, args, kwargs) if call else layer(*args, **kwargs)
            for old, new in zip(keras.tree.flatten(each.outputs), keras.tree.flatten(outputs), strict=True):
                tensors[id(old)] = new
        for layer, origin in again:
            _take_state(layer, origin)
        outputs = keras.tree.map_structure(lambda tensor: tensors[id(tensor)], model.output)
        return model_class(inputs, outputs, name=model.name)

    def _copy(self, layer):
        if id(layer) not in self._copies:
            copy = _again(layer)
            self._copies[id(layer)], self.origins[id(copy)] = copy, layer
        return self._copies[id(layer)]

    def _record(self, layer, *args, **kwargs):
        outputs = layer(*args, **kwargs)
        self.calls.append(Call(layer, args, kwargs, outputs))
        return outputs


def is_functional(layer):
    """Whether `layer` is a model whose calls can be listed: Functional, or Sequential and built."""
    if not isinstance(layer, keras.Model) or not getattr(layer, "inputs", None):
        return False
    return isinstance(layer, keras.Sequential) or bool(getattr(layer, "operations", None))


def _again(layer):
    """A layer or operation made from the configuration of another; its weights too, once it has any."""
    try:
        copy = keras.models.clone_model(layer) if is_functional(layer) else type(layer).from_config(layer.get_config())
    except (NotImplementedError, TypeError, ValueError) as error:
        raise errors.ArgumentError(
            "each layer must be one that its configuration can make again: its own classes need `get_config`. Received: "
            f"{describe(layer)}: {(str(error).strip().splitlines() or [type(error).__name__])[0]}"
        ) from error
    return copy


def _take_state(copy, origin):
    if not isinstance(origin, keras.layers.Layer):
        return
    copy.set_weights(origin.get_weights())
    for new, old in zip((copy, *walk_layers(copy)), (origin, *walk_layers(origin)), strict=True):
        new.trainable = old.trainable
