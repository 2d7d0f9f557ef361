"""Which tensors are rounded: the outputs of the operations of the int8 file, found on the graph of the model."""

from __future__ import annotations

import collections
import fnmatch
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypedDict

import keras

from tfopt.keras_model.functional_graph import Call, Graph, is_functional
from tfopt.quantization import weights
from tfopt.quantization.fake_quantize import FakeQuantize
from tfopt.quantization.frozen import FrozenBatchNormalization, with_class
from tfopt.quantization.layer_kinds import (
    DROPPED,
    fixed_range,
    has_activation,
    is_composite,
    is_fused_activation,
    keeps_scale,
    rounds_as_before,
)
from tfopt.quantization.quantized_model import QuantizedModel
from tfopt.quantization.simulation import rounds_inside
from tfopt.quantization.wrapper import QuantizeWrapper

if TYPE_CHECKING:
    from tfopt.quantization.fake_quantize import Range, RangeRule
    from tfopt.quantization.simulation import Tensors

# The converter multiplies a BatchNormalization into the weights of these layers.
_FOLDING = {
    "Conv1D", "Conv2D", "Conv3D", "Conv1DTranspose", "Conv2DTranspose", "Dense", "DepthwiseConv1D", "DepthwiseConv2D",
    "EinsumDense", "SeparableConv1D", "SeparableConv2D",
}  # fmt: skip
# The file computes a ReLU together with these layers.
_CLAMPING = _FOLDING | {"Add", "BatchNormalization", "Multiply", "Subtract"}


class Options(TypedDict):
    """Arguments that each `QuantizeWrapper` of a model gets: see there."""

    weight_bits: int
    activation_bits: int
    ranges: RangeRule


class Placement:
    """Turns a model into one that rounds: see `rebuild`.

    Args:
        options: arguments of each `QuantizeWrapper`.
        is_excluded: whether a layer of the caller's model stays float.
        freeze_batch_normalization: whether BatchNormalization keeps its statistics.
        limits: glob of a quantizer's name -> the range that it keeps.

    Attributes:
        names: the names of the quantizers that were made.
    """

    def __init__(
        self,
        options: Options,
        is_excluded: Callable[[keras.Operation], bool],
        freeze_batch_normalization: bool,
        limits: Mapping[str, Range],
    ) -> None:
        self._options, self._is_excluded, self._freeze = options, is_excluded, freeze_batch_normalization
        self._limits = limits
        self.names: list[str] = []

    def _limit(self, name: str, fixed: Range | None) -> Range | None:
        """The range that a quantizer keeps: a limit, else `fixed`."""
        self.names.append(name)
        return next((ends for pattern, ends in self._limits.items() if fnmatch.fnmatchcase(name, pattern)), fixed)

    def rebuild(self, model: keras.Model, *, is_outermost: bool = True) -> keras.Model:
        """A new model that rounds, with the weights of `model`.

        Args:
            model: a Functional or Sequential model.
            is_outermost: whether the inputs of the model still have to be rounded.
        """
        graph, numbers = Graph(model), collections.Counter[str]()
        quantizers: dict[str, FakeQuantize] = {}  # by name
        rounded: dict[int, str] = {}  # id of a rounded tensor -> name of the layer that rounded it, "" if it is in another model

        def begin(tensor: keras.KerasTensor, name: str) -> keras.KerasTensor:
            if is_outermost and "float" in tensor.dtype:
                quantizers[f"{name}_quantize"] = self._quantizer(f"{name}_quantize", None, is_input=True)
                tensor = quantizers[f"{name}_quantize"](tensor)
            rounded[id(tensor)] = f"{name}_quantize" if is_outermost else ""
            return tensor

        def make(layer: keras.Operation) -> keras.Operation | None:
            origin = graph.origins[id(layer)]
            if is_functional(layer):
                return self.rebuild(origin, is_outermost=False)
            if self._freeze and type(layer) is keras.layers.BatchNormalization:
                return with_class(FrozenBatchNormalization, layer)
            if self._is_excluded(origin) or not needs_wrapper(layer):
                return None
            return QuantizeWrapper(layer, **self._options)

        def call(each: Call, layer: keras.Operation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensors:
            done = isinstance(layer, keras.Model)
            flat = keras.tree.flatten((args, kwargs))
            sources = [rounded.get(id(value)) for value in flat if _is_float_tensor(value)]
            if isinstance(layer, QuantizeWrapper):
                if not layer.quantizers:
                    unrounded = [index for index, value in enumerate(flat) if _is_float_tensor(value) and id(value) not in rounded]
                    layer.unrounded = tuple(unrounded)
                    layer.find_quantizers(args, kwargs, self._limit)
                done = layer.rounds_outputs
            outputs = layer(*args, **kwargs)
            if isinstance(layer, QuantizeWrapper) and type(each.layer).__name__ in weights.WITH_BIAS and sources[0]:
                layer.neighbors = (sources[0], _normalization_after(graph, each))
            if done or (keeps_scale(each.layer) and sources and None not in sources):
                source = "" if done else sources[0] or ""
                rounded.update((id(tensor), source) for tensor in keras.tree.flatten(outputs))
                return outputs
            if self._is_excluded(graph.origins[id(each.layer)]):
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

    def _after(self, layer: keras.Operation, numbers: collections.Counter[str]) -> FakeQuantize:
        """A quantizer for an output of `layer`; `numbers` counts the quantizers of a name."""
        name = f"{layer.name}_quantize"
        numbers[name] += 1
        return self._quantizer(f"{name}_{numbers[name]}" if numbers[name] > 1 else name, fixed_range(layer))

    def _quantizer(self, name: str, fixed: Range | None, *, is_input: bool = False) -> FakeQuantize:
        ranges = self._limit(name, fixed) or self._options["ranges"]
        return FakeQuantize(self._options["activation_bits"], ranges, is_input=is_input, name=name)


def is_fused(graph: Graph, layer: keras.Operation, tensor: keras.KerasTensor) -> bool:
    """Whether the file computes the consumer of `tensor` together with `layer`, whose output `tensor` is."""
    following = graph.sole_consumer(tensor, DROPPED)
    name = type(layer).__name__
    if following is None:
        return False
    if type(following.layer).__name__ == "Concatenate" and isinstance(following.layer, keras.layers.Layer):
        return fixed_range(layer) is None  # it rounds all tensors that it joins
    if has_activation(layer):
        return False
    if type(following.layer).__name__ == "BatchNormalization":
        return name in _FOLDING and following.layer.axis in (-1, len(tensor.shape) - 1)
    return is_fused_activation(following.layer) and name in _CLAMPING


def needs_wrapper(layer: keras.Operation) -> bool:
    """Whether a layer has weights to be rounded, or tensors inside to be rounded."""
    if not isinstance(layer, keras.layers.Layer):
        return False
    if any(isinstance(grid, weights.Grid) for _, grid in weights.grids(layer)):
        return True
    return is_composite(layer) or rounds_inside(layer)


def _normalization_after(graph: Graph, call: Call) -> str | None:
    """Name of the BatchNormalization that the converter is going to multiply into the weights of the layer called."""
    following = graph.sole_consumer(call.outputs, DROPPED)
    if following is None or type(following.layer).__name__ != "BatchNormalization":
        return None
    return following.layer.name if is_fused(graph, call.layer, call.outputs) else None


def _is_float_tensor(value: object) -> bool:
    return isinstance(value, keras.KerasTensor) and "float" in value.dtype
