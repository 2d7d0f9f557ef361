"""Under which name scope of a traced graph each layer of a model is called."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tfopt.keras_model.patch import replaced_attributes
from tfopt.keras_model.walk import walk_layers
from tfopt.tflite.layer_names import Scopes

if TYPE_CHECKING:
    from tfopt.keras_model.types import AnyLayer, AnyModel


@dataclasses.dataclass(frozen=True)
class Watched:
    """One call of a layer while its model is traced.

    Attributes:
        layer: the layer.
        scope: the name scope of its operations, such as "functional_1/dense_1".
        arguments: the structure of all its arguments.
        result: the structure that it returned.
    """

    layer: AnyLayer
    scope: str
    arguments: Any
    result: Any


@contextlib.contextmanager
def watched(model: AnyModel, rewritten: Collection[Any] = ()) -> Iterator[list[Watched]]:
    """A context in which the calls of the layers of a model are listed, those of inner layers first.

    TensorFlow numbers scopes as they come: the scope of the layer `dense` may be `dense_1`, and that of the layer `dense_1` may be
    `dense_1_2`. Only the trace itself knows the scope that a layer got. Every trace of the same model gives the same scopes.

    Example:

    ```python
    with watched(model) as calls:
        ...  # trace the model
    print({call.scope: call.layer.name for call in calls})
    ```

    Args:
        model: of either Keras generation.
        rewritten: layers whose `call` is another one already, as in `lower.Lowering.active`.
    """
    import tensorflow as tf

    calls: list[Watched] = []

    def watch(layer: AnyLayer) -> Callable[..., Any]:
        own = layer.call

        def call(*arguments: Any, **options: Any) -> Any:
            scope = tf.get_current_name_scope()
            result = own(*arguments, **options)
            calls.append(Watched(layer, scope, (arguments, options), result))
            return result

        return call

    # A `call` that is an attribute, as in the layers that Keras 2 makes of bare TensorFlow functions, cannot be replaced.
    layers = [layer for layer in walk_layers(model) if "call" not in vars(layer) or layer in rewritten]
    with replaced_attributes({layer: {"call": watch(layer)} for layer in layers}):
        yield calls


def scopes(calls: Sequence[Watched], outputs: Mapping[str, Any], names: Mapping[int, str]) -> Scopes:
    """The scopes of a trace.

    Args:
        calls: all calls of the trace.
        outputs: the outputs of the model by name.
        names: `short_names` of the model.
    """
    writers: dict[int, str] = {}
    for call in calls:
        writers.setdefault(id(call.result), call.scope)  # the innermost call comes first
    found = {name: writers[id(output)] for name, output in outputs.items() if id(output) in writers}
    return Scopes({call.scope: names[id(call.layer)] for call in calls}, found)
