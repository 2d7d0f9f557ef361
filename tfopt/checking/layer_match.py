"""Which tensor of a TFLite file holds the output of which Keras layer: by the names that the converter left, and by values."""

import collections

import numpy as np

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
    mention = Mentions(graph, {call.name for call in calls})
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


class Mentions:
    """The layers that a tensor's name mentions, the one that most likely wrote it first.

    Keras appends the same `_1`, `_2`, ... to every layer's scope when a model is traced again, so that `conv2d_1` may be the
    scope of `conv2d` or of `conv2d_1`: the ending under which the most layers of the model are found is right.

    Args:
        graph: `flatbuffer.Graph`.
        layer_names: names of the model's layers.
    """

    def __init__(self, graph, layer_names):
        self._names = set(layer_names)
        words = {word for tensor in graph.tensors for word in tensor.name.replace(";", "/").split("/")}
        found = collections.Counter(
            {ending: sum(name + ending in words for name in self._names) for ending in ("_1", "_2", "_3", "")}
        )
        self._ending = found.most_common(1)[0][0]

    def __call__(self, tensor_name):
        names = {}
        for part in tensor_name.split(";"):
            for word in reversed(part.split("/")):
                stripped = word.removesuffix(self._ending)
                # What does not end so: the second call of a shared layer, or an output that carries the layer's own name.
                for candidate in (stripped, word, word.rpartition("_")[0]):
                    if candidate in self._names:
                        names[candidate] = None
                        break
        return list(names)


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
