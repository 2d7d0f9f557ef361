"""What a layer computes between its borders, tensor by tensor, as the int8 file does: replacements for `surgery.replaced`."""

import functools
import itertools

import keras

from tfopt.keras_model.walk import sublayers
from tfopt.quantization.layer_calls import CALLS, INNER, attention, masked_softmax, separable
from tfopt.quantization.layer_kinds import fixed_range, has_activation, is_composite, is_keras, is_loop, keeps_scale, layer_class


def rounds_inside(layer):
    """Whether a layer without others in it has tensors to be rounded between its borders."""
    return bool(Simulation(lambda key, tensor, fixed: tensor).inside(layer))


def detached(tensor):
    """What the converter takes for another tensor than the rounded one that it is: a product with almost 1, as it drops 1 (2.21).

    Behind a given range it fails on an LSTM, and it gives the steps of other recurrent layers the ranges of their parts.
    """
    return tensor * (1.0 + 2.0**-20) if _is_float(tensor) else tensor


class Simulation:
    """One call of a layer with what it computes inside rounded.

    Args:
        quantize: function of (key, tensor, fixed range or None) that returns the rounded tensor.
        is_baked: bool, whether ranges are constants, so that rounding twice is rounding once.
    """

    def __init__(self, quantize, is_baked=False):
        self._quantize, self._is_baked = quantize, is_baked
        self._rounded = {}  # id -> tensor, as ids are only unique among the living

    def mark(self, tensors):
        """Says that these come in rounded."""
        self._rounded.update((id(tensor), tensor) for tensor in keras.tree.flatten(tensors))

    def is_rounded(self, tensors):
        """Whether each float tensor of these was rounded last of all."""
        return all(id(tensor) in self._rounded for tensor in keras.tree.flatten(tensors) if _is_float(tensor))

    def replacements(self, layer):
        """For `surgery.replaced`: `layer`, or each layer inside it, rounding."""
        if not is_composite(layer):
            return {layer: self.inside(layer)}
        found = {layer: {"_compute_attention": attention(layer)}} if hasattr(layer, "_compute_attention") else {}
        for path, leaf in _leaves(layer, ""):
            attributes = self.inside(leaf, path)
            call = functools.partial(self._bordered, leaf, path, attributes.get("call", leaf.call))
            found[leaf] = {**attributes, "call": call}
        return found

    def _bordered(self, leaf, path, call, *args, **kwargs):
        keeps = keeps_scale(leaf)
        inputs = [tensor for tensor in keras.tree.flatten((args, kwargs)) if _is_float(tensor)]
        if not keeps:
            args, kwargs = keras.tree.map_structure(self._entering(path), (args, kwargs))
        outputs = call(*args, **kwargs)
        if keeps:
            if self.is_rounded(inputs):
                self.mark(outputs)
            return outputs
        count = itertools.count()
        return keras.tree.map_structure(
            lambda tensor: self._round(_numbered(f"{path}/output", count), tensor, fixed_range(leaf)), outputs
        )

    def _entering(self, path):
        count = itertools.count()

        def enter(value):
            if not _is_float(value):
                return value
            key = _numbered(f"{path}/input", count)
            return value if self.is_rounded(value) else self._round(key, value, None)

        return enter

    def _round(self, key, tensor, fixed):
        if not _is_float(tensor):
            return tensor
        rounded = self._quantize(key, tensor, fixed)
        self.mark(rounded)
        return rounded

    def inside(self, layer, path=""):
        """Attributes of a layer whose own call rounds what the file rounds between its borders."""
        if is_loop(layer) or not is_keras(layer):
            return {}

        def quantize(key, tensor, fixed=None):
            return self._quantize(f"{path}/{key}" if path else key, tensor, fixed)

        found = {}
        function = getattr(layer, "activation", None)
        kind = layer_class(function)
        compute = functools.partial(INNER[kind], quantize) if kind in INNER else function
        if type(layer).__name__ == "Activation":
            if kind in INNER:
                found["activation"] = compute
        elif has_activation(layer) and kind not in ("relu", "relu6"):
            found["activation"] = lambda x: compute(quantize("before_activation", x))
        if type(layer).__name__ in CALLS:
            found["call"] = functools.partial(CALLS[type(layer).__name__], layer, quantize)
        if type(layer).__name__ == "Softmax" and path:  # of attention; alone it has nothing inside
            found["call"] = functools.partial(masked_softmax, layer, quantize)
        if type(layer).__name__ == "Concatenate":
            found["call"] = functools.partial(self._concatenate, layer, f"{path}/joined" if path else "joined")
        if type(layer).__name__ in ("SeparableConv1D", "SeparableConv2D"):
            found["call"] = functools.partial(separable, layer, quantize, found.pop("activation", function))
        return found

    def _concatenate(self, layer, key, inputs):
        # The file joins integers of one scale. Rounded only once they are joined, the converter would take the first one's. It
        # refuses to round what is rounded, but for an operation in between (2.21).
        if self._is_baked:
            inputs = [self._round(key, detached(each) if self.is_rounded(each) else each, None) for each in inputs]
        return self._round(key, type(layer).call(layer, inputs), None)


def _leaves(layer, path):
    for index, inner in enumerate(sublayers(layer)):
        own = f"{type(inner).__name__}_{index}"  # Keras may name it anew when it loads it
        name = f"{path}/{own}" if path else own
        if is_composite(inner):
            yield from _leaves(inner, name)
        else:
            yield name, inner


def _numbered(key, count):
    number = next(count)
    return f"{key}_{number}" if number else key


def _is_float(tensor):
    return hasattr(tensor, "dtype") and hasattr(tensor, "shape") and "float" in keras.backend.standardize_dtype(tensor.dtype)
