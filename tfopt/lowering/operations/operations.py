"""The rules for the operations of a traced function, and the function computed by them."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from tfopt.lowering.operations.arithmetic import ARITHMETIC
from tfopt.lowering.operations.categories import CATEGORIES
from tfopt.lowering.operations.concatenations import CONCATENATIONS
from tfopt.lowering.operations.elementwise import ELEMENTWISE
from tfopt.lowering.operations.fourier import FOURIER
from tfopt.lowering.operations.given_ranges import GIVEN_RANGES
from tfopt.lowering.operations.masked_softmax import MASKED_SOFTMAX, masked_softmax
from tfopt.lowering.operations.places import PLACES
from tfopt.lowering.operations.replay import replaces, replay
from tfopt.lowering.operations.selection import SELECTION
from tfopt.lowering.operations.tensor_lists import TENSOR_LISTS
from tfopt.tflite.layer_names import LayerNames

if TYPE_CHECKING:
    import tensorflow as tf

    from tfopt.lowering.operations.replay import Rule
    from tfopt.tflite.layer_names import Scopes

OPERATION_RULES: dict[str, dict[str, Rule]] = {
    **ARITHMETIC, **ELEMENTWISE, **SELECTION, **MASKED_SOFTMAX, **PLACES, **FOURIER, **CATEGORIES, **TENSOR_LISTS,
    **CONCATENATIONS, **GIVEN_RANGES,
}  # fmt: skip
"""Name -> type of a TensorFlow operation -> function from such an operation to what takes its place, or to None: see `replay`."""


@dataclasses.dataclass(frozen=True)
class Operations:
    """How the operations of a traced function are rewritten.

    Attributes:
        rules: some of `OPERATION_RULES`; without any, the function is left as it is.
        layer_names: names of the model's layers, to say which of them were touched.
        mask_inputs: places of the function's inputs that are 0 where scores count, and far below 0 where they are masked.
        met: name of a rule -> names of the layers in which it replaced an operation, filled by `outputs`.
    """

    rules: Mapping[str, Mapping[str, Rule]]
    layer_names: Collection[str]
    mask_inputs: tuple[int, ...] = ()
    met: dict[str, list[str]] = dataclasses.field(default_factory=dict)

    def outputs(
        self, function: tf.types.experimental.ConcreteFunction, tensors: Sequence[tf.Tensor], scopes: Scopes
    ) -> list[tf.Tensor]:
        """The outputs of `function` for `tensors`, computed in the current graph by the rewritten operations.

        Args:
            function: the traced model.
            tensors: its inputs.
            scopes: of the layers in its graph.
        """
        import tensorflow as tf

        names = LayerNames(self.layer_names, [operation.name for operation in function.graph.get_operations()], scopes)
        by_type, owners = self._by_type(function)
        self.met.clear()

        def replaced(operation: tf.Operation, rule: Rule) -> None:
            layer = names.writer(operation.name) or operation.name.partition("/")[0]
            self.met.setdefault(owners[rule], []).append(layer)

        return [tf.identity(output) for output in replay(function, tensors, by_type, replaced)]

    def applies(self, function: tf.types.experimental.ConcreteFunction) -> bool:
        """Whether `outputs` computes anything in another way than `function`; if not, `met` is empty."""
        self.met.clear()
        return bool(self.rules) and replaces(function, self._by_type(function)[0])

    def _by_type(self, function: tf.types.experimental.ConcreteFunction) -> tuple[dict[str, list[Rule]], dict[Rule, str]]:
        """(type of an operation -> rules, name of a rule)."""
        by_type: dict[str, list[Rule]] = collections.defaultdict(list)
        owners: dict[Rule, str] = {}
        addends = masked_softmax({id(function.inputs[place]) for place in self.mask_inputs})
        for name, own in self.rules.items():
            rules = addends if own is MASKED_SOFTMAX.get(name) else own
            for kind, rule in rules.items():
                by_type[kind].append(rule)
                owners[rule] = name
        return by_type, owners
