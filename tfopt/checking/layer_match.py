"""Which tensor of a TFLite file holds the output of which Keras layer: by the names that the converter left, and by values."""

from __future__ import annotations

import collections
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from tfopt.lowering.layer_calls import LayerCall
    from tfopt.tflite.flatbuffer import Graph
    from tfopt.tflite.layer_names import LayerNames

Pair = tuple[int, int]
"""(place of a layer call among all calls, index of a tensor of the file)."""

# If no name tells, only a tensor that is the layer's output beyond doubt counts.
_NAMELESS_COSINE = 0.95
_CLOSE_ERROR = 0.05
# A tensor whose name mentions the layer may be as wrong as quantization makes it, but not the opposite of the layer's output.
_NAMED_COSINE = 0.0
_INTEGERS = ("int8", "uint8", "int16")


def candidates(graph: Graph, calls: Sequence[LayerCall], shapes: Sequence[Sequence[int]], names: LayerNames) -> dict[Pair, bool]:
    """The pairs of a layer call and a tensor that are worth a comparison.

    Args:
        graph: of the file.
        calls: the layer calls of the model.
        shapes: the shape of each call's output.
        names: finds the layers in the names of the file's tensors.

    Returns:
        For each pair whether the tensor's name mentions the call. For a name that stands for one call, only the last tensor with
        this name counts, of those whose last operation has it if there are any: the earlier ones are intermediate steps. If that
        tensor is the output of a later layer, too, the two layers were fused.
    """
    weights = {tensor.index for tensor in graph.tensors if tensor.role == "weight"}
    # An op on weights alone unpacks them, and a dequantized tensor tells less than the integers before it.
    computing = [op for op in graph.operators if op.name != "DEQUANTIZE" and not weights.issuperset(op.inputs)]
    written = [graph.tensors[index] for op in computing for index in op.outputs]
    tensors = [tensor for tensor in written if tensor.dtype == "float32" or (tensor.dtype in _INTEGERS and len(tensor.scale) == 1)]
    keys, mention = _keys(calls, names)
    # The integers before a float output are nameless: the output carries the name.
    alias = {op.inputs[0]: graph.tensors[op.outputs[0]].name for op in graph.operators if op.name == "DEQUANTIZE"}
    named = {tensor.index: mention(tensor.name) or mention(alias.get(tensor.index, "")) for tensor in tensors}
    mentioned = {word for words in named.values() for word in words}
    calls_of = collections.Counter(word for words in keys for word in words)
    pairs: dict[Pair, bool] = {}
    for place, (words, shape) in enumerate(zip(keys, shapes, strict=True)):
        fitting = [tensor.index for tensor in tensors if np.prod(tensor.shape) == np.prod(shape)]
        own = [index for index in fitting if words.intersection(named[index])]
        own = [index for index in own if named[index][0] in words] or own
        is_alone = all(calls_of[word] == 1 for word in words)
        pairs |= dict.fromkeys(((place, index) for index in (own[-1:] if is_alone else own)), True)
        nameless = [index for index in fitting if not named[index] or not words & mentioned]
        pairs |= dict.fromkeys(((place, index) for index in nameless), False)
    return pairs


def _keys(calls: Sequence[LayerCall], names: LayerNames) -> tuple[list[set[str]], Callable[[str], list[str]]]:
    """(the words that stand for each call, a function from a tensor's name to the words that it mentions).

    The scopes of a call are such words if the file has the scopes of the trace. Else the name of the layer is, but not one that
    differs from another by its number alone, as TensorFlow numbers scopes in the same way: then only the values decide.
    """
    if names.knows_scopes:
        return [set(call.scopes) for call in calls], names.scopes
    stems = collections.Counter(_stem(name) for name in {call.name for call in calls})
    return [{call.name} for call in calls], lambda name: [each for each in names.mentioned(name) if stems[_stem(each)] < 2]


def _stem(name: str) -> str:
    return re.sub(r"(_\d+)+$", "", name)


class Matching:
    """Compares candidate pairs on a few samples, then gives each tensor at most one layer call, and each call at most one tensor.

    Args:
        pairs: the result of `candidates`.
    """

    def __init__(self, pairs: Mapping[Pair, bool]) -> None:
        self._pairs = pairs
        self._sums = {pair: np.zeros(4) for pair in pairs}

    def add(self, outputs: Sequence[npt.NDArray[Any]], tensors: Mapping[int, npt.NDArray[Any]]) -> None:
        """Adds one batch.

        Args:
            outputs: of the layer calls.
            tensors: values in real units by tensor index.
        """
        for (place, index), sums in self._sums.items():
            # NaN and infinity would outweigh every value that can be compared.
            both = outputs[place], tensors[index]
            wanted, found = (np.nan_to_num(np.asarray(values, np.float64).ravel(), posinf=0, neginf=0) for values in both)
            sums += [wanted @ wanted, found @ found, wanted @ found, ((wanted - found) ** 2).sum()]

    def result(self) -> dict[int, int]:
        """The place of a layer call by tensor index, best pair first.

        Pairs that are equal but for small errors come first, as a scaling that was folded into a convolution leaves no name. Pairs
        with a name come next. Then the cosine decides, which a wrong range of the file hardly changes, then the error; if all are
        alike, the later call is taken, as it is the last of a fused op.
        """

        def rank(pair: Pair) -> tuple[bool, bool, float, float, int, int]:
            cosine, error = self._likeness(pair)
            close = cosine >= _NAMELESS_COSINE and error <= _CLOSE_ERROR
            return close, self._pairs[pair], round(cosine, 2), -round(error, 2), *pair

        matched: dict[int, int] = {}
        for place, index in sorted(self._pairs, key=rank, reverse=True):
            needed = _NAMED_COSINE if self._pairs[place, index] else _NAMELESS_COSINE
            if index not in matched and place not in matched.values() and self._likeness((place, index))[0] >= needed:
                matched[index] = place
        return matched

    def _likeness(self, pair: Pair) -> tuple[float, float]:
        """(cosine, squared error as a share of both squares)."""
        wanted, found, product, error = self._sums[pair]
        if not wanted or not found:
            return float(wanted == found), 0.0
        return product / np.sqrt(wanted * found), error / (wanted + found)
