"""`Simulation`: one call of a layer in which the tensors between its borders are rounded as in the int8 file."""

from __future__ import annotations

import collections
import functools
import itertools
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import keras

from tfopt.quantization.frozen import FrozenBatchNormalization
from tfopt.quantization.inside.decompositions import (
    ACTIVATIONS,
    LAYERS,
    Quantize,
    batch_normalization,
    can_be_unfused,
    leaky_relu,
    separable_convolution,
    takes_many,
    unfused_attention,
)
from tfopt.quantization.inside.known_steps import rounded_constant
from tfopt.quantization.inside.masked_softmax import has_masked_scores, masked_softmax
from tfopt.quantization.inside.operations import OwnOperations, computes_itself
from tfopt.quantization.inside.places import Pair, places
from tfopt.quantization.layer_kinds import (
    LEAKY_SLOPE,
    activation_name,
    fixed_range,
    has_activation,
    has_steps,
    is_composite,
    is_computed_with,
    is_keras,
    is_loop,
    keeps_scale,
    leaky_slope,
    rounds_as_before,
)

if TYPE_CHECKING:
    import tensorflow as tf

    from tfopt.quantization.fake_quantize import Range

Tensors = Any
"""A tensor, or lists, tuples and dicts of tensors, as `keras.tree` flattens them."""
Functions = dict[str, Callable[..., Any]]  # attributes of a layer, such as `call` and `activation`


def rounds_inside(layer: keras.layers.Layer) -> bool:
    """Whether a layer that is not made of others may have tensors to be rounded between its borders."""
    simulation = Simulation(lambda key, tensor, fixed=None, /, *, observe=True: tensor)
    return computes_itself(layer) or bool(simulation.functions_of(layer))


def detached(tensor: tf.Tensor) -> tf.Tensor:
    """A tensor that the converter does not know to be rounded: a product with almost 1, as it leaves out a product with 1 (2.21).

    After a given range the converter fails on an LSTM, and it gives the steps of other recurrent layers the ranges of their parts.
    In front of a given range, a step whose output also goes to the next step would have two scales, and stays in float.
    """
    return tensor * (1.0 + 2.0**-20) if _is_float(tensor) else tensor


class Simulation:
    """One call of a layer with the tensors inside it rounded.

    Args:
        quantize: rounds a tensor inside the layer.
        is_baked: whether ranges are constants, so that to round a tensor twice is to round it once.
        own: keys of the outputs of operations that are rounded, in layers of the caller's own; None to find out which ones are.
        folded: places of the BatchNormalization layers that the converter multiplies into the weights before them.

    Attributes:
        operations: those of layers of the caller's own.
        pairs: tensors that need no rounding of their own if nothing else takes them.
        counts: how often a quantizer rounded.
    """

    def __init__(
        self, quantize: Quantize, is_baked: bool = False, own: Collection[str] | None = (), folded: Collection[str] = ()
    ) -> None:
        self._is_baked, self._folded = is_baked, folded
        self.pairs: list[Pair] = []
        self.counts = collections.Counter[str]()
        self._direct: dict[int, str] = {}  # id of a tensor that was just rounded -> key of the quantizer
        self._leaves: dict[int, keras.layers.Layer] = {}  # id of a rounded tensor -> the layer inside whose output it is
        self.operations = OwnOperations(self._round, self._known_key, self.mark_rounded, detached if is_baked else None, own)
        self._quantize = self.operations.outside(quantize)  # the operations that round are none of the layer's
        # id -> (tensor, key of what rounded it), which keeps the tensor alive, as ids are unique among living objects only
        self._rounded: dict[int, tuple[tf.Tensor, str]] = {}

    def mark_rounded(self, tensors: Tensors, key: str = "") -> None:
        """Takes note that these tensors are rounded already, by the quantizer `key` if it is one inside this layer."""
        self._rounded.update((id(tensor), (tensor, key)) for tensor in keras.tree.flatten(tensors))

    def _key(self, tensors: Sequence[tf.Tensor]) -> str:
        """The key of what rounded the first of these tensors; empty if it was rounded outside of this layer."""
        return self._rounded[id(tensors[0])][1] if tensors and self.is_rounded(tensors[0]) else ""

    def _known_key(self, tensor: tf.Tensor) -> str | None:
        """The key of what rounded a tensor, empty if it was rounded outside of this layer; None if nothing did."""
        return self._rounded[id(tensor)][1] if id(tensor) in self._rounded else None

    def is_rounded(self, tensors: Tensors) -> bool:
        """Whether rounding was the last operation on each float tensor among these."""
        return all(id(tensor) in self._rounded for tensor in keras.tree.flatten(tensors) if _is_float(tensor))

    def replacements(self, layer: keras.layers.Layer, left_out: Collection[str] = ()) -> dict[keras.layers.Layer, Functions]:
        """For `replaced_attributes`: functions with which `layer`, or each layer inside it, rounds.

        Args:
            layer: a layer.
            left_out: places of the layers inside it that stay float, as `leaves` names them.
        """
        if not is_composite(layer):
            functions = self.functions_of(layer)
            return {layer: {**functions, "call": self.operations.inside("", layer.call)} if computes_itself(layer) else functions}
        found: dict[keras.layers.Layer, Functions] = {}
        for path, each in (("", layer), *places(layer)):
            seen = self.operations.inside if computes_itself(each) and path not in left_out else self._unseen
            if is_composite(each):
                found[each] = {"call": seen(path, each.call)}
                if can_be_unfused(each):
                    found[each]["_compute_attention"] = unfused_attention(each, self._named(path))
            elif path in left_out:
                found[each] = {"call": seen(path, each.call)}
            else:
                functions = self.functions_of(each, path)
                call = functools.partial(self._call_with_borders, each, path, seen(path, functions.get("call", each.call)))
                found[each] = {**functions, "call": call}
        return found

    def _unseen(self, path: str, call: Callable[..., Tensors]) -> Callable[..., Tensors]:
        return self.operations.outside(call)

    def functions_of(self, layer: keras.layers.Layer, path: str = "") -> Functions:
        """Functions with which a layer that is not made of others rounds the tensors between its borders; empty if it has none.

        Args:
            layer: a layer.
            path: its place in the layer around it, such as `Dense_0`; empty if it stands alone.
        """
        if is_loop(layer) or not (is_keras(layer) or isinstance(layer, FrozenBatchNormalization)):
            return {}
        full, quantize = functools.partial(_full, path), self._named(path)
        slope = leaky_slope(layer)
        if slope is not None:
            return {"call": functools.partial(leaky_relu, slope)}
        found: Functions = {}
        function: Any = getattr(layer, "activation", None)
        name = activation_name(function)
        if name in ACTIVATIONS:
            function = functools.partial(ACTIVATIONS[name], quantize)
        kind = type(layer).__name__
        if kind == "Activation":
            if name in ACTIVATIONS:
                found["activation"] = function
        elif name == "leaky_relu":
            found["activation"] = functools.partial(self._leaky_activation, full("before_activation"))
        elif has_activation(layer) and name not in ("relu", "relu6"):
            found["activation"] = lambda x: function(quantize("before_activation", x))
        if kind in LAYERS and (kind not in ("Add", "Multiply") or takes_many(layer)):
            found["call"] = functools.partial(LAYERS[kind], layer, quantize)
        if isinstance(layer, keras.layers.BatchNormalization) and path not in self._folded:
            found["call"] = functools.partial(batch_normalization, layer, quantize, self._constant)
        if kind == "Softmax" and path:  # of attention; a Softmax that stands alone has nothing inside
            found["call"] = functools.partial(masked_softmax, layer, quantize, self.operations.again)
        if kind == "Concatenate":
            found["call"] = functools.partial(self._concatenate, layer, full("joined"))
        if kind in ("SeparableConv1D", "SeparableConv2D"):
            found["call"] = functools.partial(separable_convolution, layer, quantize, found.pop("activation", function))
        return found

    def _named(self, path: str) -> Quantize:
        """A function that rounds tensors of the layer at a place."""

        def quantize(key: str, tensor: tf.Tensor, fixed: Range | None = None, /, *, observe: bool = True) -> tf.Tensor:
            return self._quantize(_full(path, key), tensor, fixed, observe=observe)

        return quantize

    def apart(self, layer: keras.layers.Layer, call: Callable[..., Tensors]) -> Callable[..., Tensors]:
        """`call` of `layer`, between tensors that the converter does not know to be rounded if the layer is recurrent.

        Args:
            layer: a layer. One that is made of others is called as it is, as its layers are set apart one by one.
            call: a function of the layer's arguments that returns its outputs.
        """
        if not self._is_baked or is_composite(layer) or not has_steps(layer):
            return call

        def call_apart(*args: Any, **kwargs: Any) -> Tensors:
            args, kwargs = keras.tree.map_structure(detached, (args, kwargs))
            return keras.tree.map_structure(detached, call(*args, **kwargs))

        return call_apart

    def _call_with_borders(
        self, leaf: keras.layers.Layer, path: str, call: Callable[..., Tensors], *args: Any, **kwargs: Any
    ) -> Tensors:
        """Calls a layer inside another one, with its inputs and outputs rounded."""
        keeps = keeps_scale(leaf)
        inputs = [tensor for tensor in keras.tree.flatten((args, kwargs)) if _is_float(tensor)]
        self.pairs += self._pairs(leaf, path, inputs)
        if not keeps and not has_masked_scores(leaf, inputs):
            args, kwargs = keras.tree.map_structure(self._entering(path), (args, kwargs))
        outputs = self.apart(leaf, call)(*args, **kwargs)
        if keeps or self.is_rounded(outputs):
            if keeps and self.is_rounded(inputs):
                self.mark_rounded(outputs, self._key(inputs))
            return outputs
        before = self._key([tensor for tensor in keras.tree.flatten((args, kwargs)) if _is_float(tensor)])
        if rounds_as_before(leaf) and before:
            return self._round(before, outputs, None, observe=False)
        count = itertools.count()
        outputs = keras.tree.map_structure(
            lambda tensor: self._round(_numbered(f"{path}/output", count), tensor, fixed_range(leaf)), outputs
        )
        self._leaves.update((id(tensor), leaf) for tensor in keras.tree.flatten(outputs))
        return outputs

    def _pairs(self, leaf: keras.layers.Layer, path: str, inputs: Sequence[tf.Tensor]) -> list[Pair]:
        """The inputs of a layer inside that it is computed together with, or that it joins and so rounds by itself."""
        is_joined = type(leaf).__name__ == "Concatenate" and is_keras(leaf)
        is_normalization = isinstance(leaf, keras.layers.BatchNormalization)
        found = []
        for tensor in inputs if is_joined else inputs[:1]:
            key, before = self._direct.get(id(tensor), ""), self._leaves.get(id(tensor))
            if key and (is_joined or (before is not None and is_computed_with(before, leaf, len(tensor.shape)))):
                found.append(Pair(key, tensor, path, is_normalization))
        return found

    def _constant(self, values: tf.Tensor) -> tf.Tensor:
        """A constant of the file; in front of the converter, it is as it is."""
        return values if self._is_baked else self.operations.outside(rounded_constant)(values)

    def _entering(self, path: str) -> Callable[[Any], Any]:
        """A function that rounds each float tensor that it is given and that is not rounded yet."""
        count = itertools.count()

        def enter(value: Any) -> Any:
            if not _is_float(value):
                return value
            key = _numbered(f"{path}/input", count)
            return value if self.is_rounded(value) else self._round(key, value, None)

        return enter

    def _round(self, key: str, tensor: tf.Tensor, fixed: Range | None, *, observe: bool = True) -> tf.Tensor:
        if not _is_float(tensor):
            return tensor
        rounded = self._quantize(key, tensor, fixed, observe=observe)
        self.mark_rounded(rounded, key)
        if observe:
            self._direct[id(rounded)] = key
            self.counts[key] += 1
        return rounded

    def _leaky_activation(self, key: str, x: tf.Tensor) -> tf.Tensor:
        """The activation function `leaky_relu`, which keeps the scale of its input: see `rounds_as_before`."""
        return self._round(key, leaky_relu(LEAKY_SLOPE, self._round(key, x, None)), None, observe=False)

    def _concatenate(self, layer: keras.layers.Layer, key: str, inputs: list[tf.Tensor]) -> tf.Tensor:
        # The file joins integers of one scale. If they were rounded only once they are joined, the converter would take the scale
        # of the first one. It refuses to round a rounded tensor, unless there is an operation in between (2.21).
        if self._is_baked:
            inputs = [self._round(key, detached(each) if self.is_rounded(each) else each, None) for each in inputs]
        return self._round(key, type(layer).call(layer, inputs), None)


def _full(path: str, key: str) -> str:
    return f"{path}/{key}" if path else key


def _numbered(key: str, count: Iterator[int]) -> str:
    number = next(count)
    return f"{key}_{number}" if number else key


def _is_float(tensor: object) -> bool:
    return hasattr(tensor, "dtype") and hasattr(tensor, "shape") and "float" in keras.backend.standardize_dtype(tensor.dtype)
