"""Which tensors are rounded: the outputs of the operations of the int8 file, found on the graph of the model."""

from __future__ import annotations

import collections
import dataclasses
import fnmatch
import inspect
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, TypedDict, cast

import keras

from tfopt.errors import ArgumentError
from tfopt.keras_model.copy import from_configuration
from tfopt.keras_model.describe import describe
from tfopt.keras_model.functional_graph import Call, Graph, is_functional
from tfopt.keras_model.walk import walk_layers
from tfopt.quantization import weights
from tfopt.quantization.fake_quantize import FakeQuantize
from tfopt.quantization.frozen import FrozenBatchNormalization, with_class
from tfopt.quantization.inside.decompositions import exact_slope
from tfopt.quantization.inside.places import leaves
from tfopt.quantization.inside.simulation import rounds_inside
from tfopt.quantization.layer_kinds import (
    DROPPED,
    fixed_range,
    is_composite,
    is_computed_with,
    keeps_scale,
    leaky_slope,
    require_floats,
    rounds_as_before,
)
from tfopt.quantization.quantized_model import QuantizedModel, Recipe
from tfopt.quantization.wrapper import QuantizeWrapper

if TYPE_CHECKING:
    from tfopt.quantization.fake_quantize import Range, RangeRule
    from tfopt.quantization.inside.simulation import Tensors


class Options(TypedDict):
    """Arguments that each `QuantizeWrapper` of a model gets: see there."""

    weight_bits: int
    activation_bits: int
    ranges: RangeRule


class Placement:
    """Turns a model into one that rounds: see `rebuild`.

    Args:
        options: arguments of each `QuantizeWrapper`.
        left_out: ids of the layers of the model that stay float.
        freeze_batch_normalization: whether BatchNormalization keeps its statistics.
        limits: glob of a quantizer's name, or its number in the order in which they are made -> the range that it keeps.

    Attributes:
        names: the names of the quantizers that were made.
        limited: number of a quantizer -> the range that it keeps by `limits`.
    """

    def __init__(
        self,
        options: Options,
        left_out: Collection[int],
        freeze_batch_normalization: bool,
        limits: Mapping[str, Range] | Mapping[int, Range],
    ) -> None:
        self._options, self._left_out, self._freeze = options, left_out, freeze_batch_normalization
        self._limits = limits
        self._weights: dict[int, keras.Variable] = {}  # id of a weight of the model -> the weight that has taken its place
        self.names: list[str] = []
        self.limited: dict[int, Range] = {}

    def _limit(self, name: str, fixed: Range | None) -> Range | None:
        """The range that a quantizer keeps: a limit, else `fixed`."""
        number = len(self.names)
        self.names.append(name)
        for key, ends in self._limits.items():
            if key == number or (isinstance(key, str) and fnmatch.fnmatchcase(name, key)):
                self.limited[number] = ends
                return ends
        return fixed

    def transform(self, model: keras.Model) -> tuple[keras.Model, list[keras.Variable | None]]:
        """A model that rounds, made of the layers of `model`, which must not be used any more.

        Args:
            model: any built Keras 3 model. A subclassed one becomes one layer.

        Returns:
            The new model, and its weight for each weight of `model`; None where no call of `model` uses it.
        """
        weights_before = list(model.weights)
        made = self.rebuild(model if is_functional(model) else _as_functional(model))
        return made, [self._weights.get(id(weight)) for weight in weights_before]

    def rebuild(self, model: keras.Model, around: Graph | None = None) -> keras.Model:
        """The same for a Functional or Sequential model.

        Args:
            model: a Functional or Sequential model.
            around: the graph of the model around it, which rounds its inputs; None for the outermost model.
        """
        is_outermost = around is None
        graph = Graph(model, consumes=True, plain=around.plain if around else None)
        numbers = collections.Counter[str]()
        folded = _folded(graph)
        quantizers: dict[str, FakeQuantize] = {}  # by name
        rounded: dict[int, str] = {}  # id of a rounded tensor -> name of the layer that rounded it, "" if it is in another model

        def begin(tensor: keras.KerasTensor, name: str) -> keras.KerasTensor:
            if is_outermost and "float" in tensor.dtype:
                quantizers[f"{name}_quantize"] = self._quantizer(f"{name}_quantize", None, is_input=True)
                tensor = quantizers[f"{name}_quantize"](tensor)
            rounded[id(tensor)] = f"{name}_quantize" if is_outermost else ""
            return tensor

        def make(layer: keras.Operation) -> keras.Operation | None:
            if is_functional(layer):
                return self.rebuild(layer, graph)
            if self._freeze and type(layer) is keras.layers.BatchNormalization:
                frozen = with_class(FrozenBatchNormalization, layer)
                self._weights.update({id(old): new for old, new in zip(layer.weights, frozen.weights, strict=True)})
                stands_alone = id(layer) not in folded and not self._is_left_out(layer)
                return QuantizeWrapper(frozen, **self._options) if stands_alone else frozen
            slope = leaky_slope(layer)
            if slope is not None and not isinstance(layer, keras.layers.Layer):  # a call of `keras.ops.leaky_relu`
                return None if self._is_left_out(layer) else type(layer)(exact_slope(slope), name=layer.name)
            self._weights.update((id(weight), weight) for weight in getattr(layer, "weights", ()))
            if self._is_left_out(layer) or id(layer) in folded or not needs_wrapper(layer):
                return None
            inside = dict(leaves(layer)) if is_composite(layer) else {}
            left_out = [path for path, leaf in inside.items() if id(leaf) in self._left_out]
            return QuantizeWrapper(layer, left_out=left_out, **self._options)

        def call(each: Call, layer: keras.Operation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensors:
            done = isinstance(layer, keras.Model)
            flat = keras.tree.flatten((args, kwargs))
            sources = [rounded.get(id(value)) for value in flat if _is_float_tensor(value)]
            if not sources and not self._is_left_out(each.layer):
                require_floats(each.layer, flat)
            if isinstance(layer, QuantizeWrapper):
                args, kwargs = _without_constants(layer, args, kwargs)
                flat = keras.tree.flatten((args, kwargs))
                if not layer.quantizers:
                    unrounded = [index for index, value in enumerate(flat) if _is_float_tensor(value) and id(value) not in rounded]
                    layer.unrounded = tuple(unrounded)
                    layer.find_quantizers(args, kwargs, self._limit)
                done = layer.rounds_outputs
            outputs = layer(*args, **kwargs)
            if done or (keeps_scale(each.layer) and sources and None not in sources):
                source = "" if done else sources[0] or ""
                rounded.update((id(tensor), source) for tensor in keras.tree.flatten(outputs))
                return outputs
            if self._is_left_out(each.layer):
                return outputs
            following = []
            for tensor, old in zip(keras.tree.flatten(outputs), keras.tree.flatten(each.outputs), strict=True):
                if _is_float_tensor(tensor) and not is_fused(graph, each.layer, old):
                    if rounds_as_before(each.layer) and sources[0]:
                        quantizer, options = quantizers[sources[0]], {"observe": False}  # an average moves no range
                    else:
                        quantizer, options = self._after(each.layer, numbers), {}
                        quantizers[quantizer.name] = quantizer
                    tensor = quantizer(tensor, **options)
                    rounded[id(tensor)] = quantizer.name
                following.append(tensor)
            return keras.tree.pack_sequence_as(outputs, following)

        rebuilt = graph.replay(make, begin=begin, call=call, model_class=QuantizedModel)
        rebuilt.output_names = graph.output_names
        return rebuilt

    def _is_left_out(self, layer: keras.Operation) -> bool:
        """Whether a layer stays float; one that is made of others does if all of them do."""
        inside = [leaf for _, leaf in leaves(layer)] if isinstance(layer, keras.layers.Layer) and is_composite(layer) else []
        return all(id(leaf) in self._left_out for leaf in inside or (layer,))

    def _after(self, layer: keras.Operation, numbers: collections.Counter[str]) -> FakeQuantize:
        """A quantizer for an output of `layer`; `numbers` counts the quantizers of a name."""
        name = f"{layer.name}_quantize"
        numbers[name] += 1
        return self._quantizer(f"{name}_{numbers[name]}" if numbers[name] > 1 else name, fixed_range(layer))

    def _quantizer(self, name: str, fixed: Range | None, *, is_input: bool = False) -> FakeQuantize:
        ranges = self._limit(name, fixed) or self._options["ranges"]
        return FakeQuantize(self._options["activation_bits"], ranges, is_input=is_input, name=name)


def remake(recipe: Recipe, objects: Mapping[str, Any] | None = None) -> keras.Model:
    """The quantization-aware model that a recipe describes, with new weights.

    Args:
        recipe: as it was saved.
        objects: classes and functions of the plain model by name, beside those that Keras knows.
    """
    model = from_configuration(recipe.model, objects)
    left_out = {id(layer) for number, layer in enumerate(walk_layers(model)) if number in recipe.left_out}
    options = dict(recipe.options)
    freezes = options.pop("freeze_batch_normalization")
    placement = Placement(cast(Options, options), left_out, freezes, recipe.limits)
    made, sources = placement.transform(model)
    made.recipe = dataclasses.replace(recipe, sources=sources, objects=dict(objects or {}))
    return made


def _without_constants(
    wrapper: QuantizeWrapper, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a call that are tensors; the wrapper keeps the others, if there are both."""

    def is_constant(value: object) -> bool:
        return not any(isinstance(each, keras.KerasTensor) for each in keras.tree.flatten(value))

    if not any(map(is_constant, args)) and not any(is_constant(value) for name, value in kwargs.items() if name != "training"):
        return args, kwargs
    names = list(inspect.signature(wrapper.layer.call).parameters)
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    first = names[0]
    constants = {name: value for name, value in given.items() if name != first and name != "training" and is_constant(value)}
    if wrapper.constants and wrapper.constants != constants:
        raise ArgumentError(
            "A layer that is called several times must get the same arguments beside tensors. Received: "
            f"{describe(wrapper.layer)} with {wrapper.constants} and with {constants}. Leave it out with "
            f"exclude={wrapper.layer.name!r}."
        )
    wrapper.constants = constants
    return (given[first],), {name: value for name, value in given.items() if name != first and name not in constants}


def is_fused(graph: Graph, layer: keras.Operation, tensor: keras.KerasTensor) -> bool:
    """Whether the file computes the consumer of `tensor` together with `layer`, whose output `tensor` is."""
    following = graph.sole_consumer(tensor, DROPPED)
    if following is None:
        return False
    if type(following.layer).__name__ == "Concatenate" and isinstance(following.layer, keras.layers.Layer):
        return fixed_range(layer) is None  # it rounds all tensors that it joins
    return is_computed_with(layer, following.layer, len(tensor.shape))


def _folded(graph: Graph) -> set[int]:
    """Ids of the BatchNormalization layers that the converter multiplies into the weights of the layer before them."""
    outputs = [(each.layer, each.outputs) for each in graph.calls if isinstance(each.outputs, keras.KerasTensor)]
    following = [graph.sole_consumer(tensor, DROPPED) for layer, tensor in outputs if is_fused(graph, layer, tensor)]
    return {id(each.layer) for each in following if each and isinstance(each.layer, keras.layers.BatchNormalization)}


def needs_wrapper(layer: keras.Operation) -> bool:
    """Whether a layer has weights to be rounded, or tensors inside to be rounded."""
    if not isinstance(layer, keras.layers.Layer):
        return False
    if any(isinstance(grid, weights.Grid) for _, grid in weights.grids(layer)):
        return True
    return is_composite(layer) or rounds_inside(layer)


def _is_float_tensor(value: object) -> bool:
    return isinstance(value, keras.KerasTensor) and "float" in value.dtype


def _as_functional(model: keras.Model) -> keras.Model:
    """A Functional model whose only layer is the subclassed `model`."""
    shapes = (model.get_build_config() or {}).get("input_shape")
    try:
        inputs = keras.tree.map_shape_structure(lambda shape: keras.Input(batch_shape=(None, *shape[1:])), shapes)
        return keras.Model(inputs, model(inputs), name=model.name)
    except (TypeError, ValueError) as error:
        raise ArgumentError(
            "A subclassed model must run on one argument of known shape. Received: "
            f"{describe(model)}, input shape {shapes}: {(str(error).strip().splitlines() or [''])[0]}. "
            "Call it on a batch first, or make a Functional model around it."
        ) from error
