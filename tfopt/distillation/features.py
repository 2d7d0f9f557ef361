"""`Features`: the outputs of chosen layers in a call of their model, however they are nested, in one pass."""

from __future__ import annotations

import difflib
import functools
import threading
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from tfopt.distillation import normalization
from tfopt.errors import ArgumentError
from tfopt.keras_model.patch import replaced_attributes
from tfopt.keras_model.walk import walk

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from tfopt.distillation.normalization import Calls


class Features:
    """Calls a Functional, Sequential or subclassed model and keeps the outputs of some of its layers.

    During a call, the layers have another `call`. Threads, one for each replica of a strategy, keep their outputs apart.

    Args:
        model: a Keras 3 model.
        names: names or paths of layers.
        infers: whether the model is only called for inference: see `normalization`.

    Attributes:
        model: the model.
        layers: dict of name or path -> layer.

    Raises:
        ArgumentError: the model has no layer of such a name.
    """

    def __init__(self, model: keras.Model, names: Iterable[str], *, infers: bool = False) -> None:
        self.model: keras.Model = model
        self.layers: dict[str, keras.layers.Layer] = {name: find_layer(model, name) for name in names}
        self._infers = infers
        self._found = threading.local()
        self._lock = threading.Lock()
        self._callers = 0
        self._replacement: AbstractContextManager[None]

    def __call__(self, inputs: Any, training: bool) -> tuple[Any, dict[str, tf.Tensor]]:
        """(outputs of the model, dict of name -> output of the layer); inputs and outputs are structures of tensors."""
        found: dict[str, tf.Tensor] = {}
        self._found.now = found
        with self._lock:
            self._callers += 1
            if self._callers == 1:
                self._replacement = replaced_attributes(self._replacements())
                self._replacement.__enter__()
        try:
            return self.model(inputs, training=training), found
        finally:
            self._found.now = None
            with self._lock:
                self._callers -= 1
                if not self._callers:
                    self._replacement.__exit__(None, None, None)

    def _replacements(self) -> Calls:
        replacements = normalization.in_one_operation(self.model) if self._infers else {}
        for name, layer in self.layers.items():
            call = replacements.get(layer, {}).get("call", layer.call)
            replacements[layer] = {"call": functools.wraps(call)(functools.partial(self._record, name, call))}
        return replacements

    def _record(self, name: str, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Calls a layer and keeps its outputs for the call of the model that the thread is in."""
        outputs = call(*args, **kwargs)
        found = getattr(self._found, "now", None)
        if found is not None:
            found[name] = outputs
        return outputs


def find_layer(model: keras.Model, name: str) -> keras.layers.Layer:
    """The layer with a name or path (`encoder/dense_1`); if there are several, the outermost one.

    Raises:
        ArgumentError: there is no such layer.
    """
    places = sorted(walk(model), key=lambda place: len(place.chain))  # outermost first
    for place in places:
        if name in (place.path, place.layer.name):
            return place.layer
    paths = [place.path for place in places]
    close = difflib.get_close_matches(name, paths, cutoff=0.4) if isinstance(name, str) else []
    raise ArgumentError(
        f"The layer must be one of {model.name!r}. Received: {name!r}. {'Closest' if close else 'There are'}: "
        f"{', '.join(close or paths[:20])}."
    )
