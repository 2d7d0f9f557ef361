"""The float side of `check --layers`: one traced function that returns the output of every layer call of a Keras model."""

import collections
import dataclasses

from tfopt.keras_model.patch import replaced_attributes
from tfopt.keras_model.walk import walk_layers
from tfopt.lowering.trace import trace_model


@dataclasses.dataclass(frozen=True)
class LayerCall:
    """One call of a layer that is no model itself.

    Attributes:
        name, class_name: str, of the layer.
        number: int, 1 for its first call; a shared layer has more.
    """

    name: str
    class_name: str
    number: int


def trace_layer_calls(model, specs):
    """Traces a model so that it returns what each of its layer calls returns.

    Left out: calls inside loops (the cell of an RNN), which have no single output; layers that return several tensors, or
    others than float ones; and layers that return their very input (Dropout).

    Args:
        model: a Keras 3 or Keras 2 model.
        specs: list of `signature.TensorSpec` without open sizes.

    Returns:
        (list of `LayerCall` in the order of computation, `export.Traced` that returns their outputs in that order).

    Raises:
        ConversionError: the model does not run on such inputs.
    """
    watched = _Watched(model)
    traced = trace_model(watched, specs)
    return watched.calls, traced


class _Watched:
    """Stands for the model while it is traced; returns the recorded outputs."""

    def __init__(self, model):
        self._model = model
        self.calls = []

    def __getattr__(self, name):
        # What `export.trace` packs the inputs by. Its outputs would be those of the model.
        if name in ("inputs", "input"):
            return getattr(self._model, name)
        raise AttributeError(name)

    def __call__(self, inputs, training):
        import tensorflow as tf

        graph = tf.nest.flatten(inputs)[0].graph
        self.calls, outputs, counts = [], [], collections.Counter()

        def watch(layer):
            def call(*arguments, **options):
                result = type(layer).call(layer, *arguments, **options)
                if _is_plain(result, graph) and not any(result is each for each in tf.nest.flatten((arguments, options))):
                    counts[id(layer)] += 1
                    self.calls.append(LayerCall(layer.name, type(layer).__name__, counts[id(layer)]))
                    outputs.append(result)
                return result

            return call

        # A layer whose `call` is an attribute of its own (Keras 2 makes such of bare TensorFlow functions) cannot be replaced.
        layers = [layer for layer in walk_layers(self._model) if not hasattr(layer, "layers") and "call" not in vars(layer)]
        with replaced_attributes({layer: {"call": watch(layer)} for layer in layers}):
            self._model(inputs, training=training)
        return outputs


def _is_plain(result, graph):
    import tensorflow as tf

    # A tensor made inside a loop or a branch belongs to the graph of that body.
    return isinstance(result, tf.Tensor) and result.dtype.is_floating and result.graph is graph and result.shape.is_fully_defined()
