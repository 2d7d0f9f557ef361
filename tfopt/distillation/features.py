"""`Features`: what chosen layers of a model put out in a call of it, wherever they sit, in one pass."""

import difflib
import functools
import threading

from tfopt.distillation import normalization
from tfopt.errors import ArgumentError
from tfopt.keras_model.describe import layer_path
from tfopt.keras_model.patch import replaced_attributes
from tfopt.keras_model.walk import sublayers


class Features:
    """Calls a model and keeps the outputs of some of its layers, in Functional, Sequential and subclassed models alike.

    While a call lasts, the layers have another `call`. Threads, one for each replica of a strategy, keep theirs apart.

    Args:
        model: a Keras 3 model.
        names: names or paths of layers.
        infers: bool, whether the model is only called to infer: see `normalization`.

    Raises:
        ArgumentError: a name that the model does not have.
    """

    def __init__(self, model, names, *, infers=False):
        self.model = model
        self.infers = infers
        self.layers = {name: find_layer(model, name) for name in names}
        self._found = threading.local()
        self._lock = threading.Lock()
        self._callers = 0

    def __call__(self, inputs, training):
        """(outputs of the model, dict of name -> output of that layer)."""
        self._found.now = found = {}
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

    def _replacements(self):
        replacements = normalization.in_one_operation(self.model) if self.infers else {}
        for name, layer in self.layers.items():
            call = replacements.get(layer, {}).get("call", layer.call)
            replacements[layer] = {"call": functools.wraps(call)(functools.partial(self._record, name, call))}
        return replacements

    def _record(self, name, call, *args, **kwargs):
        outputs = call(*args, **kwargs)
        found = getattr(self._found, "now", None)
        if found is not None:
            found[name] = outputs
        return outputs


def find_layer(model, name):
    """The layer of a name or path (`encoder/dense_1`), the outermost of several.

    Raises:
        ArgumentError: there is none.
    """
    paths, todo = {}, [(model, ())]
    while todo:  # breadth first
        layer, around = todo.pop(0)
        for inner in sublayers(layer):
            if inner in around:
                continue
            paths.setdefault(layer_path((*around, inner)), inner)
            todo.append((inner, (*around, inner)))
    for path, layer in paths.items():
        if name in (path, layer.name):
            return layer
    close = difflib.get_close_matches(name, paths, cutoff=0.4) if isinstance(name, str) else []
    raise ArgumentError(
        f"the layer must be one of {model.name!r}. Received: {name!r}. {'Closest' if close else 'There are'}: "
        f"{', '.join(close or list(paths)[:20])}."
    )
