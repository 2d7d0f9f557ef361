"""Which Keras layers the name of a TFLite tensor mentions."""

from __future__ import annotations

import collections
import dataclasses
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence


@dataclasses.dataclass(frozen=True)
class Scopes:
    """The name scopes of the layers of a model in one trace.

    Attributes:
        layers: name of a layer by the scope of its operations, such as "functional_1/dense_1_2": "dense_1".
        outputs: such a scope by the name of the output that is computed in it.
    """

    layers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    outputs: Mapping[str, str] = dataclasses.field(default_factory=dict)


NO_SCOPES = Scopes()


class LayerNames:
    """Finds Keras layers in the names that TensorFlow's converter gives to tensors.

    Such a name is made of paths, as "model_1/conv2d_1/Relu;model_1/norm_1/add", one for each operation that was fused. A path
    begins with the scope of a layer. TensorFlow numbers scopes as they come, so that `conv2d_1` may be the scope of the layer
    `conv2d` or of the layer `conv2d_1`. The trace of the model tells: see `lowering.layer_scopes`. The file may come from another
    trace, such as that of another version of Keras. If its names do not hold these scopes, the ending (`_1`, `_2`, ...) under which
    most layers of the model are found is taken for the right one.

    Example:

    ```python
    names = LayerNames({"conv2d", "norm"}, (tensor.name for tensor in graph.tensors), traced.scopes)
    names.mentioned("model_1/conv2d_1/Relu;model_1/norm_1/add")     # ["conv2d", "norm"]
    names.writer("model_1/conv2d_1/Relu;model_1/norm_1/add")        # "conv2d"
    ```

    Args:
        layer_names: the names of the model's layers; a path such as `block_1/att` for a layer whose name others have, too.
        tensor_names: the names of all tensors of the file.
        scopes: of a trace of the model; empty ones if there is none.

    Attributes:
        knows_scopes: whether the names in the file hold the scopes of the trace.
    """

    def __init__(self, layer_names: Collection[str], tensor_names: Iterable[str], scopes: Scopes = NO_SCOPES) -> None:
        self._names: dict[str, list[str]] = {}  # own name -> the names or paths that end in it
        for name in layer_names:
            self._names.setdefault(name.rpartition("/")[2], []).append(name)
        self._layers, self._outputs = scopes.layers, scopes.outputs
        self._unwatched = set(layer_names) - set(self._layers.values())
        paths = {path for name in tensor_names for path in _paths(name)}
        words = {word for path in paths for word in path.split("/")}
        found = collections.Counter(
            {ending: sum(name + ending in words for name in self._names) for ending in ("_1", "_2", "_3", "")}
        )
        ((self._ending, by_ending),) = found.most_common(1)
        by_scope = {self._layers[scope] for scope in map(self._scope, paths) if scope}
        self.knows_scopes = bool(by_scope) and len(by_scope) >= by_ending

    def scopes(self, tensor_name: str) -> list[str]:
        """The scopes that a tensor's name mentions, that of its last operation first; none unless `knows_scopes`."""
        found = [self._scope(path) for path in _paths(tensor_name)] if self.knows_scopes else []
        return list(dict.fromkeys(scope for scope in found if scope))

    def mentioned(self, tensor_name: str) -> list[str]:
        """The layers that a tensor's name mentions, the one that most likely wrote the tensor first."""
        find = self._by_scope if self.knows_scopes else self._by_word
        return list(dict.fromkeys(layer for path in _paths(tensor_name) for layer in find(path)))

    def writer(self, tensor_name: str) -> str:
        """The layer that most likely wrote a tensor; "" if its name mentions no layer."""
        return next(iter(self.mentioned(tensor_name)), "")

    def _nearest(self, name: str, around: Sequence[str]) -> str:
        """Of the layers with this own name, the one whose path has most in common with the scopes around it."""
        scopes = {scope for each in around for scope in (each, each.removesuffix(self._ending))}
        return max(self._names[name], key=lambda path: len(scopes.intersection(path.split("/")[:-1])))

    def _scope(self, path: str) -> str:
        """The innermost scope of a layer that a path begins with; "" if there is none."""
        path = self._outputs.get(path, path)
        while path and path not in self._layers:
            path = path.rpartition("/")[0]
        return path

    def _by_scope(self, path: str) -> Iterator[str]:
        scope = self._scope(path)
        if scope:
            yield self._layers[scope]
        else:
            yield from (word for word in reversed(path.split("/")) if word in self._unwatched)

    def _by_word(self, path: str) -> Iterator[str]:
        words = path.split("/")
        for place in reversed(range(len(words))):
            word = words[place]
            stripped = word.removesuffix(self._ending)
            # A word without the ending: the second call of a shared layer. An output alone has the layer's own name.
            for candidate in (word, stripped) if len(words) == 1 else (stripped, word, word.rpartition("_")[0]):
                if candidate in self._names:
                    yield self._nearest(candidate, words[:place])
                    return


def without_calls(tensor_name: str) -> str:
    """A tensor's name without the calls of functions that TensorFlow puts before the names of a SavedModel, each path once."""
    *paths, last = _paths(tensor_name)
    # The converter puts a digit at the end of a name that another tensor has.
    kept = [path for path in paths if not re.fullmatch(rf"{re.escape(path)}\d*", last)]
    return ";".join(dict.fromkeys([*kept, last]))


def _paths(tensor_name: str) -> list[str]:
    """The paths in a tensor's name, without such calls."""
    return [re.sub(r"^(StatefulPartitionedCall(_\d+)?/)+", "", path) for path in tensor_name.split(";")]
