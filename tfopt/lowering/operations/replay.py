"""Compute a traced function again, operation by operation, with some operations replaced."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow as tf

    Find = Callable[[tf.Tensor], tf.Tensor]
    """From a tensor of the traced function to the tensor that has its place in the new one."""

    Rule = Callable[[tf.Operation, Find], "tf.Tensor | Sequence[tf.Tensor] | None"]
    """From an operation of the traced function to new outputs, or None to leave it as it is."""

_PASSED_ON = ("Identity", "IdentityN", "StopGradient", "PreventGradient", "Snapshot")
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")


def replay(
    function: tf.types.experimental.ConcreteFunction,
    tensors: Sequence[tf.Tensor],
    rules: Mapping[str, Sequence[Rule]],
    replaced: Callable[[tf.Operation, Rule], None] = lambda operation, rule: None,
) -> list[tf.Tensor]:
    """Computes in the current graph the outputs that `function` has for `tensors`.

    Functions that are called are computed in place, so that the rules see their operations, too. Bodies of loops and branches stay
    as they are, and so does a function that the converter knows by its attributes. Custom gradients are left out.

    Example:

    ```python
    @tf.function(input_signature=signature)
    def lowered(*tensors):
        return replay(function, tensors, {"Neg": [lambda operation, find: find(operation.inputs[0]) * -1.0]})
    ```

    Args:
        function: traced by `tf.function`, with its variables.
        tensors: its inputs, without the captured ones.
        rules: type of an operation -> rules. The first one that returns something counts.
        replaced: called with each replaced operation and its rule.
    """
    import tensorflow as tf

    graph = function.graph
    # Functions that are not computed in place must be in the library of the current graph.
    library = graph.as_graph_def().library
    tf.graph_util.import_graph_def(tf.compat.v1.GraphDef(library=library), name="")
    captured = [external for external, _ in graph.captures]
    for variable in function.variables:  # a function saves the variables that it has seen read
        tf.compat.v1.get_default_graph().watch_variable(variable)
    given = [*tensors, *captured]
    return _Replay(rules, replaced).outputs(graph, given, list(function.outputs))


def replaces(function: tf.types.experimental.ConcreteFunction, rules: Mapping[str, Sequence[Rule]]) -> bool:
    """Whether a rule replaces an operation of `function`, or may in a function that it calls.

    A copy of a model takes seconds to make, and most convolutional networks have nothing to be replaced.

    Args:
        function: traced by `tf.function`.
        rules: as for `replay`.
    """

    def find(tensor: tf.Tensor) -> tf.Tensor:
        while tensor.op.type in _PASSED_ON:
            tensor = tensor.op.inputs[tensor.value_index]
        return tensor

    with function.graph.as_default():
        scratch = type(function.graph)("scratch")  # what the rules make in it is thrown away
    with scratch.as_default():
        for operation in function.graph.get_operations():
            if operation.type in _CALLS:
                return True
            try:
                if any(rule(operation, find) is not None for rule in rules.get(operation.type, ())):
                    return True
            except (TypeError, ValueError):  # `replay` shows whether it is one there as well
                return True
    return False


class _Replay:
    def __init__(self, rules: Mapping[str, Sequence[Rule]], replaced: Callable[[tf.Operation, Rule], None]) -> None:
        self._rules, self._replaced = rules, replaced

    def outputs(self, graph: tf.Graph, inputs: Sequence[tf.Tensor], outputs: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """The tensors in the place of `outputs`, for `inputs` in the place of the graph's inputs."""
        found: dict[int, tf.Tensor] = {id(old): new for old, new in zip(graph.inputs, inputs, strict=True)}

        def find(tensor: tf.Tensor) -> tf.Tensor:
            return found[id(tensor)]

        needed = _needed(graph, outputs)
        for operation in graph.get_operations():
            if operation in needed and not (operation.outputs and id(operation.outputs[0]) in found):
                new = self._compute(operation, find)
                found |= {id(old): tensor for old, tensor in zip(operation.outputs, new, strict=True)}
        return [find(output) for output in outputs]

    def _compute(self, operation: tf.Operation, find: Find) -> Sequence[tf.Tensor]:
        import tensorflow as tf

        if operation.type in _PASSED_ON:
            return [find(each) for each in operation.inputs]
        for rule in self._rules.get(operation.type, ()):
            with tf.name_scope(f"{operation.name}/"):
                new = rule(operation, find)
            if new is not None:
                self._replaced(operation, rule)
                return [new] if tf.is_tensor(new) else list(new)
        inputs = [find(each) for each in operation.inputs]
        if operation.type in _CALLS:
            # The graph has no public way to one of its functions (TensorFlow 2.21).
            called = operation.graph._get_function(operation.get_attr("f").name)
            if "api_implements" not in called.definition.attr:
                with tf.name_scope(f"{operation.name}/"):
                    return self.outputs(called.graph, inputs, called.graph.outputs)
        copy = tf.compat.v1.get_default_graph().create_op(
            operation.type,
            inputs,
            [output.dtype for output in operation.outputs],
            name=operation.name,
            attrs=dict(operation.node_def.attr),
        )
        for old, new in zip(operation.outputs, copy.outputs, strict=True):
            new.set_shape(old.shape)
        return copy.outputs


def _needed(graph: tf.Graph, outputs: Sequence[tf.Tensor]) -> set[tf.Operation]:
    """The operations that `outputs` depend on, and operations with side effects; no other is worth a copy."""
    waiting = [output.op for output in outputs]
    waiting += [each for each in graph.get_operations() if each.op_def.is_stateful and each.type not in ("ReadVariableOp", *_CALLS)]
    needed: set[tf.Operation] = set()
    while waiting:
        operation = waiting.pop()
        if operation not in needed:
            needed.add(operation)
            waiting += [tensor.op for tensor in operation.inputs]
    return needed
