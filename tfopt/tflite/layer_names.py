"""Which Keras layers the name of a TFLite tensor mentions."""

from __future__ import annotations

import collections
from collections.abc import Collection, Iterable, Sequence


class LayerNames:
    """Finds Keras layers in the names that TensorFlow's converter gives to tensors.

    Such a name is made of scopes, as "model_1/conv2d_1/Relu;model_1/norm_1/add", one path for each operation that was fused. Keras
    appends the same `_1`, `_2`, ... to the scope of every layer when a model is traced again. The scope `conv2d_1` may then be that
    of the layer `conv2d` or of the layer `conv2d_1`: the ending under which most layers of the model are found is the right one.

    Example:

    ```python
    names = LayerNames({"conv2d", "norm"}, (tensor.name for tensor in graph.tensors))
    names.mentioned("model_1/conv2d_1/Relu;model_1/norm_1/add")     # ["conv2d", "norm"]
    names.writer("model_1/conv2d_1/Relu;model_1/norm_1/add")        # "conv2d"
    ```

    Args:
        layer_names: the names of the model's layers; a path such as `block_1/att` for a layer whose name others have, too.
        tensor_names: the names of all tensors of the file, which tell the ending.
    """

    def __init__(self, layer_names: Collection[str], tensor_names: Iterable[str]) -> None:
        self._names: dict[str, list[str]] = {}  # own name -> the names or paths that end in it
        for name in layer_names:
            self._names.setdefault(name.rpartition("/")[2], []).append(name)
        words = {word for name in tensor_names for word in name.replace(";", "/").split("/")}
        found = collections.Counter(
            {ending: sum(name + ending in words for name in self._names) for ending in ("_1", "_2", "_3", "")}
        )
        self._ending = found.most_common(1)[0][0]

    def mentioned(self, tensor_name: str) -> list[str]:
        """The layers that a tensor's name mentions, the one that most likely wrote the tensor first."""
        names: dict[str, None] = {}  # a set in order
        for path in tensor_name.split(";"):
            words = path.split("/")
            for place in reversed(range(len(words))):
                word = words[place]
                stripped = word.removesuffix(self._ending)
                # A word without the ending: the second call of a shared layer, or an output with the layer's own name.
                for candidate in (stripped, word, word.rpartition("_")[0]):
                    if candidate in self._names:
                        names[self._nearest(candidate, words[:place])] = None
                        break
        return list(names)

    def writer(self, tensor_name: str) -> str:
        """The layer that most likely wrote a tensor; "" if its name mentions no layer."""
        return next(iter(self.mentioned(tensor_name)), "")

    def _nearest(self, name: str, around: Sequence[str]) -> str:
        """Of the layers with this own name, the one whose path has most in common with the scopes around it."""
        scopes = {scope for each in around for scope in (each, each.removesuffix(self._ending))}
        return max(self._names[name], key=lambda path: len(scopes.intersection(path.split("/")[:-1])))
