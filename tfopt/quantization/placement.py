"""Which tensors are rounded: those that leave an op of the int8 file, found on the graph of the model."""

import collections
import fnmatch

import keras

from tfopt.keras_model.functional_graph import Graph, is_functional
from tfopt.quantization import simulate, weights
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
from tfopt.quantization.wrapper import QuantizeWrapper

# The converter multiplies a BatchNormalization into the weights of these.
_FOLDING = {
    "Conv1D", "Conv2D", "Conv3D", "Conv1DTranspose", "Conv2DTranspose", "Dense", "DepthwiseConv1D", "DepthwiseConv2D",
    "EinsumDense", "SeparableConv1D", "SeparableConv2D",
}  # fmt: skip
# It computes a ReLU together with these.
_CLAMPING = _FOLDING | {"Add", "BatchNormalization", "Multiply", "Subtract"}


class Placement:
    """How a model is made into one that rounds; `rebuild` does it.

    Args:
        options: dict with "weight_bits", "activation_bits" and "ranges".
        is_excluded: function from a layer of the caller's model to bool.
        freeze_batch_normalization: bool, whether the statistics stay.
        limits: dict of glob of a quantizer's name -> range that it keeps to.

    Attributes:
        names: list of str, of the quantizers that were made.
    """

    def __init__(self, options, is_excluded, freeze_batch_normalization, limits):
        self._options, self._is_excluded, self._freeze = options, is_excluded, freeze_batch_normalization
        self._limits, self.names = limits, []

    def _limit(self, name, fixed):
        self.names.append(name)
        return next((ends for pattern, ends in self._limits.items() if fnmatch.fnmatchcase(name, pattern)), fixed)

    def rebuild(self, model, *, is_outermost=True):
        """A new model that rounds, with the weights of `model`.

        Args:
            model: a Functional or Sequential model.
            is_outermost: bool, whether its inputs still have to be rounded.
        """
        graph, numbers = Graph(model), collections.Counter()
        quantizers = {}  # name -> layer
        rounded = {}  # id of a rounded tensor -> name of the layer that rounded it, "" where it is another model's

        def begin(tensor, name):
            if is_outermost and "float" in tensor.dtype:
                quantizers[f"{name}_quantize"] = self._quantizer(f"{name}_quantize", None, is_input=True)
                tensor = quantizers[f"{name}_quantize"](tensor)
            rounded[id(tensor)] = f"{name}_quantize" if is_outermost else ""
            return tensor

        def make(layer):
            origin = graph.origins[id(layer)]
            if is_functional(layer):
                return self._nested(origin)
            if self._freeze and type(layer) is keras.layers.BatchNormalization:
                return with_class(FrozenBatchNormalization, layer)
            if self._is_excluded(origin) or not needs_wrapper(layer):
                return None
            return QuantizeWrapper(layer, **self._options)

        def call(each, layer, args, kwargs):
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
                layer.neighbours = (sources[0], self._normalization(graph, each))
            if done or (keeps_scale(each.layer) and sources and None not in sources):
                rounded.update((id(tensor), "" if done else sources[0]) for tensor in keras.tree.flatten(outputs))
                return outputs
            if self._is_excluded(graph.origins[id(each.layer)]):
                return outputs
            following = []
            for tensor, old in zip(keras.tree.flatten(outputs), keras.tree.flatten(each.outputs), strict=True):
                if _is_float_tensor(tensor) and not is_fused(graph, each.layer, old):
                    if rounds_as_before(each.layer) and sources[0]:
                        quantizer, options = quantizers[sources[0]], {"observe": False}  # what it averages moves no range
                    else:
                        quantizer, options = self._after(each.layer, numbers), {}
                        quantizers[quantizer.name] = quantizer
                    tensor = quantizer(tensor, **options)
                    rounded[id(tensor)] = quantizer.name
                following.append(tensor)
            return keras.tree.pack_sequence_as(outputs, following)

        return graph.replay(make, begin=begin, call=call, model_class=QuantizedModel)

    def _nested(self, model):
        return self.rebuild(model, is_outermost=False)

    def _normalization(self, graph, call):
        """Name of the BatchNormalization that is going to be multiplied into the weights of the layer called."""
        following = graph.sole_consumer(call.outputs, DROPPED)
        fused = following is not None and is_fused(graph, call.layer, call.outputs)
        return following.layer.name if fused and type(following.layer).__name__ == "BatchNormalization" else None

    def _after(self, layer, numbers):
        name = f"{layer.name}_quantize"
        numbers[name] += 1
        return self._quantizer(f"{name}_{numbers[name]}" if numbers[name] > 1 else name, fixed_range(layer))

    def _quantizer(self, name, fixed, *, is_input=False):
        ranges = self._limit(name, fixed) or self._options["ranges"]
        return FakeQuantize(self._options["activation_bits"], ranges, is_input=is_input, name=name)


def is_fused(graph, layer, tensor):
    """Whether the file computes the layer that takes `tensor` together with `layer`, which makes it."""
    following = graph.sole_consumer(tensor, DROPPED)
    name = type(layer).__name__
    if following is None:
        return False
    if type(following.layer).__name__ == "Concatenate" and isinstance(following.layer, keras.layers.Layer):
        return fixed_range(layer) is None  # it rounds all that it joins
    if has_activation(layer):
        return False
    if type(following.layer).__name__ == "BatchNormalization":
        return name in _FOLDING and following.layer.axis in (-1, len(tensor.shape) - 1)
    return is_fused_activation(following.layer) and name in _CLAMPING


def needs_wrapper(layer):
    """Whether a layer has weights to be rounded, or tensors inside."""
    if not isinstance(layer, keras.layers.Layer):
        return False
    if any(isinstance(grid, weights.Grid) for _, grid in weights.grids(layer)):
        return True
    return is_composite(layer) or simulate.rounds_inside(layer)


def _is_float_tensor(value):
    return isinstance(value, keras.KerasTensor) and "float" in value.dtype
