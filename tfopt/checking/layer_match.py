"""Which tensor of a TFLite file holds the output of which Keras layer: by the names that the converter left, and by values."""

import collections

import numpy as np

from tfopt.tflite.layer_names import LayerNames

# Where no name tells, only a tensor that is the layer's output beyond doubt counts.
_NAMELESS_COSINE = 0.95
_CLOSE_ERROR = 0.05
# A tensor that its name gives to a layer may be as wrong as quantization makes it, but not the layer's opposite.
_NAMED_COSINE = 0.0
_INTEGERS = ("int8", "uint8", "int16")


def candidates(graph, calls, shapes):
    """The pairs worth a comparison.

    Args:
        graph: `flatbuffer.Graph` of the file.
        calls: list of `layer_calls.LayerCall`.
        shapes: list of tuple, the shape of each call's output.

    Returns:
        dict of (call's place in `calls`, tensor index) -> bool, whether a name says so. Of a layer that is called once only the
        last tensor that names it counts, as the others are its intermediate steps; if that one is the output of a later
        layer too, the two were fused.
    """
    weights = {tensor.index for tensor in graph.tensors if tensor.role == "weight"}
    # An op on weights alone unpacks them, and a dequantized tensor tells less than the one before.
    computing = [op for op in graph.operators if op.name != "DEQUANTIZE" and not weights.issuperset(op.inputs)]
    written = [graph.tensors[index] for op in computing for index in op.outputs]
    tensors = [tensor for tensor in written if tensor.dtype == "float32" or (tensor.dtype in _INTEGERS and len(tensor.scale) == 1)]
    mention = LayerNames({call.name for call in calls}, (tensor.name for tensor in graph.tensors)).mentioned
    # The integers behind a float output are nameless: the output carries the name.
    alias = {op.inputs[0]: graph.tensors[op.outputs[0]].name for op in graph.operators if op.name == "DEQUANTIZE"}
    named = {tensor.index: mention(tensor.name) or mention(alias.get(tensor.index, "")) for tensor in tensors}
    mentioned = {name for names in named.values() for name in names}
    calls_of = collections.Counter(call.name for call in calls)
    pairs = {}
    for place, (call, shape) in enumerate(zip(calls, shapes, strict=True)):
        fitting = [tensor.index for tensor in tensors if np.prod(tensor.shape) == np.prod(shape)]
        own = [index for index in fitting if call.name in named[index]]
        pairs |= dict.fromkeys(((place, index) for index in (own if calls_of[call.name] > 1 else own[-1:])), True)
        nameless = [index for index in fitting if not named[index] or call.name not in mentioned]
        pairs |= dict.fromkeys(((place, index) for index in nameless), False)
    return pairs


class Matching:
    """Compares candidate pairs on a few samples, then gives each tensor at most one layer call, and each call one tensor."""

    def __init__(self, pairs):
        self._pairs = pairs
        self._sums = {pair: np.zeros(4) for pair in pairs}

    def add(self, outputs, tensors):
        """Adds one batch.

        Args:
            outputs: list of arrays, of the layer calls.
            tensors: dict of tensor index -> array in real units.
        """
        for (place, index), sums in self._sums.items():
            # NaN and infinity would outweigh every value that can be compared.
            both = outputs[place], tensors[index]
            wanted, found = (np.nan_to_num(np.asarray(values, np.float64).ravel(), posinf=0, neginf=0) for values in both)
            sums += [wanted @ wanted, found @ found, wanted @ found, ((wanted - found) ** 2).sum()]

    def result(self):
        """dict of tensor index -> the call's place, best pair first.

        Pairs that are equal but for small errors come first: a scaling that was folded into a convolution leaves no name. Then
        those that a name tells. Then the cosine decides, which a wrong range of the file hardly changes, then the error;
        where all are alike, the later call, as it is the last of a fused op.
        """

        def rank(pair):
            cosine, error = self._likeness(pair)
            close = cosine >= _NAMELESS_COSINE and error <= _CLOSE_ERROR
            return close, self._pairs[pair], round(cosine, 2), -round(error, 2), *pair

        matched = {}
        for place, index in sorted(self._pairs, key=rank, reverse=True):
            needed = _NAMED_COSINE if self._pairs[place, index] else _NAMELESS_COSINE
            if index not in matched and place not in matched.values() and self._likeness((place, index))[0] >= needed:
                matched[index] = place
        return matched

    def _likeness(self, pair):
        """(cosine, squared error as a share of both squares)."""
        wanted, found, product, error = self._sums[pair]
        if not wanted or not found:
            return float(wanted == found), 0.0
        return product / np.sqrt(wanted * found), error / (wanted + found)
